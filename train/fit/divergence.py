"""An epoch's figures and weights in; an error out where the training has diverged.

A loss that is no number never becomes one again, and a model of such weights answers nothing.
"""

import math
from pathlib import Path
from typing import Any

from torch import nn

from train.errors import CheckFailedError
from train.runs.folder import MODEL


def require_finite(entry: dict[str, Any], kept: nn.Module, out: Path) -> None:
    """Raise CheckFailedError if a loss of the epoch, or a weight that it left, is not finite.

    Called before the epoch is saved, so that the run's folder has what was kept before it.
    """
    losses = {
        name: entry[key]
        for name, key in (("train loss", "train_loss"), ("validation loss", "validation_loss"))
        if key in entry
    }
    floats = (value for value in kept.state_dict().values() if value.is_floating_point())
    if all(map(math.isfinite, losses.values())) and all(bool(v.isfinite().all()) for v in floats):
        return
    found = ", ".join(f"{name} {loss:.4g}" for name, loss in losses.items())
    before = out / MODEL
    left = f"{before} is the model before it" if before.is_file() else "There is no model"
    raise CheckFailedError(
        f"the training has diverged: after epoch {entry['epoch']} losses or weights are not finite "
        f"({found}). {left}. Train anew with a lower --lr and another --out."
    )
