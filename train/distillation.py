"""A trained network as a teacher: what it answers to a training photo is learned beside the label.

Its probabilities say which classes a photo resembles, which one label does not, and they doubt a
wrong label (Hinton et al. 2015, "Distilling the knowledge in a neural network"). Teacher and
student see the same random variant of a photo (Beyer et al. 2022, "A good teacher is patient and
consistent").
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from train import checkpoints
from train.errors import UsageError

# (B, 3, S, S) float32 -> (B, C) probabilities
Teacher = Callable[[Tensor], Tensor]


def load_teacher(
    run: Path, classes: tuple[str, ...], device: torch.device, *, compiled: bool
) -> Teacher:
    """The model of a run as a teacher; `compiled` passes it through torch.compile.

    Raises:
        UsageError: the run's model is missing or damaged, or knows other classes.
    """
    trained = checkpoints.load_model(run)
    if trained.classes != classes:
        raise UsageError(
            f"--teacher {run} knows the classes {', '.join(trained.classes)}, "
            f"but the photos' are {', '.join(classes)}: a teacher knows the same."
        )
    network: nn.Module = trained.network.to(device)
    forward = torch.compile(network, dynamic=False) if compiled else network

    @torch.no_grad()
    def teach(inputs: Tensor) -> Tensor:
        logits: Tensor = forward(inputs)
        return logits.float().softmax(dim=1)

    return teach


def distillation_loss(logits: Tensor, taught: Tensor, label_loss: Tensor, weight: float) -> Tensor:
    """`weight` of the loss against the teacher, the rest of that against the labels.

    logits (B, C), taught (B, C) probabilities, label_loss () -> ()
    """
    return weight * cross_entropy(logits, taught) + (1 - weight) * label_loss
