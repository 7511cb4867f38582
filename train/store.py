"""What is known of photos and what was made of them, in one folder that several runs may share.

`photos.sqlite` has the hash of each file's content by path, size and time of change; the facts of
each content; and where the rows made of it lie, such as its pixels or its features. Rows are in
shards, files that are written whole, inside a transaction of the database, and never changed.
Whoever writes holds the database's lock, so a shard that the database does not know was left by a
run that was killed, and the next one removes it.
"""

import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.database import Database
from train.errors import TrainError
from train.files import require_room

# The form of the tables: a database of another form is replaced.
_FORM = 1
_TABLES = """
CREATE TABLE files (path BLOB PRIMARY KEY, bytes INTEGER, changed_ns INTEGER, sha256 BLOB)
    WITHOUT ROWID;
CREATE TABLE facts (sha256 BLOB, rules TEXT, fault TEXT, file_format TEXT, width_px INTEGER,
    height_px INTEGER, turned INTEGER, low REAL, high REAL, thumbnail BLOB,
    PRIMARY KEY (sha256, rules)) WITHOUT ROWID;
CREATE TABLE shards (shard INTEGER PRIMARY KEY, kind TEXT, name TEXT, rows INTEGER, bytes INTEGER,
    used_at REAL);
CREATE TABLE rows (sha256 BLOB, kind TEXT, shard INTEGER, row INTEGER,
    PRIMARY KEY (sha256, kind)) WITHOUT ROWID;
CREATE INDEX rows_of_shard ON rows (shard);
CREATE TABLE settings (name TEXT PRIMARY KEY, value REAL) WITHOUT ROWID;
"""
# The columns of facts, in the order of the fields of `Facts`.
_FACTS = "fault, file_format, width_px, height_px, turned, low, high, thumbnail"
_NO_FILES = "WHERE sha256 NOT IN (SELECT sha256 FROM files)"
_DATABASE, _SHARDS = "photos.sqlite", "shards"

# Shards that were used since this process began are not evicted: it may read them.
_STARTED = time.time()

# What older versions wrote.
_OLD = re.compile(
    r"\.?(pixels-\d+x\d+|features)-[0-9a-f]{32}\.npy.*|\.?contents-[0-9a-f]{16}\.json.*"
)

Place = tuple[int, int]
"""The number of a shard, and a row of it."""

Files = dict[int, Path]
"""The file of each shard."""


class Store(Database):
    """The cache folder, open; for one thread, with `contextlib.closing`."""

    def __init__(self, folder: Path) -> None:
        """Raises UsageError if the folder or its database cannot be used."""
        self.folder = folder
        super().__init__(folder / _DATABASE, _TABLES, _FORM)

    # Files and their facts.

    def file(self, path: bytes, rules: str) -> tuple[Any, ...] | None:
        """The size, the time of change, the hash and the facts of a known file.

        The first of the facts is None if they are not known.
        """
        asked = f"SELECT bytes, changed_ns, files.sha256, {_FACTS} FROM files LEFT JOIN facts "  # noqa: S608
        found = self.ask(
            asked + "ON facts.sha256 = files.sha256 AND rules = ? WHERE path = ?", (rules, path)
        )
        return found[0] if found else None

    def put_files(self, files: Iterable[tuple[bytes, int, int, bytes]]) -> None:
        """Remember path, size, time of change and hash of files."""
        self.do_each("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", files)

    def facts(self, sha256: bytes, rules: str) -> tuple[Any, ...] | None:
        """The facts of a content."""
        asked = f"SELECT {_FACTS} FROM facts WHERE sha256 = ? AND rules = ?"  # noqa: S608
        found = self.ask(asked, (sha256, rules))
        return found[0] if found else None

    def put_facts(self, facts: Iterable[tuple[Any, ...]]) -> None:
        """Remember hash, rules and facts of contents."""
        self.do_each("INSERT OR IGNORE INTO facts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", facts)

    def hashes(self, table: str, column: str, value: str) -> set[bytes]:
        """The contents that have facts by some rules, or a row of some kind."""
        asked = f"SELECT sha256 FROM {table} WHERE {column} = ?"  # noqa: S608 - our words
        return {sha256 for (sha256,) in self.do(asked, (value,))}

    def forget(self, root: bytes, there: set[bytes]) -> None:
        """Forget the files that are gone, and contents that no file has any more.

        A shard of which less than half is left is written again without the rest.

        Args:
            root: the folder that the files are searched in, with a slash at its end.
            there: those that are known to be there.
        """
        below = "SELECT path FROM files WHERE path > ? AND path < ?"
        known = self.do(below, (root, root[:-1] + bytes([root[-1] + 1])))
        gone = [path for (path,) in known if path not in there and not os.path.lexists(path)]
        if not gone and not self.ask(f"SELECT 1 FROM facts {_NO_FILES} LIMIT 1"):  # noqa: S608
            return
        with self.writing():
            self.do_each("DELETE FROM files WHERE path = ?", zip(gone, strict=True))
            self.do(f"DELETE FROM facts {_NO_FILES}")  # noqa: S608
            self.do(f"DELETE FROM rows {_NO_FILES}")  # noqa: S608
            self._shrink_shards()

    # Rows in shards.

    def place(self, kind: str, sha256: bytes) -> Place | None:
        """Where the row of a content is, if it is there."""
        asked = "SELECT shard, row FROM rows WHERE sha256 = ? AND kind = ?"
        found: Place | None = self.do(asked, (sha256, kind)).fetchone()
        return found

    def places(self, kind: str, hashes: Sequence[bytes]) -> tuple[list[Place | None], Files]:
        """Where the row of each content is, None if there is none; and the file of each shard."""
        files, lost = dict[int, Path](), set[int]()
        with self.reading():
            found = [self.place(kind, sha256) for sha256 in hashes]
            for shard in {place[0] for place in found if place}:
                name, size = self.ask("SELECT name, bytes FROM shards WHERE shard = ?", (shard,))[0]
                files[shard] = self.folder / _SHARDS / kind / name
                if not _is_whole(files[shard], size):
                    lost.add(shard)
        if lost:
            with self.writing():
                self._drop(lost)
        self.use(set(files))
        return [place if place and place[0] not in lost else None for place in found], files

    def use(self, shards: set[int]) -> None:
        """Note that shards are used now: others are evicted first."""
        if not shards:
            return
        with suppress(TrainError), self.writing():  # of a folder that is not writable, too
            used = [(time.time(), shard) for shard in shards]
            self.do_each("UPDATE shards SET used_at = ? WHERE shard = ?", used)

    def row_bytes(self, kind: str) -> int:
        """What a row of a kind takes; 0 if there is none."""
        found = self.ask("SELECT bytes / rows FROM shards WHERE kind = ? LIMIT 1", (kind,))
        return int(found[0][0]) if found else 0

    def put_rows(self, kind: str, hashes: Sequence[bytes], rows: NDArray[Any]) -> None:
        """Write a shard with the rows (N, …) of N contents; those that are there are left out.

        A content that comes twice, since a folder may have copies, is written once.
        """
        first = {sha256: n for n, sha256 in reversed(list(enumerate(hashes)))}
        fresh = sorted(n for sha256, n in first.items() if self.place(kind, sha256) is None)
        if not fresh:
            return
        written = [hashes[n] for n in fresh]
        name = hashlib.sha256(b"".join(written)).hexdigest()[:32]
        content = np.ascontiguousarray(rows if len(fresh) == len(rows) else rows[fresh])
        folder = self.folder / _SHARDS / kind
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f"{name}.part"
        try:
            with part.open("wb") as file:
                file.write(content.data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(folder / name)
        finally:
            part.unlink(missing_ok=True)
        shard = self.do(
            "INSERT INTO shards VALUES (NULL, ?, ?, ?, ?, ?)",
            (kind, name, len(fresh), content.nbytes, time.time()),
        ).lastrowid
        self.do_each(
            "INSERT INTO rows VALUES (?, ?, ?, ?)",
            [(sha256, kind, shard, row) for row, sha256 in enumerate(written)],
        )

    def _drop(self, shards: Iterable[int]) -> None:
        for shard in shards:
            # Another run may have removed it meanwhile.
            for kind, name in self.ask("SELECT kind, name FROM shards WHERE shard = ?", (shard,)):
                self.do("DELETE FROM rows WHERE shard = ?", (shard,))
                self.do("DELETE FROM shards WHERE shard = ?", (shard,))
                (self.folder / _SHARDS / kind / name).unlink(missing_ok=True)

    def _shrink_shards(self) -> None:
        asked = (
            "SELECT shard, shards.kind, name, shards.rows, bytes FROM shards LEFT JOIN rows "
            "USING (shard) GROUP BY shard HAVING 2 * COUNT(rows.row) < shards.rows"
        )
        for shard, kind, name, rows, size in self.ask(asked):
            left = self.ask("SELECT sha256, row FROM rows WHERE shard = ? ORDER BY row", (shard,))
            file = self.folder / _SHARDS / kind / name
            is_kept = left and _is_whole(file, size)
            content = np.fromfile(file, np.uint8).reshape(rows, -1) if is_kept else None
            self._drop([shard])
            if content is not None:
                self.put_rows(kind, [each[0] for each in left], content[[each[1] for each in left]])

    # Bytes on the disk.

    @property
    def limit_bytes(self) -> int:
        """What all shards may take together: as was set, or half of the disk's free space.

        What they take now counts as free.
        """
        given = self.ask("SELECT value FROM settings WHERE name = 'limit_bytes'")
        if given:
            return int(given[0][0])
        return (shutil.disk_usage(self.folder).free + self._taken_bytes) // 2

    def set_limit(self, limit_bytes: float) -> None:
        """Set what all shards may take together, for all runs to come; remove what is above."""
        with self.writing():
            setting = ("limit_bytes", limit_bytes)
            self.do("INSERT OR REPLACE INTO settings VALUES (?, ?)", setting)
        self.make_room(0)

    @property
    def _taken_bytes(self) -> int:
        return int(self.ask("SELECT TOTAL(bytes) FROM shards")[0][0])

    def make_room(self, needed_bytes: int) -> bool:
        """Whether so many bytes may be added; if need be, the least used shards are removed.

        Raises:
            UsageError: the limit allows it, but the disk has not the room.
        """
        with self.writing():
            over = self._taken_bytes + needed_bytes - self.limit_bytes
            asked = "SELECT shard, bytes FROM shards WHERE used_at < ? ORDER BY used_at, shard"
            going = []
            for shard, size in self.ask(asked, (_STARTED,)):
                if over > 0:
                    going.append(shard)
                    over -= size
            if over > 0:
                return False
            self._drop(going)
        require_room(self.folder, needed_bytes)
        return True

    def sweep(self) -> None:
        """Remove what killed runs left, and the files of older versions."""
        if self._left():
            with self.writing():  # nobody is writing now
                for file in self._left():
                    file.unlink(missing_ok=True)

    def _left(self) -> list[Path]:
        known = {(kind, name) for kind, name in self.ask("SELECT kind, name FROM shards")}
        shards = (self.folder / _SHARDS).glob("*/*")
        old = (each for each in self.folder.iterdir() if _OLD.fullmatch(each.name))
        return [*(each for each in shards if (each.parent.name, each.name) not in known), *old]


def _is_whole(shard: Path, size: int) -> bool:
    """Whether nobody has deleted or cut a shard's file."""
    return shard.is_file() and shard.stat().st_size == size
