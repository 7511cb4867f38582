"""A SQLite file that several processes use at once: its tables, and transactions."""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from train.errors import TrainError, UsageError
from train.files import reason, require_writable

# Another process holds the lock while it writes.
_WAIT_S = 60.0


class Database:
    """An open database of the cache; for one thread."""

    def __init__(self, file: Path, tables: str, form: int) -> None:
        """Open the file, or create it; one of another form is emptied.

        Raises:
            UsageError: it cannot be used.
        """
        self._file = file
        try:
            self._connection = self._opened()
            if self._form != form:
                self._set_up(tables, form)
        except sqlite3.OperationalError as error:
            require_writable(file.parent, "--cache")
            raise UsageError(f"--cache {file.parent} cannot be used: {error}.") from error
        except sqlite3.DatabaseError as error:
            raise UsageError(
                f"{file} is damaged ({error}): delete the folder; all of it can be made again."
            ) from error

    def _opened(self) -> sqlite3.Connection:
        with suppress(OSError):  # SQLite says what is wrong
            self._file.parent.mkdir(parents=True, exist_ok=True)
        is_fixed = self._file.is_file() and not os.access(self._file, os.W_OK)
        place = f"{self._file.absolute().as_uri()}?mode={'ro' if is_fixed else 'rwc'}"
        return sqlite3.connect(place, timeout=_WAIT_S, isolation_level=None, uri=True)

    @property
    def _form(self) -> int:
        return int(self.ask("PRAGMA user_version")[0][0])

    def _set_up(self, tables: str, form: int) -> None:
        with self.writing():
            if self._form == form:
                return  # another process was faster
            for (name,) in self.ask("SELECT name FROM sqlite_master WHERE type = 'table'"):
                self.do(f"DROP TABLE {name}")
            for statement in tables.split(";"):
                self.do(statement)
            self.do(f"PRAGMA user_version = {form}")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def do(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Carry out one statement."""
        return self._connection.execute(statement, values)

    def do_each(self, statement: str, values: Iterable[Sequence[Any]]) -> None:
        """Carry out one statement with each of the values."""
        self._connection.executemany(statement, values)

    def ask(self, question: str, values: Sequence[Any] = ()) -> list[Any]:
        """Every row of an answer."""
        return self.do(question, values).fetchall()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A transaction: all that is written in it is kept, or nothing. No other process writes.

        Raises:
            TrainError: the disk is full, or the folder is not writable.
        """
        try:
            self.do("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self.do("ROLLBACK")
                raise
            self.do("COMMIT")
        except (sqlite3.OperationalError, OSError) as error:
            raise TrainError(
                f"The cache {self._file.parent} could not be written: {reason(error)}. Make room "
                "there, or give another --cache."
            ) from error

    @contextmanager
    def reading(self) -> Iterator[None]:
        """One lock for many questions instead of one each; no other process writes meanwhile."""
        self.do("BEGIN")
        try:
            yield
        finally:
            self.do("COMMIT")
