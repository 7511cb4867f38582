"""Which of a layer's inputs it can do without, and the weights that make up for them.

The layer computes a @ w of its inputs a. Left without input j, the least that its output can change
is w_j^2 / (G^-1)_jj, where G is the inputs' second moment, and the same weights w - (G^-1)_j w_j /
(G^-1)_jj are then the best ones: optimal brain surgeon (Hassibi and Stork 1993) for one layer, in
which whole inputs go. Each output counts by the square of what the loss changes with it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

# Of the mean second moment: keeps inputs that hardly differ from each other apart, in numbers.
_RIDGE = 1e-4
_LEAST_RIDGE = 1e-12  # for a layer whose inputs are always 0


@dataclass(frozen=True, slots=True)
class Layer:
    """What is known of a layer that reads N inputs; the last row is of a constant 1.

    Attributes:
        moment: (N + 1, N + 1) float64, mean product of two inputs.
        weights: (N, O) float64.
        importance: (O,) float64, mean square of the loss's derivative by each output.
    """

    moment: Tensor
    weights: Tensor
    importance: Tensor

    @property
    def with_constant(self) -> Tensor:
        """(N + 1, O): the weights, and nothing yet of the constant."""
        return torch.cat([self.weights, torch.zeros_like(self.weights[:1])])


def ridged(moment: Tensor, ridge: float) -> Tensor:
    """(N + 1, N + 1): a moment, stronger on the diagonal by this share of the inputs' mean one."""
    strength = ridge * moment.diagonal()[:-1].mean() + _LEAST_RIDGE
    return moment + strength * torch.eye(len(moment), dtype=moment.dtype)


def eliminate(layer: Layer, *, leave: int) -> tuple[list[int], list[float]]:
    """Leave out input after input, each time the one that costs least, until `leave` are left.

    Returns:
        Their numbers in this order, and by how much each raises the loss, to second order, at each
        place that the layer is applied to.
    """
    inverse, weights = torch.linalg.inv(ridged(layer.moment, _RIDGE)), layer.with_constant
    left = torch.ones(len(weights), dtype=torch.bool)
    left[-1] = False  # the constant stays
    order: list[int] = []
    costs: list[float] = []
    for _ in range(len(layer.weights) - leave):
        cost = 0.5 * (weights**2 @ layer.importance) / inverse.diagonal()
        cost[~left] = torch.inf
        least = int(cost.argmin())
        order.append(least)
        costs.append(float(cost[least]))
        left[least] = False
        share = inverse[:, least] / inverse[least, least]
        weights.addr_(share, weights[least].clone(), alpha=-1)
        inverse.addr_(share, inverse[least].clone(), alpha=-1)
        inverse[least, least] = 1.0  # of what is gone, only so that nothing is divided by 0
    return order, costs


def made_up(layer: Layer, kept: Tensor) -> tuple[Tensor, Tensor]:
    """The best weights of the inputs `kept`, (K,) int64: (K, O), and (O,) to add to the output."""
    rows = torch.cat([kept, torch.tensor([len(layer.weights)])])
    moment = ridged(layer.moment, _RIDGE)[rows]
    best = torch.linalg.solve(moment[:, rows], moment @ layer.with_constant)
    return best[:-1], best[-1]
