"""Two convolutions in a row made one, on whole networks with drawn weights."""

import pytest
import torch
from torch import nn

from tests.networks import drawn_network
from train.channels import counts, hidden_channels
from train.folding import fold, foldable, folded
from train.network import Network

# What the two of MobileNetV2 that are not added to read, and the convolutions that widen them.
FOLDED = ["backbone.features.1.conv.1", "backbone.features.17.conv.2"]


def convolutions(network: Network) -> dict[str, nn.Conv2d]:
    return {n: m for n, m in network.named_modules() if isinstance(m, nn.Conv2d)}


def narrow_network(backbone: str) -> Network:
    whole = drawn_network(backbone)
    widths = counts(whole, hidden_channels(whole))
    return drawn_network(backbone, hidden=(8, *[max(8, w // 4) for w in widths[1:]]))


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "efficientnet_lite0"])
@torch.no_grad()
def test_a_folded_network_has_fewer_convolutions_and_answers_alike(backbone: str):
    network = narrow_network(backbone)
    images = torch.rand(2, 3, 64, 64)
    before, layers = network(images), convolutions(network)

    after = folded(network)

    assert len(convolutions(after)) == len(layers) - 2
    torch.testing.assert_close(after(images), before)
    assert len(convolutions(network)) == len(layers)  # as it was
    torch.testing.assert_close(network(images), before)


def test_the_projections_that_nothing_else_reads_are_folded():
    network = narrow_network("mobilenet_v2")
    gone = convolutions(network).keys() - convolutions(folded(network)).keys()
    assert sorted(gone) == FOLDED


@torch.no_grad()
def test_a_whole_network_stays_as_it_is_for_it_would_compute_more():
    network = drawn_network("mobilenet_v2")
    assert convolutions(folded(network)).keys() == convolutions(network).keys()

    images = torch.rand(2, 3, 64, 64)
    before = network(images)
    for one, other in foldable(network):
        fold(network, one, other)
    torch.testing.assert_close(network(images), before)
