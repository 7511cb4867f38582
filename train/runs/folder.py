"""The folder of a run: what is in it, and its checkpoints.

RUN/config.json     the settings
RUN/run.json        the command, versions, classes, manifest hash, metrics of each epoch
RUN/last.pt         what `--resume` needs to continue
RUN/model.pt        the model: weights of the best epoch, classes, settings
"""

from pathlib import Path
from typing import Any

import torch

from train.errors import UsageError
from train.files import write_whole

CONFIG, RECORD, LAST, MODEL = "config.json", "run.json", "last.pt", "model.pt"


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint, whole or not at all."""
    write_whole(path, lambda file: torch.save(state, file))


# What else to do about a damaged file.
_OTHERWISE = {
    LAST: f", or train again with another --out; the run's {MODEL} is unchanged",
    MODEL: (
        "; without a copy, `python -m train fit --resume` with the run's settings writes it again "
        "if the last epoch was the best"
    ),
}


def damaged(path: Path) -> str:
    """What to do about a checkpoint that cannot be used."""
    otherwise = _OTHERWISE.get(path.name, "")
    return f"{path} is damaged or cut short. Restore it from a copy{otherwise}."


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; raises UsageError when it is missing, damaged or foreign."""
    if not path.is_file():
        raise UsageError(f"{path} is missing: train a run first with `python -m train fit`.")
    try:
        with path.open("rb") as file:
            state: Any = torch.load(file, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    except Exception as error:  # a damaged pickle may raise anything
        raise UsageError(damaged(path)) from error
    if not isinstance(state, dict):
        raise UsageError(foreign(path))
    return state


def foreign(path: Path) -> str:
    """What to do about another program's file."""
    return f"{path} is not a checkpoint of a run: give a folder that `python -m train fit` wrote."
