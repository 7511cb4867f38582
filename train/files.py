"""Files written whole or not at all, and folders that are tried before the work begins."""

import errno
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from train.errors import TrainError, UsageError


def write_whole(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Write a file so that readers see the old one or the new one, never a part.

    Raises:
        TrainError: the disk is full or the folder cannot be written; the old file is intact.
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
            f"{path} could not be written: {reason(error)}. What was there before is intact."
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
    """Try whether files can be written into a folder, and leave nothing behind.

    Work whose result goes there begins with it.

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
            f"{place} cannot be written into: {why}. Make that possible, or give another folder."
        ) from error
    finally:
        for each in missing:
            with suppress(OSError):
                each.rmdir()


def reason(error: BaseException) -> str:
    """What the operating system said, also where a library raised its own error over it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            # numpy knows how much was written and not why it was no more.
            return cause.strerror or f"the disk took a part of it, as a full one does ({cause})"
        cause = cause.__cause__ or cause.__context__
    return str(error)


def reserve(file: Path) -> None:
    """Take all of the file's space: a disk that fills up under a mapping kills the process."""
    if not hasattr(os, "posix_fallocate"):  # macOS, Windows
        return
    with file.open("r+b") as opened:
        try:
            os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # some file systems cannot
                raise


def draft_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for files on their way; raises TrainError where there can be none."""
    try:
        return tempfile.TemporaryDirectory()
    except OSError as error:
        raise TrainError(f"No folder for drafts: {error}. Name another, TMPDIR=DIR.") from error


@contextmanager
def writing_drafts(folder: Path) -> Iterator[None]:
    """Raises TrainError, which names the folder, where a file cannot be written into it."""
    try:
        yield
    except OSError as error:
        raise TrainError(
            f"{folder}, the folder for drafts, cannot be written into: {reason(error)}. Make room "
            "there, or name another, TMPDIR=DIR."
        ) from error
