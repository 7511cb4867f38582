"""A run's model: how it is written, and how it is read again.

RUN/model.pt has format 1. Another format, or a model of a verb that no longer exists, is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from serving.model.preprocess import PreprocessSpec
from train.config import FitConfig, from_json, to_json
from train.errors import UsageError
from train.networks.backbones import preprocessing
from train.networks.transfer import Network, build, load_weights
from train.photos.manifest import Manifest
from train.runs.folder import MODEL, damaged, foreign, load_checkpoint, save_checkpoint

FORMAT = 1

Epoch = dict[str, Any]
"""The figures of one epoch, by name."""


@dataclass(frozen=True, slots=True)
class SavedModel:
    """What model.pt holds: the network's weights by name, and how it was trained."""

    weights: Mapping[str, Tensor]
    classes: tuple[str, ...]
    config: FitConfig
    manifest_sha256: str
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A run's model: the network in eval mode on the CPU, and how it was trained."""

    network: Network
    classes: tuple[str, ...]
    config: FitConfig
    manifest_sha256: str
    epoch: Epoch

    @property
    def spec(self) -> PreprocessSpec:
        """How a photo becomes the network's input, at the size that it was trained for."""
        network = self.config.network
        return preprocessing(network.backbone, network.input_px, self.config.data.levels)


def save_model(
    config: FitConfig, manifest: Manifest, whole: Network, kept: nn.Module, entry: Epoch
) -> None:
    """Write the run's model: the network's weights, with `kept`'s for the part that was trained."""
    weights = whole.state_dict()
    prefix = "head." if _same_keys(kept, whole.head) else ""
    weights |= {prefix + name: value for name, value in kept.state_dict().items()}
    save_checkpoint(
        config.out / MODEL,
        {
            "format": FORMAT,
            "weights": {name: value.cpu() for name, value in weights.items()},
            "classes": list(manifest.classes),
            "config": to_json(config),
            "manifest_sha256": manifest.sha256(),
            "epoch": entry,
        },
    )


def _same_keys(one: nn.Module, other: nn.Module) -> bool:
    return one.state_dict().keys() == other.state_dict().keys()


def read_model(run: Path) -> SavedModel:
    """Read a run's model.pt without building the network.

    Raises:
        UsageError: it is missing or damaged, was made by a verb that no longer exists, or was
            trained with settings that no longer exist.
    """
    file = run / MODEL
    saved = load_checkpoint(file)
    require_format(file, saved)
    refuse_old_kinds(file, saved)
    try:
        config = from_json(FitConfig, saved["config"])
        classes = tuple(saved["classes"])
        return SavedModel(
            saved["weights"], classes, config, saved["manifest_sha256"], saved["epoch"]
        )
    except UsageError as error:
        raise UsageError(f"{file} was written by another version of this code: {error}") from error
    except (LookupError, TypeError) as error:
        raise UsageError(damaged(file)) from error


def require_format(file: Path, saved: Mapping[str, Any]) -> None:
    """Raise UsageError for a checkpoint of another program, or of another format."""
    if "format" not in saved:
        raise UsageError(foreign(file))
    if saved["format"] != FORMAT:
        raise UsageError(f"{file} was written by another version of this code: train again.")


def load_model(run: Path) -> TrainedModel:
    """Read a run's model and build its network.

    Raises:
        UsageError: as `read_model`.
    """
    saved = read_model(run)
    shape = replace(saved.config.network, weights="none")
    with torch.random.fork_rng(devices=[]):
        network = build(shape, len(saved.classes))
    try:
        load_weights(network, saved.weights)
    except (RuntimeError, TypeError, ValueError) as error:
        raise UsageError(damaged(run / MODEL)) from error
    network.eval()
    return TrainedModel(network, saved.classes, saved.config, saved.manifest_sha256, saved.epoch)


# Fields of records and models that older verbs wrote, and the verb.
_OLD_KINDS = {"averaged": "average", "pruned_to": "prune", "cascade": "cascade", "rule": "cascade"}


def refuse_old_kinds(file: Path, saved: Mapping[str, Any]) -> None:
    """Raise UsageError for a run of a verb that no longer exists; the message says what to do."""
    for field, verb in _OLD_KINDS.items():
        if field in saved:
            raise UsageError(
                f"{file} has a field `{field}`: it was made by `{verb}`, a verb that no longer "
                "exists. Train one network instead, python -m train fit, with another --out."
            )
