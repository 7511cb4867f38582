"""A head trained on the cached features of a frozen backbone, as `fit` trains it.

The seed draws the head's starting weights, the order of the photos and the dropout, so that the
settings of a sweep are compared on the same draws.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from train.fit.loaders import EpochOrder, mixed_seed

_EVALUATION_BATCH = 1024


@dataclass(frozen=True, slots=True)
class Setting:
    """What a sweep varies."""

    lr: float
    inner: int
    dropout: float


@dataclass(frozen=True, slots=True)
class Rows:
    """Features of a split and their labels, on one device."""

    features: Tensor  # (N, F) float32
    labels: Tensor  # (N,) int64


def train_head(
    head: nn.Module, rows: Rows, *, lr: float, seed: int, epochs: int, batch: int
) -> None:
    """Train the head with Adam; its starting weights are those that it has."""
    head.train()
    optimizer = torch.optim.Adam(head.parameters(), lr=lr, fused=True)
    order = EpochOrder(len(rows.labels), seed)
    for epoch in range(epochs):
        torch.manual_seed(mixed_seed(seed, epoch, 0))  # for dropout
        order.epoch = epoch
        indices = torch.tensor([index for _, index in order], device=rows.labels.device)
        for chosen in torch.split(indices, batch):
            loss = cross_entropy(head(rows.features[chosen]), rows.labels[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()


@torch.inference_mode()
def measure_head(head: nn.Module, rows: Rows) -> tuple[NDArray[np.bool_], float]:
    """Which photos the head classifies correctly, (N,), and its mean cross-entropy in nats.

    The loss is not finite if the head has diverged; answers that are not finite are wrong.
    """
    head.eval()
    parts = torch.split(rows.features, _EVALUATION_BATCH)
    logits = torch.cat([head(part) for part in parts])  # (N, C)
    right = (logits.argmax(dim=1) == rows.labels) & logits.isfinite().all(dim=1)
    return right.cpu().numpy(), cross_entropy(logits.double(), rows.labels).item()
