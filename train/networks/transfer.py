"""A pretrained backbone with a new head.

images (N, 3, H, W) -> backbone -> features (N, F) -> head -> logits (N, C)
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from train.config import FitConfig, NetworkConfig
from train.errors import UsageError
from train.networks.backbones import open_backbone, require_size, with_own_size


class Network(nn.Module):
    """A backbone that yields pooled features, and a head on top.

    If the backbone is trained, its first `frozen_stages` stages keep their starting weights.
    """

    def __init__(
        self, backbone: nn.Module, head: nn.Module, *, train_backbone: bool, frozen_stages: int = 0
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        # A plain list is not registered as a submodule, so the state dict has each weight once.
        self.frozen = stages(backbone)[:frozen_stages] if train_backbone else [backbone]
        for module in self.frozen:
            module.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) float32 -> (N, C) logits."""
        logits: Tensor = self.head(self.backbone(images))
        return logits

    def train(self, mode: bool = True) -> "Network":
        """As nn.Module.train, but frozen modules stay in eval mode.

        Batch-norm updates its running statistics even if its weights are frozen, unless it is in
        eval mode; otherwise the features would change while the head learns from them.
        """
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self


def load_weights(network: Network, weights: Mapping[str, Tensor]) -> None:
    """Load weights into a network.

    torch stores a version of each module in a state dict's metadata, and MNASNet refuses weights
    without it: this network's own versions are used.

    Raises:
        RuntimeError: their names or shapes are not this network's.
    """
    state: Any = OrderedDict(weights)
    state._metadata = network.state_dict()._metadata  # type: ignore[attr-defined]
    network.load_state_dict(state)


def stages(backbone: nn.Module) -> list[nn.Module]:
    """The backbone's parts with weights, from the input on; an nn.Sequential is taken apart."""
    parts: list[nn.Module] = []
    for child in backbone.children():
        parts += child.children() if isinstance(child, nn.Sequential) else [child]
    return [part for part in parts if list(part.parameters())]


def build(config: NetworkConfig, classes: int) -> Network:
    """Build the network with its starting weights; the head's are drawn from torch's random state.

    Raises:
        UsageError: as `open_backbone`, or there are not so many stages to freeze.
    """
    config = with_own_size(config)
    backbone, features = open_backbone(config.backbone, config.weights, config.input_px)
    head = make_head(features, classes, inner=config.inner, dropout=config.dropout)
    _require_stages(config, backbone)
    network = Network(
        backbone,
        head,
        train_backbone=config.train_backbone,
        frozen_stages=config.frozen_stages,
    )
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def require_trainable(network: Network, config: FitConfig, batch: int) -> None:
    """Raise UsageError if the network cannot train on `batch` photos at each training size."""
    norms = (m for m in network.modules() if isinstance(m, _BatchNorm) and m.weight.requires_grad)
    if batch == 1 and any(norms):
        raise UsageError(
            "--batch 1 per process is too small for this backbone: its batch-norm needs at least "
            "two photos per step."
        )
    name = config.network.backbone
    require_size(network, name, config.network.input_px, f"--input-px {config.network.input_px}")
    for size in config.progressive_px:
        require_size(network, name, size, f"--progressive-px {size}")


def _require_stages(config: NetworkConfig, backbone: nn.Module) -> None:
    if config.frozen_stages and not config.train_backbone:
        raise UsageError(
            "--frozen-stages goes with --train-backbone; without it, all stages are frozen."
        )
    found = len(stages(backbone))
    if not 0 <= config.frozen_stages < found:
        raise UsageError(
            f"--frozen-stages {config.frozen_stages}: {config.backbone} has {found} stages, "
            "and at least one must be trained."
        )


def make_head(features: int, classes: int, *, inner: int, dropout: float) -> nn.Sequential:
    """(N, features) -> (N, classes), with a hidden layer of `inner` units and dropout if not 0."""
    layers: list[nn.Module] = []
    if inner:
        layers += [nn.Linear(features, inner), nn.ReLU()]
    if dropout:
        layers.append(nn.Dropout(dropout))
    layers.append(nn.Linear(inner or features, classes))
    return nn.Sequential(*layers)
