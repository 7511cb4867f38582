"""A torchvision network as it came, untouched: ImageNet's thousand classes, by name."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torchvision import models

from serving.contract import Contract
from serving.preprocess import PreprocessSpec
from train import efficientnet_lite
from train.network import load_pretrained, require_backbone


class PretrainedModel:
    """A whole pretrained network, answering like an exported one."""

    def __init__(self, network: nn.Module, contract: Contract) -> None:
        self._network = network.eval()
        self.contract = contract

    @torch.inference_mode()
    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, 3, H, W) float32 -> (N, C) float32."""
        output: NDArray[np.float32] = self._network(torch.from_numpy(batch)).numpy()
        return output


def open_pretrained(backbone: str, weights: str) -> PretrainedModel:
    """A network with its own classifier, and the contract of the input that it was trained for.

    Args:
        backbone: a torchvision classification model by name.
        weights: one of its weights by name, DEFAULT, a state-dict file, or `none`.

    Raises:
        UsageError: an unknown backbone or weights, or weights that cannot be had or do not fit.
    """
    entry = _weights_entry(backbone, weights)
    network = load_pretrained(backbone, entry.name if weights == "DEFAULT" else weights)
    if hasattr(network, "transform_input"):
        # GoogLeNet and Inception learnt on other means than ImageNet's and convert by themselves.
        network.transform_input = weights != "none"  # type: ignore[assignment]
    rules = entry.transforms()
    spec = PreprocessSpec(
        height_px=rules.crop_size[0],
        width_px=rules.crop_size[0],
        mean=tuple(rules.mean),
        std=tuple(rules.std),
    )
    return PretrainedModel(
        network, Contract(name=backbone, classes=tuple(entry.meta["categories"]), preprocess=spec)
    )


def _weights_entry(backbone: str, weights: str) -> Any:
    """torchvision's description of the weights; of a file or `none`, the backbone's usual ones."""
    if backbone in efficientnet_lite.NAMES:  # ours knows no names, but takes what this one takes
        return models.MobileNet_V2_Weights.DEFAULT
    require_backbone(backbone)
    entries = models.get_model_weights(backbone)
    return entries.__members__.get(weights, entries.DEFAULT)
