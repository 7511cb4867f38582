"""The channels inside blocks, on whole networks with drawn weights."""

from typing import Any

import pytest
import torch

from tests.networks import drawn_network
from train.channels import counts, hidden_channels, keep, narrow
from train.config import NetworkConfig
from train.errors import UsageError
from train.network import build

WIDTHS = {
    "mobilenet_v2": (32, 96, 144, 144, *[192] * 3, *[384] * 4, *[576] * 3, *[960] * 3, 1280),
    "efficientnet_lite0": (
        *(32, 96, 144, 144, 240, 240, 480, 480, 480, 672, 672, 672),
        *(1152, 1152, 1152, 1152, 1280),
    ),
}


@pytest.mark.parametrize("backbone", WIDTHS)
def test_every_block_has_its_channels_and_the_head_its_features(backbone: str):
    network = drawn_network(backbone)
    assert counts(network, hidden_channels(network)) == WIDTHS[backbone]


@pytest.mark.parametrize("backbone", WIDTHS)
@torch.no_grad()
def test_a_channel_that_is_always_zero_goes_without_a_trace(backbone: str):
    network = drawn_network(backbone, inner=4)
    hidden = hidden_channels(network)
    for each in hidden:
        for _, norm_name in each.makers:
            norm: Any = network.get_submodule(norm_name)
            norm.weight[3] = norm.bias[3] = 0
    images = torch.rand(2, 3, 64, 64)
    before = network(images)
    wide = counts(network, hidden)

    for each, width in zip(hidden, wide, strict=True):
        keep(network, each, torch.tensor([i for i in range(width) if i != 3]))

    assert counts(network, hidden) == tuple(width - 1 for width in wide)
    torch.testing.assert_close(network(images), before)


def test_a_narrow_network_is_built_takes_its_weights_and_leaves_frozen_what_was():
    half = tuple(width // 2 for width in WIDTHS["mobilenet_v2"])

    network = drawn_network("mobilenet_v2", hidden=half, frozen_stages=2)

    assert counts(network, hidden_channels(network)) == half
    drawn_network("mobilenet_v2", hidden=half).load_state_dict(network.state_dict())
    frozen = [name for name, weight in network.named_parameters() if not weight.requires_grad]
    assert frozen
    assert all(name.startswith(("backbone.features.0", "backbone.features.1")) for name in frozen)


@pytest.mark.parametrize("widths", [(16,), (*WIDTHS["mobilenet_v2"][:-1], 1281), (0,) * 18])
def test_widths_that_the_network_does_not_have_are_refused(widths: tuple[int, ...]):
    with pytest.raises(UsageError, match=r"--hidden .* 32 96 144 .*--start RUN"):
        narrow(drawn_network("mobilenet_v2"), widths, "mobilenet_v2")


def test_a_backbone_of_other_blocks_is_not_made_narrow():
    with pytest.raises(UsageError, match=r"--hidden is for mobilenet_v2.*found mobilenet_v3_small"):
        build(NetworkConfig("mobilenet_v3_small", "none", hidden=(3,)), 3)


def test_a_narrow_network_has_no_published_weights():
    with pytest.raises(UsageError, match="--start RUN"):
        build(NetworkConfig(hidden=WIDTHS["mobilenet_v2"]), 3)
