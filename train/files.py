"""Files are written whole or not at all; folders are checked before long work begins."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from train.errors import TrainError, UsageError


def write_whole(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Write a file so that readers see the old content or the new, never a part.

    Raises:
        TrainError: the disk is full or the folder is not writable; the old file is unchanged.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch turns a full disk into a RuntimeError
        raise TrainError(
            f"{path} could not be written: {reason(error)}. The file before it is unchanged."
        ) from error
    finally:
        if temporary is not None:
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


def require_writable(folder: Path, flag: str = "") -> None:
    """Check that files can be written into a folder, before the work whose result goes there.

    Leaves nothing behind.

    Raises:
        UsageError: they cannot; the message names the flag and the folder.
    """
    missing = [each for each in (folder, *folder.parents) if not os.path.lexists(each)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        why = "it is a file, not a folder" if folder.is_file() else reason(error)
        place = f"{flag} {folder}".strip()
        raise UsageError(
            f"{place} is not writable: {why}. Change that, or give another folder."
        ) from error
    finally:
        for each in missing:
            with suppress(OSError):
                each.rmdir()


def require_room(folder: Path, needed_bytes: int) -> None:
    """Raise UsageError if the disk of the cache has not the room for so many bytes."""
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise UsageError(
            f"--cache {folder} has not the room for {gigabytes(needed_bytes)}: {gigabytes(free)} "
            "are free. Make room, give a --cache on another disk, or a lower --cache-gb: photos "
            "that do not fit are decoded whenever they are read."
        )


def gigabytes(size_bytes: float) -> str:
    """A size in decimal gigabytes or megabytes, for a person."""
    return f"{size_bytes / 1e9:,.1f} GB" if size_bytes >= 1e8 else f"{size_bytes / 1e6:.0f} MB"


def reason(error: BaseException) -> str:
    """The operating system's message, even if a library wrapped it in an error of its own."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            # numpy says how much was written, not why the rest was not.
            return cause.strerror or f"only a part was written; the disk may be full ({cause})"
        cause = cause.__cause__ or cause.__context__
    return str(error)


def draft_folder() -> tempfile.TemporaryDirectory[str]:
    """A temporary folder; raises TrainError if none can be made."""
    try:
        return tempfile.TemporaryDirectory()
    except OSError as error:
        raise TrainError(
            f"No temporary folder can be made: {error}. Choose another, TMPDIR=DIR."
        ) from error


@contextmanager
def writing_drafts(folder: Path) -> Iterator[None]:
    """Turn a failed write into a temporary folder into a TrainError that names the folder."""
    try:
        yield
    except OSError as error:
        raise TrainError(
            f"The temporary folder {folder} is not writable: {reason(error)}. Make room there, or "
            "choose another, TMPDIR=DIR."
        ) from error
