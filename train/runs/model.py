"""A run's folder in, the model that it keeps out."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from serving.model.preprocess import PreprocessSpec
from train.config import FitConfig, from_json
from train.errors import UsageError
from train.fit.state import FORMAT, Epoch, refuse_old_kinds
from train.networks.backbones import preprocessing
from train.networks.transfer import Network, build, load_weights
from train.runs import folder as runs


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
        return preprocessing(network.backbone, network.input_px)


def load_model(run: Path) -> TrainedModel:
    """Read a run's model.

    Raises:
        UsageError: it is missing or damaged, of a verb that no longer exists, or trained with
            settings that no longer exist.
    """
    file = run / runs.MODEL
    saved = runs.load_checkpoint(file)
    if saved.get("format") != FORMAT:
        raise UsageError(f"{file} is of another version of this code: train anew.")
    refuse_old_kinds(file, saved)
    try:
        config = from_json(FitConfig, saved["config"])
    except UsageError as error:
        raise UsageError(f"{file} is of another version of this code: {error}") from error
    shape = replace(config.network, weights="none")
    with torch.random.fork_rng(devices=[]):
        network = build(shape, len(saved["classes"]))
    load_weights(network, saved["weights"])
    network.eval()
    return TrainedModel(
        network, tuple(saved["classes"]), config, saved["manifest_sha256"], saved["epoch"]
    )
