"""Two networks as one: the second is asked where the first is not sure.

images (N, 3, H, W) -> first -> probabilities (N, C); where the highest is below `sure_above`, the
mean of both networks' probabilities. In torch both always compute; the ONNX file that is exported
(`train.cascade_graph`) asks the second for the unsure images alone.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from train.network import Network


@dataclass(frozen=True, slots=True)
class CascadeRule:
    """When the second network is asked, and how each one's logits become probabilities."""

    first_temperature: float
    second_temperature: float
    sure_above: float
    """The first answers alone where its highest probability is at least this; above 1, never."""


class CascadeNetwork(nn.Module):
    """Both networks and the rule; for answering, not for training."""

    def __init__(self, first: Network, second: Network, rule: CascadeRule) -> None:
        super().__init__()
        self.first, self.second, self.rule = first, second, rule

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) float32 -> (N, C) logs of probabilities, which serve as logits."""
        alone = torch.log_softmax(self.first(images) / self.rule.first_temperature, dim=1)
        other = torch.log_softmax(self.second(images) / self.rule.second_temperature, dim=1)
        both = torch.logaddexp(alone, other) - math.log(2)
        sure = alone.exp().amax(dim=1, keepdim=True) >= self.rule.sure_above  # (N, 1)
        return torch.where(sure, alone, both)
