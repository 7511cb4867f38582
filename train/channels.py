"""The channels inside a network's blocks: which layers make them, which one reads them, and how
they are left out.

A block of MobileNetV2 or EfficientNet-Lite widens its input, filters each channel for itself and
projects back. What lies between is read by the projection alone, so that a channel of it can go
without any other layer knowing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from train import efficientnet_lite
from train.errors import UsageError

BACKBONES = ("mobilenet_v2", *efficientnet_lite.NAMES)
"""Those whose blocks are as this module says."""


@dataclass(frozen=True, slots=True)
class Hidden:
    """Channels that one layer reads alone; layers go by their names in the network."""

    makers: tuple[tuple[str, str], ...]
    """(convolution, its batch-norm) of each layer that makes or filters them, front to back."""
    reader: str
    """The convolution or linear layer that reads them."""
    reader_norm: str
    """The batch-norm behind a convolution that reads them; empty behind a linear layer."""
    block: str
    """The module whose output follows from that; empty behind a linear layer."""


def hidden_channels(network: nn.Module) -> list[Hidden]:
    """Front to back: those of each block, at last the features that the head reads.

    The network is of one of BACKBONES.
    """
    modules = dict(network.named_modules())
    convolutions = [name for name, module in modules.items() if isinstance(module, nn.Conv2d)]
    norms = [name for name, module in modules.items() if isinstance(module, nn.BatchNorm2d)]
    layers = list(zip(convolutions, norms, strict=True))
    linear = next(name for name, module in modules.items() if isinstance(module, nn.Linear))
    return [
        Hidden((layers[at - 1], layers[at]), *layers[at + 1], layers[at + 1][0].rsplit(".", 2)[0])
        for at, (name, _) in enumerate(layers)
        if convolution(network, name).groups > 1
    ] + [Hidden((layers[-1],), linear, "", "")]


def adds_its_input(block: nn.Module) -> bool:
    """Whether a block's output is what it computes and its input: torchvision's name, and ours."""
    return bool(getattr(block, "use_res_connect", False) or getattr(block, "adds", False))


def counts(network: nn.Module, hidden: Sequence[Hidden]) -> tuple[int, ...]:
    """How many channels each has."""
    return tuple(convolution(network, each.makers[0][0]).out_channels for each in hidden)


def narrow(network: nn.Module, widths: Sequence[int], backbone: str) -> None:
    """Leave the first channels of each block and of the features: `widths`, front to back.

    Raises:
        UsageError: another backbone than BACKBONES, another number of widths than the network has,
            or one that it has not so many channels for.
    """
    if backbone not in BACKBONES:
        raise UsageError(f"--hidden is for {', '.join(BACKBONES)}; found {backbone}.")
    hidden = hidden_channels(network)
    wide = counts(network, hidden)
    if len(widths) != len(wide) or not all(0 < w <= h for w, h in zip(widths, wide, strict=True)):
        raise UsageError(
            f"--hidden {' '.join(map(str, widths))} does not fit {backbone}, which has "
            f"{' '.join(map(str, wide))}: start from a run that `prune` wrote, --start RUN."
        )
    for each, width in zip(hidden, widths, strict=True):
        keep(network, each, torch.arange(width))


def keep(network: nn.Module, hidden: Hidden, kept: Tensor) -> None:
    """Leave out all channels but `kept`, (K,) int64, in place."""
    for layer_name, norm_name in hidden.makers:
        layer = convolution(network, layer_name)
        norm = network.get_submodule(norm_name)
        _take(layer, "weight", kept, dim=0)
        layer.out_channels = len(kept)
        if layer.groups > 1:
            layer.in_channels = layer.groups = len(kept)
        for name in ("weight", "bias", "running_mean", "running_var"):
            _take(norm, name, kept, dim=0)
        norm.num_features = len(kept)  # type: ignore[assignment]
    reader = network.get_submodule(hidden.reader)
    _take(reader, "weight", kept, dim=1)
    attribute = "in_channels" if isinstance(reader, nn.Conv2d) else "in_features"
    setattr(reader, attribute, len(kept))


def shift_output(network: nn.Module, hidden: Hidden, shift: Tensor) -> None:
    """Add `shift`, (O,), to what the layer that reads the channels gives, in place."""
    if hidden.reader_norm:
        network.get_submodule(hidden.reader_norm).running_mean.sub_(shift)  # type: ignore[operator]
    else:
        network.get_submodule(hidden.reader).bias.add_(shift)  # type: ignore[operator]


def _take(module: nn.Module, name: str, kept: Tensor, *, dim: int) -> None:
    old = getattr(module, name)
    new = old.detach().index_select(dim, kept)
    is_parameter = isinstance(old, nn.Parameter)
    setattr(module, name, nn.Parameter(new, old.requires_grad) if is_parameter else new)


def convolution(network: nn.Module, name: str) -> nn.Conv2d:
    """The convolution of this name."""
    module = network.get_submodule(name)
    assert isinstance(module, nn.Conv2d)
    return module
