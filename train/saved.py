"""A run's folder in, the model that it keeps out: one trained network, or a cascade of two."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from serving.preprocess import PreprocessSpec
from train import runs
from train.backbones import preprocessing
from train.checkpoints import FORMAT, Epoch
from train.config import FitConfig
from train.errors import UsageError
from train.lineage import Training, read_training
from train.network import Network, build, load_weights


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A run's model: the network in eval mode on the CPU, and what it was trained from."""

    network: Network
    classes: tuple[str, ...]
    training: Training
    manifest_sha256: str
    epoch: Epoch
    averaged: tuple[Training, ...] = ()  # the runs that this one is the mean of

    @property
    def config(self) -> FitConfig:
        """The settings that it was trained with; of a mean those of its first member."""
        return self.training.config

    @property
    def spec(self) -> PreprocessSpec:
        """How a photo becomes the network's input, at the size that it was trained for."""
        network = self.config.network
        return preprocessing(network.backbone, network.input_px)

    @property
    def members(self) -> tuple[Training, ...]:
        """The runs that were trained for it: those of a mean, else itself."""
        return self.averaged or (self.training,)

    @property
    def parts(self) -> tuple["TrainedModel", ...]:
        """The networks that answer, this one; of a cascade two."""
        return (self,)


@dataclass(frozen=True, slots=True)
class CascadeRule:
    """When the second network is asked, and how each one's logits become probabilities."""

    first_px: int
    """Height and width of the first network's input."""
    second_px: int
    first_temperature: float
    second_temperature: float
    sure_above: float
    """The first answers alone where its top probability is at least this; above 1, never. Else
    the answer is the mean of both networks' probabilities."""


@dataclass(frozen=True, slots=True)
class TrainedCascade:
    """Two runs' models on the same photos, and when the second is asked."""

    first: TrainedModel
    second: TrainedModel
    rule: CascadeRule
    like: str = ""
    """Version of the model whose answers the rule was fitted to; empty where labels were used."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of both."""
        return self.first.classes

    @property
    def manifest_sha256(self) -> str:
        """The hash of both networks' training photos."""
        return self.first.manifest_sha256

    @property
    def config(self) -> FitConfig:
        """The first network's settings; both read the same photos."""
        return self.first.config

    @property
    def parts(self) -> tuple[TrainedModel, ...]:
        """The networks that answer."""
        return (self.first, self.second)


Trained = TrainedModel | TrainedCascade


def load_model(run: Path) -> Trained:
    """Read a run's model, or both of a cascade; raises UsageError if it is missing or damaged."""
    saved = _read(run)
    if "cascade" not in saved:
        return _read_single(saved)
    first, second = (_read_single(part) for part in saved["cascade"])
    return TrainedCascade(first, second, CascadeRule(**saved["rule"]), saved.get("like", ""))


def load_single(run: Path) -> TrainedModel:
    """Read a run's model of one network.

    Raises:
        UsageError: it is missing or damaged, or a cascade of two.
    """
    saved = _read(run)
    if "cascade" in saved:
        raise UsageError(f"{run} is a cascade of two networks: name a run of one.")
    return _read_single(saved)


def require_alike(folders: Sequence[Path], models: Sequence[TrainedModel], why: str) -> None:
    """Make sure that all runs were trained to tell the same classes by the same photos.

    Raises:
        UsageError: a run has others than the first; the message names both, and ends in `why`.
    """
    first = models[0]
    for folder, model in zip(folders[1:], models[1:], strict=True):
        for what, its, wanted in (
            ("classes", model.classes, first.classes),
            ("photos", model.manifest_sha256, first.manifest_sha256),
            ("held-out photos", model.config.data.held_out, first.config.data.held_out),
        ):
            if its != wanted:
                raise UsageError(f"{folder} has other {what} than {folders[0]}: {why}.")


def _read(run: Path) -> dict[str, Any]:
    saved = runs.load_checkpoint(run / runs.MODEL)
    if saved.get("format") != FORMAT:
        raise UsageError(f"{run / runs.MODEL} is of another version of this code: train anew.")
    return saved


def _read_single(saved: dict[str, Any]) -> TrainedModel:
    training = read_training(saved["config"])
    shape = replace(training.config.network, weights="none")
    with torch.random.fork_rng(devices=[]):
        network = build(shape, len(saved["classes"]))
    load_weights(network, saved["weights"])
    network.eval()
    return TrainedModel(
        network,
        tuple(saved["classes"]),
        training,
        saved["manifest_sha256"],
        saved["epoch"],
        tuple(read_training(member) for member in saved.get("averaged", ())),
    )
