"""A bundled run in, the checkpoint beside the model out, and back.

MODEL/checkpoint/model.pt     the run's weights: matrices in 16 bits, vectors in 32
MODEL/checkpoint/config.json  its settings
MODEL/checkpoint/run.json     its record
MODEL/checkpoint/frontier.json  the input sizes that were compared, if any were

Paths are cut to their last names, because the checkpoint is published. A network that loads it has
32-bit weights again.
"""

from pathlib import Path
from typing import Any

import torch

from train.errors import UsageError
from train.export.input_size import FRONTIER_FILE
from train.files import read_json, write_bytes, write_json
from train.runs.folder import CONFIG, MODEL, RECORD, load_checkpoint, save_checkpoint
from train.runs.model import read_model

# Settings that are paths of the machine that trained.
_PATHS = frozenset({"out", "data", "table", "cache", "start", "teacher", "weights"})


def write_checkpoint(run: Path, folder: Path) -> None:
    """Write the run's model, settings and records into the folder, without what resuming needs.

    Nothing changes if the run was taken from the folder.
    """
    if not _is_same(run / MODEL, folder / MODEL):
        saved = load_checkpoint(run / MODEL)
        saved["weights"] = {name: _halved(value) for name, value in saved["weights"].items()}
        saved["config"] = _without_paths(saved["config"])
        for name in (CONFIG, RECORD):
            write_json(folder / name, _without_paths(read_json(run / name)))
        save_checkpoint(folder / MODEL, saved)
    if (run / FRONTIER_FILE).is_file():
        write_bytes(folder / FRONTIER_FILE, (run / FRONTIER_FILE).read_bytes())
    else:
        (folder / FRONTIER_FILE).unlink(missing_ok=True)


def take_checkpoint(folder: Path, run: Path) -> None:
    """Make a run from the checkpoint; the model is written last, so a run with one is complete."""
    for name in (CONFIG, RECORD, FRONTIER_FILE, MODEL):
        if (folder / name).is_file():
            write_bytes(run / name, (folder / name).read_bytes())
        else:
            (run / name).unlink(missing_ok=True)


def require_checkpoint(folder: Path, classes: tuple[str, ...], *, with_size: bool) -> None:
    """Make sure that a build can begin with the checkpoint.

    Raises:
        UsageError: it is missing or damaged, has other classes than the photos, or lacks the
            comparison of input sizes that the recipe needs.
    """
    its = read_model(folder).classes
    if its != classes:
        raise UsageError(
            f"{folder} knows the classes {', '.join(its)}, but the photos' are "
            f"{', '.join(classes)}: train on them, without --from."
        )
    if with_size and not (folder / FRONTIER_FILE).is_file():
        raise UsageError(
            f"{folder / FRONTIER_FILE}, with the chosen input size, is missing: begin at the "
            "frontier step."
        )


def _is_same(one: Path, other: Path) -> bool:
    return other.is_file() and one.read_bytes() == other.read_bytes()


def _halved(value: torch.Tensor) -> torch.Tensor:
    """Weights in 16 bits; batch-norm's statistics may exceed their range, and are small."""
    return value.half() if value.is_floating_point() and value.ndim > 1 else value


def _without_paths(value: Any, name: str = "") -> Any:
    """JSON values with paths cut to their last names."""
    if isinstance(value, dict):
        return {key: _without_paths(each, key) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_paths(each, name) for each in value]
    return Path(value).name if name in _PATHS and isinstance(value, str) else value
