"""Distillation: trained networks as a teacher, whose probabilities are learned beside the labels.

The probabilities tell which classes a photo resembles, and they soften wrong labels (Hinton et al.
2015, "Distilling the knowledge in a neural network"). Teacher and student see the same random
variant of a photo (Beyer et al. 2022, "A good teacher is patient and consistent").
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from serving.model.preprocess import PreprocessSpec, scale_and_offset


class _Renormalized(nn.Module):
    """A network whose input is normalised in another way than it was trained with."""

    def __init__(self, network: nn.Module, given: PreprocessSpec, wanted: PreprocessSpec) -> None:
        super().__init__()
        self.network = network
        (scale, offset), (its_scale, its_offset) = map(scale_and_offset, (given, wanted))
        ratio = its_scale / scale
        self.ratio = nn.Buffer(torch.from_numpy(ratio).view(3, 1, 1))
        self.shift = nn.Buffer(torch.from_numpy(its_offset - offset * ratio).view(3, 1, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, 3, S, S) float32 -> (B, C) logits"""
        logits: Tensor = self.network(inputs * self.ratio + self.shift)
        return logits


def renormalized(network: nn.Module, given: PreprocessSpec, wanted: PreprocessSpec) -> nn.Module:
    """The network for inputs normalised as `given`, if it was trained with `wanted`."""
    if (given.mean, given.std) == (wanted.mean, wanted.std):
        return network
    return _Renormalized(network, given, wanted)


# (B, 3, S, S) float32 -> (B, C) probabilities
Teacher = Callable[[Tensor], Tensor]


def joint_teacher(networks: Sequence[nn.Module], *, compiled: bool) -> Teacher:
    """One teacher of several networks: the mean of their probabilities.

    `compiled` compiles each network with torch.compile.
    """
    forwards = [torch.compile(net, dynamic=False) if compiled else net for net in networks]

    @torch.no_grad()
    def teach(inputs: Tensor) -> Tensor:
        answers = [forward(inputs).float().softmax(dim=1) for forward in forwards]
        return torch.stack(answers).mean(dim=0)

    return teach


def distillation_loss(logits: Tensor, taught: Tensor, label_loss: Tensor, weight: float) -> Tensor:
    """The weighted mean of the losses against the teacher (`weight`) and against the labels.

    logits (B, C), taught (B, C) probabilities, label_loss () -> ()
    """
    return weight * cross_entropy(logits, taught) + (1 - weight) * label_loss
