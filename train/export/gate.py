"""The gate for int8 files: how far they differ from float32, which pass, and which is best.

`quantize` writes the best that passes; `bundle` ships it only if it is still that file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.model.classifier import Classifier
from serving.model.preprocess import normalize
from train.errors import UsageError
from train.evaluate.inference import Clock, medians_in_turns, split_logits
from train.evaluate.metrics import wilson_interval
from train.export.int8 import SAFE_PAIR, Recipe, largest_pair
from train.files import read_json
from train.photos.manifest import Labels, Manifest
from train.photos.pixels import cached_pixels

INT8_FILE, QUANTIZE_JSON = "classifier.int8.onnx", "quantize.json"

RULE = (
    "Of the candidates that pass, the one with the smallest mean difference of probabilities from "
    "float32; among equals, the fastest."
)


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits that an int8 file must keep."""

    min_agreement: float
    max_accuracy_loss: float
    max_time_ratio: float


@dataclass(frozen=True, slots=True)
class Measured:
    """An int8 file compared with its float32 file on the same photos.

    Attributes:
        agreed: photos with the same label from both.
        correct_float32, correct_int8: photos that each classifies correctly.
        unsure_changed: photos that are `unsure` for only one of them.
        mean_difference, largest_difference: of calibrated probabilities, over photos and classes.
        time_ratio: int8's processor time divided by float32's; one photo, one thread, median.
        largest_pair: see train.export.int8.largest_pair.
    """

    photos: int
    agreed: int
    correct_float32: int
    correct_int8: int
    unsure_changed: int
    mean_difference: float
    largest_difference: float
    time_ratio: float
    largest_pair: int

    @property
    def agreement(self) -> float:
        """Share of the photos with the same label from both."""
        return self.agreed / self.photos

    @property
    def accuracy_loss(self) -> float:
        """Float32's accuracy minus int8's; negative if int8 is better."""
        return (self.correct_float32 - self.correct_int8) / self.photos

    def figures(self) -> dict[str, Any]:
        """The figures as JSON values, with 95 % intervals of the shares."""
        return {
            **asdict(self),
            "agreement": self.agreement,
            "agreement_interval_95": list(wilson_interval(self.agreed, self.photos)),
            "accuracy_float32": self.correct_float32 / self.photos,
            "accuracy_float32_interval_95": list(
                wilson_interval(self.correct_float32, self.photos)
            ),
            "accuracy_int8": self.correct_int8 / self.photos,
            "accuracy_int8_interval_95": list(wilson_interval(self.correct_int8, self.photos)),
        }


@dataclass(frozen=True, slots=True)
class Reference:
    """A float32 file and its (N, C) logits on the photos that candidates are compared on."""

    classifier: Classifier
    photos: Manifest
    logits: NDArray[np.float32]
    cache: Path

    @classmethod
    def on(cls, classifier: Classifier, photos: Manifest, cache: Path) -> "Reference":
        """Run the file on every photo."""
        return cls(classifier, photos, split_logits(classifier, photos, cache), cache)


def measure(reference: Reference, candidate: Path, clock: Clock) -> Measured:
    """Compare a candidate with the float32 file that it was made from.

    Raises:
        ContractError: serving would refuse the candidate.
    """
    int8, float32 = Classifier.load(candidate), reference.classifier
    labels, before = reference.photos.labels(), reference.logits
    after = split_logits(int8, reference.photos, reference.cache)
    wanted, actual = float32.probabilities(before), int8.probabilities(after)  # (N, C)
    differences = np.abs(wanted - actual)
    below = float32.contract.unsure_below
    return Measured(
        photos=len(labels),
        agreed=int((before.argmax(axis=1) == after.argmax(axis=1)).sum()),
        correct_float32=int((before.argmax(axis=1) == labels).sum()),
        correct_int8=int((after.argmax(axis=1) == labels).sum()),
        unsure_changed=int(((wanted.max(axis=1) < below) != (actual.max(axis=1) < below)).sum()),
        mean_difference=float(differences.mean()),
        largest_difference=float(differences.max()),
        time_ratio=time_ratio(reference, int8, clock),
        largest_pair=largest_pair(candidate),
    )


def time_ratio(reference: Reference, int8: Classifier, clock: Clock) -> float:
    """Int8's median time for one photo divided by float32's; one thread each, taking turns."""
    spec = int8.contract.preprocess
    batch = normalize(cached_pixels(reference.photos, spec, reference.cache)[:1], spec)
    models = (reference.classifier, int8)
    before, after = medians_in_turns([partial(m.logits, batch) for m in models], clock)
    return after / before


def refusals(measured: Measured, limits: Limits) -> list[str]:
    """The reasons why a file does not pass, one line each with figures; empty if it passes."""
    found = []
    if not measured.agreement >= limits.min_agreement:
        found.append(
            f"a different label from float32's on {measured.photos - measured.agreed} of "
            f"{measured.photos} photos: agreement {measured.agreement:.4f}, at least "
            f"{limits.min_agreement:g} is needed"
        )
    if not measured.accuracy_loss <= limits.max_accuracy_loss:
        found.append(
            f"accuracy {measured.correct_int8} of {measured.photos}, float32's "
            f"{measured.correct_float32}: {measured.accuracy_loss:.4f} lost, at most "
            f"{limits.max_accuracy_loss:g} is allowed"
        )
    if not measured.time_ratio < limits.max_time_ratio:
        found.append(
            f"{measured.time_ratio:.2f} times float32's time, less than "
            f"{limits.max_time_ratio:g} is needed"
        )
    if measured.largest_pair > SAFE_PAIR:
        found.append(
            f"the largest sum of two weights is {measured.largest_pair}, at most {SAFE_PAIR} is "
            "exact on processors without VNNI"
        )
    return found


@dataclass(frozen=True, slots=True)
class Candidate:
    """How an int8 file was made, and its verdict."""

    recipe: Recipe
    measured: Measured
    refused: list[str]

    @property
    def line(self) -> str:
        """The verdict and the figures on one line."""
        verdict = "refused" if self.refused else "passes"
        return f"{verdict:8} {self.recipe!s:48} {figures_line(self.measured)}"

    def to_json(self) -> dict[str, Any]:
        """The candidate as JSON values."""
        return {**asdict(self.recipe), **self.measured.figures(), "refused": self.refused}


def rank(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates that pass, the best first, by RULE."""
    passing = [candidate for candidate in candidates if not candidate.refused]
    return sorted(passing, key=lambda c: (c.measured.mean_difference, c.measured.time_ratio))


def closest(candidates: Sequence[Candidate]) -> Candidate:
    """Of candidates that failed, the one that came closest."""
    return min(candidates, key=lambda c: (len(c.refused), c.measured.mean_difference))


def figures_line(measured: Measured) -> str:
    """The figures of a file on one line."""
    return (
        f"agreement {measured.agreement:.4f}, "
        f"accuracy {measured.correct_int8 / measured.photos:.4f} "
        f"(float32 {measured.correct_float32 / measured.photos:.4f}), mean difference "
        f"{measured.mean_difference:.5f}, {measured.time_ratio:.2f} of the time"
    )


def gated_file(run: Path, float32_version: str) -> Path:
    """The run's int8 file.

    Raises:
        UsageError: there is none, it is not the file that passed the gate, or it was made from
            another float32 file than the run's current one.
    """
    int8 = run / INT8_FILE
    remedy = "python -m train quantize RUN"
    if not int8.is_file() or not (run / QUANTIZE_JSON).is_file():
        raise UsageError(f"{int8} is missing: write it first, {remedy}, or ship float32.")
    record = read_json(run / QUANTIZE_JSON)
    if record.get("float32") != float32_version:
        raise UsageError(f"{int8} was made from another export of {run}: write it again, {remedy}.")
    if record.get("int8") != Classifier.load(int8).version:
        raise UsageError(f"{int8} is not the file that passed the gate: write it again, {remedy}.")
    return int8


def int8_figures(
    run: Path, splits: Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32], Labels]]
) -> dict[str, Any]:
    """The figures that a report adds for an int8 file: the gate's, and the agreement with float32.

    Args:
        splits: for each split, the (N, C) logits of the float32 and the int8 file, and the labels.
    """
    record = read_json(run / QUANTIZE_JSON)
    return {
        "gate": {name: record[name] for name in ("limits", "photos", "passed")},
        "splits": {name: _agreement(*answers) for name, answers in splits.items()},
    }


def _agreement(
    before: NDArray[np.float32], after: NDArray[np.float32], labels: Labels
) -> dict[str, Any]:
    photos = len(labels)
    agreed = int((before.argmax(axis=1) == after.argmax(axis=1)).sum())
    correct = int((before.argmax(axis=1) == labels).sum())
    return {
        "photos": photos,
        "agreed": agreed,
        "agreement": agreed / photos,
        "agreement_interval_95": list(wilson_interval(agreed, photos)),
        "float32_correct": correct,
        "float32_accuracy": correct / photos,
        "float32_accuracy_interval_95": list(wilson_interval(correct, photos)),
    }
