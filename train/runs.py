"""The folder of a run: what is in it, and how it is written so that nothing is ever there by half.

RUN/config.json     the settings, whole
RUN/run.json        versions, classes, manifest hash, metrics of each epoch
RUN/last.pt         everything that going on needs
RUN/model.pt        the model: weights of the epoch that was kept, classes, settings
"""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from train.errors import TrainError, UsageError

CONFIG, RECORD, LAST, MODEL = "config.json", "run.json", "last.pt", "model.pt"


def write_whole(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Write a file so that readers see the old one or the new one, never a part.

    Raises:
        TrainError: the disk is full or the folder cannot be written; the old file is intact.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch turns a full disk into a RuntimeError
        raise TrainError(
            f"{path} could not be written: {error}. What was there before is intact."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON value, whole or not at all."""
    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes, whole or not at all."""

    def write(file: IO[bytes]) -> None:
        file.write(content)

    write_whole(path, write)


def read_json(path: Path) -> Any:
    """Read a JSON file; raises UsageError when it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise UsageError(f"{path} is not valid JSON: {error}.") from error


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint, whole or not at all."""
    import torch

    write_whole(path, lambda file: torch.save(state, file))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; raises UsageError when it is missing or cut short."""
    import pickle

    import torch

    if not path.is_file():
        raise UsageError(f"{path} is missing: train a run first with `python -m train fit`.")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise UsageError(
            f"{path} is damaged or cut short and cannot be read. Delete it, or restore it from a "
            "copy; the run's other checkpoint is untouched."
        ) from error
    return state
