"""What a model file says of itself: one versioned JSON value in the ONNX metadata.

Training writes it and serving reads it; nothing else passes between the two. A contract that this
code cannot honour is refused with a ContractError that names the field.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from serving.errors import ContractError
from serving.model.familiarity import Familiarity
from serving.model.preprocess import PreprocessSpec

METADATA_KEY = "classifier.contract"
VERSION = 3
_READ = (1, 2, 3)  # version 1 has no familiarity, and 2 no explanation
_OLDER = "it was exported before files could explain"


@dataclass(frozen=True, slots=True)
class Contract:
    """The contract between training and serving.

    Attributes:
        name: what the model is called in answers and logs.
        classes: class names in the order of the logits.
        preprocess: how an image becomes the network's input.
        temperature: the logits are divided by it before the softmax; above 0, and 1 changes nothing
            (Guo et al. 2017, "On Calibration of Modern Neural Networks").
        unsure_below: an answer whose top probability is lower is `unsure`; with 0 none is.
        familiarity: what the distance, the model's second output, is compared with; None if the
            model has no such output.
        unexplained_because: why the file cannot explain its answers; "" if it can, and has the
            outputs that serving/model/explanation.py needs.
        manifest_sha256: hash of the list of training photos.
        metrics: figures measured on the model, by name; for information only.
    """

    name: str
    classes: tuple[str, ...]
    preprocess: PreprocessSpec
    temperature: float = 1.0
    unsure_below: float = 0.0
    familiarity: Familiarity | None = None
    unexplained_because: str = _OLDER
    manifest_sha256: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The contract as JSON values, its version first."""
        familiarity = {"familiarity": self.familiarity.to_json()} if self.familiarity else {}
        because = {"because": self.unexplained_because} if self.unexplained_because else {}
        return {
            "version": VERSION,
            "name": self.name,
            "classes": list(self.classes),
            "preprocess": self.preprocess.to_json(),
            "temperature": self.temperature,
            "unsure_below": self.unsure_below,
            **familiarity,
            "explanation": {"exact": not because, **because},
            "manifest_sha256": self.manifest_sha256,
            "metrics": dict(self.metrics),
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> "Contract":
        """Read the contract from a model's metadata; raises ContractError naming the field."""
        if METADATA_KEY not in metadata:
            raise ContractError(
                f"The model has no metadata {METADATA_KEY!r}: it was not written by "
                "`python -m train export`."
            )
        try:
            value = json.loads(metadata[METADATA_KEY])
        except (ValueError, RecursionError) as error:
            raise ContractError(f"The metadata {METADATA_KEY!r} is not JSON: {error}.") from error
        return cls.from_json(value)

    @classmethod
    def from_json(cls, value: Any) -> "Contract":
        """Read the contract from JSON values; raises ContractError naming the field."""
        if not isinstance(value, Mapping):
            raise ContractError("The contract must be a JSON object.")
        if "second" in value:
            raise ContractError(
                "The contract's field 'second' names another network, and this server runs only "
                "one: train one network, export it and bundle it again."
            )
        if value.get("version") not in _READ:
            raise ContractError(
                f"The contract's field 'version' is {value.get('version')!r}; this server knows "
                f"only {', '.join(map(str, _READ))}. Export the model again, or deploy the code "
                "that matches it."
            )
        metrics = value.get("metrics", {})
        if not isinstance(metrics, Mapping):
            raise ContractError("The contract's field 'metrics' must be an object.")
        familiarity = value.get("familiarity")
        return cls(
            name=_text(value, "name"),
            classes=_classes(value.get("classes")),
            preprocess=PreprocessSpec.from_json(value.get("preprocess")),
            temperature=_number(value, "temperature", low=1e-3, high=1e3),
            unsure_below=_number(value, "unsure_below", low=0, high=1),
            familiarity=None if familiarity is None else Familiarity.from_json(familiarity),
            unexplained_because=_unexplained_because(value),
            manifest_sha256=_text(value, "manifest_sha256"),
            metrics=metrics,
        )


def _classes(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(c, str) for c in value):
        raise ContractError("The contract's field 'classes' must be a list of class names.")
    if len(set(value)) != len(value):
        raise ContractError("The contract's field 'classes' names a class twice.")
    return tuple(value)


def _unexplained_because(value: Mapping[str, Any]) -> str:
    if value["version"] < 3:
        return _OLDER
    found = value.get("explanation")
    exact = found.get("exact") if isinstance(found, Mapping) else None
    because = found.get("because", "") if isinstance(found, Mapping) else ""
    if not isinstance(exact, bool) or not isinstance(because, str) or exact == bool(because):
        raise ContractError(
            f"The contract's field 'explanation' is {found!r}; it must be an object with 'exact' "
            "and, if that is false, 'because'."
        )
    return because


def _text(value: Mapping[str, Any], name: str) -> str:
    text = value.get(name)
    if not isinstance(text, str):
        raise ContractError(f"The contract's field {name!r} is {text!r}; it must be a string.")
    return text


def _number(value: Mapping[str, Any], name: str, *, low: float, high: float) -> float:
    number = value.get(name)
    if (
        not isinstance(number, int | float)
        or isinstance(number, bool)
        or not low <= number <= high  # nor is NaN
    ):
        raise ContractError(
            f"The contract's field {name!r} is {number!r}; "
            f"it must be a number between {low:g} and {high:g}."
        )
    return float(number)
