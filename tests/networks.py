"""Whole networks with drawn weights, whose batch-norm does something."""

from typing import Any

import torch

from train.config import NetworkConfig
from train.networks.transfer import Network, build


def drawn_network(backbone: str, **changes: Any) -> Network:
    """A network for three classes, in eval mode; the same one each time."""
    torch.manual_seed(0)
    network = build(NetworkConfig(backbone, "none", train_backbone=True, **changes), 3)
    for name, statistics in network.named_buffers():
        if name.endswith("running_mean"):
            statistics.normal_(std=0.1)
        elif name.endswith("running_var"):
            statistics.uniform_(0.5, 2)
    return network.eval()
