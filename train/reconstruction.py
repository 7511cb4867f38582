"""A pruned network led back, layer by layer, to what the whole one computed.

Each layer that reads what is left of the channels has weights that make up for the others, as if
all before it were whole. But its own inputs are off by then. So, front to back, its weights are
fitted once more: least squares from what it reads in the pruned network to what its block gave in
the whole one, what the block adds of its input taken off (He et al. 2017, "Channel pruning for
accelerating very deep neural networks").
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from train.channels import Hidden, adds_its_input, shift_output
from train.elimination import ridged
from train.network import Network

Batches = Callable[[], Iterable[Tensor]]
"""The same photos at each call, (B, 3, H, W) float32."""

PLACES = 196
"""Places of a photo, drawn for each batch, that a convolution's sums are made of: no more are
needed, and a first block has sixty times as many."""

# How strongly weights stay as they are, in the inputs' mean second moment. The head reads a photo
# once, so it has fewer rows to be fitted on.
_RIDGE, _HEAD_RIDGE = 1e-3, 1e-2


class _Enough(Exception):  # noqa: N818, nothing is wrong
    """Ends a forward pass where no more of it is needed."""


@dataclass(slots=True)
class _Seen:
    """What one batch left: a layer's inputs, what it should give, what its block adds to that."""

    read: Tensor = field(default_factory=lambda: torch.empty(0))
    wanted: Tensor = field(default_factory=lambda: torch.empty(0))
    added: Tensor | None = None


@torch.no_grad()
def reconstruct(
    whole: Network, pruned: Network, hidden: list[Hidden], some: Batches, every: Batches
) -> None:
    """Fit every layer of `pruned` that reads hidden channels, in place; no labels are needed.

    Args:
        whole: what `pruned` was made of; both are in eval mode.
        hidden: of either, front to back.
        some: photos that convolutions are fitted on.
        every: those that the head is fitted on.
    """
    random = torch.Generator().manual_seed(0)
    for each in tqdm(hidden, "reconstructing", leave=False, unit="layer"):
        batches = some if each.reader_norm else every
        moment, product = _sums(whole, pruned, each, batches, random)
        ridge = _RIDGE if each.reader_norm else _HEAD_RIDGE
        change = torch.linalg.solve(ridged(moment, ridge), product)
        reader: Any = pruned.get_submodule(each.reader)
        reader.weight += change[:-1].T.reshape(reader.weight.shape)
        shift_output(pruned, each, change[-1])


def _sums(
    whole: Network, pruned: Network, hidden: Hidden, batches: Batches, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """(N + 1, N + 1) and (N + 1, O) float64: mean products of the layer's inputs, and a constant,
    with each other and with what is missing of its output.
    """
    seen = _Seen()
    hooks = _hooks(whole, pruned, hidden, seen)
    reader: Any = pruned.get_submodule(hidden.reader)
    weights = reader.weight.double().flatten(1).T  # (N, O)
    moment, product, rows = torch.zeros(()), torch.zeros(()), 0
    for images in batches():
        for network in (whole, pruned):
            with suppress(_Enough):
                network(images)
        read, wanted = _rows(seen, pruned, hidden, random)
        missing = wanted - read @ weights
        read = with_constant(read)
        moment, product = moment + read.T @ read, product + read.T @ missing
        rows += len(read)
    for hook in hooks:
        hook.remove()
    return moment / rows, product / rows


def _hooks(whole: Network, pruned: Network, hidden: Hidden, seen: _Seen) -> list[Any]:
    """Leave in `seen` what the layer reads and should give, and end both passes there."""

    def wanted(_: nn.Module, __: Any, output: Tensor) -> None:
        seen.wanted = output
        raise _Enough

    def read(_: nn.Module, inputs: tuple[Tensor]) -> None:
        seen.read = inputs[0]
        raise _Enough

    def added(_: nn.Module, inputs: tuple[Tensor]) -> None:
        seen.added = inputs[0]

    target = hidden.block or hidden.reader
    hooks = [
        whole.get_submodule(target).register_forward_hook(wanted),
        pruned.get_submodule(hidden.reader).register_forward_pre_hook(read),
    ]
    if hidden.block and adds_its_input(pruned.get_submodule(hidden.block)):
        hooks.append(pruned.get_submodule(hidden.block).register_forward_pre_hook(added))
    return hooks


def _rows(
    seen: _Seen, pruned: Network, hidden: Hidden, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """(R, N) and (R, O) float64: what the layer reads, and should give before its batch-norm."""
    read, wanted = seen.read, seen.wanted
    if not hidden.reader_norm:
        reader: Any = pruned.get_submodule(hidden.reader)
        return read.double(), (wanted - reader.bias).double()
    if seen.added is not None:
        wanted = wanted - seen.added
    norm: Any = pruned.get_submodule(hidden.reader_norm)
    gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    column = (-1, 1, 1)
    wanted = (wanted - norm.bias.view(column)) / gain.view(column) + norm.running_mean.view(column)
    chosen = drawn_places(read, random)
    return rows_at(read, chosen), rows_at(wanted, chosen)


def drawn_places(values: Tensor, random: torch.Generator) -> Tensor:
    """(P,) int64: some places of (B, N, H, W), or all where it has few."""
    count = values.flatten(2).shape[2]
    if count <= PLACES:
        return torch.arange(count)
    return torch.randperm(count, generator=random)[:PLACES]


def rows_at(values: Tensor, places: Tensor) -> Tensor:
    """(B, N, H, W) at P places of each photo -> (B P, N) float64."""
    return values.flatten(2)[:, :, places].transpose(1, 2).flatten(0, 1).double()


def with_constant(rows: Tensor) -> Tensor:
    """(R, N) -> (R, N + 1): a constant 1 behind each row."""
    return torch.cat([rows, torch.ones_like(rows[:, :1])], dim=1)
