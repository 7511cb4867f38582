"""Two convolutions with nothing between them made into one, which gives the same in less time.

A block of MobileNetV2 or EfficientNet-Lite ends in a projection without an activation. Where that
is read by nothing but a convolution that widens it again, the product of both weights does what
both do, and saves their going through memory between. It saves multiply-adds as well where the
channels before and behind are few, as a pruned network's are.
"""

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn

from train import channels
from train.channels import Hidden, convolution
from train.network import Network


def foldable(network: Network) -> list[tuple[Hidden, Hidden]]:
    """Neighbours of which the second's first layer is all that reads the first's reader.

    The network is of one of channels.BACKBONES.
    """
    return [
        (one, other)
        for one, other in pairwise(channels.hidden_channels(network))
        if not any(_adds(network, each) for each in (one, other)) and _widens(network, other)
    ]


def folded(network: Network) -> Network:
    """A copy in eval mode, with those folded that save multiply-adds."""
    network = copy.deepcopy(network).eval()
    for one, other in foldable(network):
        first, second = convolution(network, one.reader), convolution(network, _widening(other))
        few, middle, many = first.in_channels, first.out_channels, second.out_channels
        if few * many < few * middle + middle * many:
            fold(network, one, other)
    return network


@torch.no_grad()
def fold(network: Network, one: Hidden, other: Hidden) -> None:
    """Make one of the two convolutions between two neighbours of `foldable`, in place.

    What is left of the first and its batch-norm is an nn.Identity; the network is in eval mode.
    """
    first, second = convolution(network, one.reader), convolution(network, _widening(other))
    gain, shift = _affine(network.get_submodule(one.reader_norm))
    outer = second.weight.double().flatten(1)  # (O, M)
    inner = first.weight.double().flatten(1) * gain[:, None]  # (M, I)
    merged = nn.Conv2d(first.in_channels, second.out_channels, 1, bias=False)
    merged.weight.copy_((outer @ inner)[:, :, None, None])
    network.get_submodule(other.makers[0][1]).running_mean -= outer @ shift  # type: ignore[operator]
    _put(network, one.reader, nn.Identity())
    _put(network, one.reader_norm, nn.Identity())
    _put(network, _widening(other), merged)


def _affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """(M,) and (M,) float64: what a batch-norm multiplies by, and then adds."""
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return gain, norm.bias.double() - gain * norm.running_mean.double()


def _adds(network: Network, hidden: Hidden) -> bool:
    return bool(hidden.block) and channels.adds_its_input(network.get_submodule(hidden.block))


def _widening(hidden: Hidden) -> str:
    return hidden.makers[0][0]


def _widens(network: Network, hidden: Hidden) -> bool:
    """Whether the first of the layers that make its channels is a pointwise convolution."""
    layer = convolution(network, _widening(hidden))
    return layer.kernel_size == (1, 1) and layer.groups == 1


def _put(network: Network, name: str, module: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, module)
