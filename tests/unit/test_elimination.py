"""Leaving inputs of a layer out, against the same found by least squares."""

from typing import Any

import numpy as np
import pytest
import torch

from train.elimination import Layer, eliminate, made_up

ROWS, INPUTS, OUTPUTS = 4_000, 6, 3


@pytest.fixture
def inputs() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).gamma(2.0, size=(ROWS, INPUTS)))


@pytest.fixture
def weights() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).normal(size=(INPUTS, OUTPUTS)))


IMPORTANCE = torch.tensor([1.0, 4.0, 0.25], dtype=torch.float64)


def layer_of(inputs: torch.Tensor, weights: torch.Tensor) -> Layer:
    rows = torch.cat([inputs, torch.ones(len(inputs), 1, dtype=torch.float64)], dim=1)
    return Layer(rows.T @ rows / len(rows), weights, IMPORTANCE)


def refitted(inputs: torch.Tensor, weights: torch.Tensor, kept: list[int]) -> tuple[float, Any]:
    """Half the weighted mean square that least squares on `kept` and a constant leaves over."""
    wanted = (inputs @ weights).numpy()
    rows = np.c_[inputs[:, kept].numpy(), np.ones(ROWS)]
    best, *_ = np.linalg.lstsq(rows, wanted, rcond=None)
    left_over = ((rows @ best - wanted) ** 2).mean(axis=0)
    return float(left_over @ IMPORTANCE.numpy() / 2), best


def test_the_first_to_go_is_the_one_without_which_least_is_lost(inputs, weights):
    order, costs = eliminate(layer_of(inputs, weights), leave=INPUTS - 1)

    losses = [
        refitted(inputs, weights, [i for i in range(INPUTS) if i != gone])[0]
        for gone in range(INPUTS)
    ]
    assert order == [int(np.argmin(losses))]
    assert costs == [pytest.approx(min(losses), rel=0.01)]


def test_costs_add_up_to_what_is_lost_without_all_that_went(inputs, weights):
    order, costs = eliminate(layer_of(inputs, weights), leave=2)

    kept = [i for i in range(INPUTS) if i not in order]
    assert len(order) == len(set(order)) == INPUTS - 2
    assert sum(costs) == pytest.approx(refitted(inputs, weights, kept)[0], rel=0.01)


def test_an_input_that_others_tell_goes_first_and_costs_next_to_nothing(inputs, weights):
    _, (without_it, *_) = eliminate(layer_of(inputs, weights), leave=INPUTS - 1)
    inputs[:, 4] = 2 * inputs[:, 1] - inputs[:, 2] + 3

    order, costs = eliminate(layer_of(inputs, weights), leave=INPUTS - 1)

    assert order[0] in (1, 2, 4)
    assert costs[0] < without_it / 20


def test_what_is_left_gets_the_weights_of_least_squares_and_a_shift(inputs, weights):
    inputs[:, 3] = inputs[:, 0] + 0.1 * inputs[:, 3]
    kept = [0, 1, 2, 4]

    left, shift = made_up(layer_of(inputs, weights), torch.tensor(kept))

    _, best = refitted(inputs, weights, kept)
    np.testing.assert_allclose(torch.vstack([left, shift]).numpy(), best, atol=0.01)


def test_an_output_that_does_not_matter_keeps_nobody(inputs, weights):
    weights[5] = torch.tensor([0.0, 0.0, 50.0])
    layer = layer_of(inputs, weights)
    idle = Layer(layer.moment, weights, torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64))

    assert eliminate(idle, leave=INPUTS - 1)[0] == [5]
    assert eliminate(layer, leave=INPUTS - 1)[0] != [5]
