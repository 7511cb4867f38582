"""A network whose layers were disturbed, led back to the one that it was."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from tests.networks import drawn_network
from train.channels import counts, hidden_channels, keep
from train.network import Network
from train.reconstruction import reconstruct

BLOCKS = 8
"""As many are disturbed: more take longer and show nothing else."""


def photos() -> Iterator[torch.Tensor]:
    """Blurred noise, (8, 3, 64, 64): neighbouring pixels are alike, as in photos."""
    random = torch.Generator().manual_seed(1)
    for _ in range(6):
        noise = torch.rand(8, 3, 8, 8, generator=random) * 4 - 2
        yield torch.nn.functional.interpolate(noise, size=(64, 64), mode="bilinear")


@torch.no_grad()
def distance(one: Network, other: Network) -> float:
    """Of logits, relative to how much they differ among photos."""
    ours, theirs = (torch.cat([net(images) for images in photos()]) for net in (one, other))
    return float((ours - theirs).square().mean().sqrt() / theirs.std(dim=0).mean())


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "efficientnet_lite0"])
def test_disturbed_weights_are_found_again(backbone: str):
    whole = drawn_network(backbone)
    disturbed = copy.deepcopy(whole)
    hidden = hidden_channels(whole)[:BLOCKS]
    random = torch.Generator().manual_seed(2)
    for each in hidden:
        weight: Any = disturbed.get_submodule(each.reader).weight
        noise = torch.randn(weight.shape, generator=random) * weight.std()
        weight.data += 0.5 * noise
    before = distance(disturbed, whole)

    reconstruct(whole, disturbed, hidden, photos, photos)

    assert before > 0.1
    assert distance(disturbed, whole) < before / 5


@torch.no_grad()
def test_a_block_makes_up_for_what_its_input_lacks():
    # features.4 adds its input, which features.3 gives; no channel of either is missing.
    whole = drawn_network("mobilenet_v2")
    shifted = copy.deepcopy(whole)
    norm: Any = shifted.get_submodule("backbone.features.3.conv.3")
    norm.bias += 0.7
    hidden = [each for each in hidden_channels(whole) if each.block == "backbone.features.4"]

    reconstruct(whole, shifted, hidden, photos, photos)

    images = next(photos())
    networks: Any = (shifted, whole)
    ours, theirs = (network.backbone.features[:5](images) for network in networks)
    assert (ours - theirs).square().mean() < 0.02 * theirs.var()


@torch.no_grad()
def test_with_fewer_channels_the_answers_come_nearer():
    whole = drawn_network("mobilenet_v2")
    pruned = copy.deepcopy(whole)
    hidden = hidden_channels(whole)[:BLOCKS]
    for each, width in zip(hidden, counts(whole, hidden), strict=True):
        keep(pruned, each, torch.arange(width * 3 // 4))
    before = distance(pruned, whole)

    reconstruct(whole, pruned, hidden, photos, photos)

    assert distance(pruned, whole) < before / 3
