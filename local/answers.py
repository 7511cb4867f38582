"""The answers about a folder of photos: a file with a row for each, and links to them by label.

A row is appended as soon as its photo is done. A row that a kill cut short is removed when the file
is opened again. Refused: a file that holds something else, one that another run writes to, and one
with another model's answers.
"""

import csv
import fcntl
import filecmp
import hashlib
import io
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from local.errors import LocalError

Row = dict[str, Any]
"""A photo's `path`, the `model`, and the handler's answer or `error` and `detail`."""

_TOP_K = 5  # the handler's default
_FURTHER = [f"{name}_{rank}" for rank in range(2, _TOP_K + 1) for name in ("label", "probability")]
_COLUMNS = (
    *("path", "label", "probability", "unsure", "unsure_because", "familiarity"),
    *("error", "detail", *_FURTHER, "model"),
)
_MAX_ROW_BYTES = 65_536
_MAX_NAME_BYTES, _MAX_SUFFIX = 200, 20  # most file systems take names of 255 bytes
_NOT_IN_NAMES = re.compile(r'^\.|[\x00-\x1f\x7f/\\:*?"<>|%]')


class _Csv:
    """A line of column names, then one record for each row (RFC 4180)."""

    start = (",".join(_COLUMNS) + "\r\n").encode()

    def is_whole(self, record: bytes) -> bool:
        """Whether it ends; a line break in quotes belongs to a name."""
        return record.endswith(b"\n") and record.count(b'"') % 2 == 0

    def read(self, record: bytes) -> Row:
        cells = next(csv.reader(io.StringIO(record.decode(), newline=""), strict=True))
        return dict(zip(_COLUMNS, cells, strict=True))

    def write(self, row: Row) -> bytes:
        cells = dict(row)
        for rank, other in enumerate(row.get("predictions", ())[1:], start=2):
            cells |= {f"{name}_{rank}": value for name, value in other.items()}
        if "unsure" in row:
            cells["unsure"] = json.dumps(row["unsure"])
        text = io.StringIO(newline="")
        csv.DictWriter(text, _COLUMNS, extrasaction="ignore").writerow(cells)
        return text.getvalue().encode("utf-8", "backslashreplace")


class _JsonLines:
    """One JSON object a line."""

    start = b""

    def is_whole(self, record: bytes) -> bool:
        return record.endswith(b"\n")

    def read(self, record: bytes) -> Row:
        row: Row = {**json.loads(record)}  # TypeError for other JSON
        return row

    def write(self, row: Row) -> bytes:
        text = json.dumps(row, ensure_ascii=False) + "\n"
        return text.encode("utf-8", "backslashreplace")


_FORMATS: dict[str, _Csv | _JsonLines] = {".csv": _Csv(), ".jsonl": _JsonLines()}


class Answers:
    """A file of answers that is open for more; a context manager.

    Attributes:
        labels: by path the label of each photo that is in the file; empty if it has an error.
        errors: how many rows have each error's code.

    Raises:
        LocalError: it cannot be written, or it is not such a file.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix.lower() not in _FORMATS:
            raise LocalError(f"The answers go into a file that ends in .csv or .jsonl, not {path}.")
        self.labels: dict[str, str] = {}
        self.errors: Counter[str] = Counter()
        self._models: set[str] = set()
        self._path, self._format = path, _FORMATS[path.suffix.lower()]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b", buffering=0)
        except OSError as error:
            raise self._not_written(error) from error
        try:
            self._lock()
            self._mend()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "Answers":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def take_model(self, version: str) -> None:
        """Check that all rows are of the model with this version; the next ones will be.

        Raises:
            LocalError: some are of another.
        """
        if others := self._models - {version}:
            raise LocalError(
                f"{self._path} has answers of another model ({others.pop()}). Choose another file."
            )

    def add(self, row: Row) -> None:
        """Append a row; raises LocalError if the disk is full."""
        self._append(self._format.write(row))
        self._count(row)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a killed run's ends with it
        except BlockingIOError as error:
            raise LocalError(f"Another run writes to {self._path}. Wait for its end.") from error

    def _mend(self) -> None:
        """Read the rows, and cut off the last one if it is not whole."""
        kept, record = 0, b""
        with self._path.open("rb") as lines:
            for line in lines:
                record += line
                if self._format.is_whole(record):
                    self._take(record, is_first=kept == 0)
                    kept, record = kept + len(record), b""
                elif len(record) > _MAX_ROW_BYTES:
                    raise self._alien(record)
        start = self._format.start or b'{"path": '
        if kept == 0 and not start.startswith(record[: len(start)]):
            raise self._alien(record)
        self._file.truncate(kept)
        if kept == 0:
            self._append(self._format.start)

    def _take(self, record: bytes, *, is_first: bool) -> None:
        if is_first and self._format.start:
            if record.split() != self._format.start.split():
                raise self._alien(record)
        elif record.strip():
            try:
                self._count(self._format.read(record))
            except (ValueError, LookupError, TypeError, csv.Error) as error:
                raise self._alien(record) from error

    def _count(self, row: Row) -> None:
        self.labels[row["path"]] = row.get("label") or ""
        self._models.add(row["model"])
        if row.get("error"):
            self.errors[row["error"]] += 1

    def _append(self, record: bytes) -> None:
        try:
            while record:  # the system may take a part only
                record = record[self._file.write(record) :]
        except OSError as error:
            raise self._not_written(error) from error

    def _alien(self, record: bytes) -> LocalError:
        found = record[:60].decode(errors="backslashreplace").strip()
        return LocalError(
            f"{self._path} holds something other than answers: {found!r}. Choose another file."
        )

    def _not_written(self, error: OSError) -> LocalError:
        return LocalError(f"{self._path} cannot be written: {error.strerror}.")


def link_by_label(root: Path, labelled: Iterable[tuple[str, str]]) -> int:
    """Link photos into ROOT/LABEL/, whatever labels and photos are called; returns their number.

    A photo with a name that another one has there gets a number from its path. What is there
    already stays.

    Raises:
        LocalError: neither a link nor a copy can be made there.
    """
    count = 0
    for photo, label in labelled:
        folder = root / _folder_name(label)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LocalError(f"{folder} cannot be made: {error.strerror}.") from error
        if folder.is_symlink():  # it may lead out of ROOT
            raise LocalError(f"{folder} is a link. Move it away.")
        _link(Path(photo), folder)
        count += 1
    return count


def _folder_name(label: str) -> str:
    """A label as the name of one folder: what a file system does not take becomes %XX."""
    text = label.encode("utf-8", "backslashreplace").decode()
    name = _NOT_IN_NAMES.sub(lambda found: f"%{ord(found[0]):02X}", text) or "%"
    if len(name.encode()) > _MAX_NAME_BYTES:
        return _cut(name) + _number_of(label)
    return name


def _link(photo: Path, folder: Path) -> None:
    path = os.path.abspath(photo)  # noqa: PTH100 - resolve() would follow links
    numbered = f"{_cut(photo.stem)}-{_number_of(path)}{photo.suffix[:_MAX_SUFFIX]}"
    for target in (folder / photo.name, folder / numbered):
        if not os.path.lexists(target):
            _make(path, target)
            return
        if _shows(target, path):
            return
    raise LocalError(f"{target} is something else. Move it away.")


def _make(path: str, target: Path) -> None:
    """A symbolic link; a hard link or a copy where the file system has none."""
    reason: OSError | None = None
    for make in (os.symlink, os.link, shutil.copyfile):
        try:
            make(path, target)
            return
        except OSError as error:
            reason = error
    raise LocalError(f"{target} cannot be made: {reason and reason.strerror}.")


def _shows(target: Path, path: str) -> bool:
    """Whether a link, or a copy, is of this photo."""
    if target.is_symlink():
        return str(target.readlink()) == path
    return target.is_file() and filecmp.cmp(target, path, shallow=False)


def _number_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _cut(name: str) -> str:
    """At most _MAX_NAME_BYTES of a name."""
    return name.encode("utf-8", "ignore")[:_MAX_NAME_BYTES].decode("utf-8", "ignore")
