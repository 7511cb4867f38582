"""Leaving measured channels out of a whole network with drawn weights."""

from typing import Any

import numpy as np
import torch

from serving.preprocess import PreprocessSpec, normalize
from tests.networks import drawn_network
from train.channels import counts, hidden_channels
from train.prune import leave_out, measure

SPEC = PreprocessSpec.square(64)


def test_a_channel_that_is_the_same_everywhere_is_made_up_for_by_a_shift():
    network = drawn_network("mobilenet_v2")
    hidden = hidden_channels(network)
    with torch.no_grad():
        for each in hidden:
            norm: Any = network.get_submodule(each.makers[-1][1])
            norm.weight[5], norm.bias[5] = 0, 2
    pixels = np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), dtype=np.uint8)
    images = torch.from_numpy(normalize(pixels, SPEC))
    with torch.no_grad():
        before = network(images)
    wide = counts(network, hidden)

    layers, places = measure(network, hidden, pixels, SPEC)
    for each, layer in zip(hidden, layers, strict=True):
        leave_out(network, each, layer, [5])

    assert places[0] == 32 * 32
    assert places[-1] == 1
    assert counts(network, hidden) == tuple(width - 1 for width in wide)
    with torch.no_grad():
        after = network(images)
    torch.testing.assert_close(after, before, atol=1e-5, rtol=0)
