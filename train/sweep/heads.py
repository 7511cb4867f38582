"""Many heads of one shape, trained together on the features of a frozen backbone.

Each head has its own learning rate, dropout and seed; their weights are stacked, so that a step of
all of them is one batched matrix product. But for rounding, what a head learns depends on its own
setting alone, not on what it is stacked with: its order of photos and its dropout are drawn from
its seed and the epoch, as in `fit`. Heads of one seed share these draws, which pairs them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from train.fit.loaders import EpochOrder, mixed_seed

_EVALUATION_BATCH = 256

# Stacking saves calls, until the weights, their gradients and Adam's moments no longer fit the
# processor's cache: with 32 MiB of it, twelve heads of 1,000 units took twice as long in one stack
# as one by one, and heads of 100 units half as long in stacks of twelve.
STACK_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class Setting:
    """What a sweep varies."""

    lr: float
    inner: int
    dropout: float


@dataclass(frozen=True, slots=True)
class HeadTraining:
    """One training of a setting: the seed draws its starting weights, order and dropout."""

    setting: Setting
    seed: int


@dataclass(frozen=True, slots=True)
class Rows:
    """Features of a split and their labels, on one device."""

    features: Tensor  # (N, F) float32
    labels: Tensor  # (N,) int64


class StackedHeads(nn.Module):
    """M heads of one shape: features (M, B, F) -> logits (M, B, C)."""

    def __init__(self, heads: Sequence[nn.Sequential]) -> None:
        super().__init__()
        linears = [[m for m in head if isinstance(m, nn.Linear)] for head in heads]
        layers = list(zip(*linears, strict=True))
        # (M, in, out): the layout in which batched products yield a gradient without copying it.
        self.weights = nn.ParameterList(
            torch.stack([m.weight.T for m in layer]) for layer in layers
        )
        self.biases = nn.ParameterList(
            torch.stack([m.bias[None] for m in layer]) for layer in layers
        )

    @property
    def last_in(self) -> int:
        """Inputs of the last layer, those that dropout is applied to."""
        return int(self.weights[-1].shape[1])

    def forward(self, features: Tensor, keep: Tensor | None = None) -> Tensor:
        """`keep` (M, B, last_in) scales the last layer's inputs: 0 where they are dropped."""
        if len(self.weights) == 2:
            features = torch.baddbmm(self.biases[0], features, self.weights[0]).relu()
        if keep is not None:
            features = features * keep
        return torch.baddbmm(self.biases[-1], features, self.weights[-1])


def stacks(
    trainings: Sequence[HeadTraining],
    head_bytes: Callable[[int], int],
    max_bytes: int = STACK_BYTES,
) -> Iterator[list[HeadTraining]]:
    """Group trainings by head shape, and each group so that its weights take `max_bytes` at most.

    `head_bytes` tells the bytes of a head's weights from the units of its inner layer.
    """
    ordered = sorted(trainings, key=lambda t: (t.setting.inner, t.setting.lr))
    for inner, group in groupby(ordered, key=lambda t: t.setting.inner):
        members = list(group)
        size = max(1, max_bytes // head_bytes(inner))
        for start in range(0, len(members), size):
            yield members[start : start + size]


def train_stack(
    members: Sequence[HeadTraining],
    heads: Sequence[nn.Sequential],
    rows: Rows,
    *,
    epochs: int,
    batch: int,
    progress: Callable[[int], object] = lambda trainings: None,
) -> StackedHeads:
    """Train `heads[m]` as `members[m]` says, with Adam, all at once.

    `progress` is called after each epoch with the number of trainings that went through it.
    """
    device = rows.features.device
    stack = StackedHeads(heads).to(device)
    optimizer, give_gradients = _adam(stack, [member.setting.lr for member in members])
    seeds = sorted({member.seed for member in members})
    of_member = torch.tensor([seeds.index(member.seed) for member in members], device=device)
    dropout = torch.tensor([member.setting.dropout for member in members], device=device)
    dropout = dropout.view(-1, 1, 1)
    photos = len(rows.labels)
    orders = [EpochOrder(photos, seed) for seed in seeds]
    for epoch in range(epochs):
        generators = [torch.Generator().manual_seed(mixed_seed(s, epoch, 0)) for s in seeds]
        order = torch.tensor([_indices(o, epoch) for o in orders], device=device)  # (seeds, N)
        for start in range(0, photos, batch):
            chosen = order[:, start : start + batch]  # (seeds, B)
            features = rows.features[chosen][of_member]  # (M, B, F)
            labels = rows.labels[chosen][of_member]  # (M, B)
            keep = None
            if bool(dropout.any()):
                shape = (chosen.shape[1], stack.last_in)
                draws = torch.stack([torch.rand(shape, generator=g) for g in generators])
                keep = (draws.to(device)[of_member] >= dropout) / (1 - dropout)
            logits = stack(features, keep)  # (M, B, C)
            # A sum over heads: none has a part in another's loss, nor in its gradient.
            total = cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
            stack.zero_grad()
            (total / chosen.shape[1]).backward()  # type: ignore[no-untyped-call]
            give_gradients()
            optimizer.step()
        progress(len(members))
    return stack


def _indices(order: EpochOrder, epoch: int) -> list[int]:
    order.epoch = epoch
    return [index for _, index in order]


def _adam(stack: StackedHeads, lrs: Sequence[float]) -> tuple[torch.optim.Adam, Callable[[], None]]:
    """Adam with a learning rate for each head, and what hands it the stack's gradients.

    torch has one learning rate for a tensor: each run of heads with the same one is a group of
    views into the stack.
    """
    groups = []
    views = []  # (parameter, which heads, the view of them)
    for lr, run in groupby(range(len(lrs)), key=lambda head: lrs[head]):
        heads = list(run)
        span = slice(heads[0], heads[-1] + 1)
        group = [(parameter, span, parameter.detach()[span]) for parameter in stack.parameters()]
        groups.append({"params": [view for _, _, view in group], "lr": lr})
        views += group

    def give_gradients() -> None:
        for parameter, span, view in views:
            view.grad = None if parameter.grad is None else parameter.grad[span]

    return torch.optim.Adam(groups, fused=True), give_gradients


@dataclass(frozen=True, slots=True)
class Answers:
    """What M heads say of N photos."""

    right: NDArray[np.bool_]  # (M, N)
    loss: NDArray[np.float64]  # (M,) mean cross-entropy in nats; not finite where a head diverged


@torch.inference_mode()
def answers(stack: StackedHeads, rows: Rows) -> Answers:
    """Ask every head about every photo, without dropout."""
    heads = stack.weights[0].shape[0]
    right, losses = [], []
    for start in range(0, len(rows.labels), _EVALUATION_BATCH):
        features = rows.features[start : start + _EVALUATION_BATCH]
        labels = rows.labels[start : start + _EVALUATION_BATCH].expand(heads, -1)  # (M, B)
        logits = stack(features.expand(heads, -1, -1))  # (M, B, C)
        loss = cross_entropy(logits.transpose(1, 2).double(), labels, reduction="none")  # (M, B)
        right.append((logits.argmax(dim=2) == labels) & logits.isfinite().all(dim=2))
        losses.append(loss)
    return Answers(
        torch.cat(right, dim=1).cpu().numpy(), torch.cat(losses, dim=1).mean(dim=1).cpu().numpy()
    )
