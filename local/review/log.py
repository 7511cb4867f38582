"""Decisions in, lines of JSON in DATA/review.jsonl out: what a review said, when, and the model.

A decision is written before the photo is moved, and `done` after it, each line whole on the disk.
So a killed review knows at its next start what it was doing. One review at a time has the file.
"""

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from local.errors import ReviewError

NAME = "review.jsonl"
LABEL, NONE, UNDO, DONE = "label", "none", "undo", "done"


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person said of one photo.

    Attributes:
        photo: the SHA-256 of its bytes.
        name: its name in the source.
        label: its class, empty for none of these.
        file: where it is put, relative to the data folder; empty without a label.
        is_new: whether its class, or the folder of that, was made for it.
        said: what the model had said.
    """

    photo: str
    name: str
    label: str = ""
    file: str = ""
    is_new: bool = False
    said: Mapping[str, Any] = field(default_factory=dict)


class Log:
    """The decisions of a data folder, and the one that is not carried out yet.

    Attributes:
        decided: the decision on each photo by its hash, the oldest first.
        pending: a decision whose photo may not be in its place yet.
        undoing: an undone decision whose photo may still be there.
    """

    def __init__(self, folder: Path) -> None:
        self.decided: dict[str, Decision] = {}
        self.pending: Decision | None = None
        self.undoing: Decision | None = None
        self._path = folder / NAME
        try:
            self._file = self._path.open("a+b", buffering=0)
        except OSError as error:
            raise ReviewError(f"{self._path} cannot be written: {error.strerror}.") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._read()
        except BlockingIOError as error:
            self._file.close()
            raise ReviewError(f"Another review of {folder} is running. End it first.") from error
        except ReviewError:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def decide(self, decision: Decision) -> None:
        """Write a decision; it is pending until `done` if its photo is to be put somewhere."""
        self._add({"did": LABEL if decision.label else NONE, **asdict(decision)})

    def undo(self, decision: Decision) -> None:
        """Take a decision back; it is being undone until `done`."""
        self._add({"did": UNDO, "photo": decision.photo})

    def done(self) -> None:
        """The decision is carried out, or undone."""
        decision = self.pending or self.undoing
        if decision is not None:
            self._add({"did": DONE, "photo": decision.photo})

    def _add(self, entry: Mapping[str, Any]) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        line = json.dumps({"at": now, **entry}, ensure_ascii=False).encode(errors="replace") + b"\n"
        size = self._file.seek(0, os.SEEK_END)
        try:
            written = self._file.write(line)
            if written != len(line):
                raise OSError(None, "only a part was written; the disk may be full")
            os.fsync(self._file.fileno())
        except OSError as error:
            self._file.truncate(size)
            raise ReviewError(
                f"{self._path} could not be written: {error.strerror}. Make room, and try again."
            ) from error
        self._apply(entry)

    def _read(self) -> None:
        self._file.seek(0)
        content = self._file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):  # a line that a killed process or a full disk cut short
            self._file.truncate(whole)
        for number, line in enumerate(content[:whole].splitlines(), start=1):
            try:
                self._apply(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ReviewError(
                    f"{self._path}: line {number} is not what a review writes. Restore the file "
                    "from a copy, or delete the line."
                ) from error

    def _apply(self, entry: Mapping[str, Any]) -> None:
        did, photo = entry["did"], str(entry["photo"])
        if did == DONE:
            self.pending = self.undoing = None
        elif did == UNDO:
            decision = self.decided.pop(photo)
            self.pending, self.undoing = None, decision if decision.label else None
        else:
            decision = Decision(
                photo=photo,
                name=str(entry["name"]),
                label=str(entry["label"]),
                file=str(entry["file"]),
                is_new=bool(entry["is_new"]),
                said=dict(entry["said"]),
            )
            self.decided[photo] = decision
            self.pending = decision if decision.label else None
