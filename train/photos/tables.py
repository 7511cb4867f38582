"""A CSV or TSV file in; the files that it names, with class, split and group, out.

The first line names the columns: path and label, and if there are any, split and group. Refused by
line: a file with two labels, and a split of no usual name.
"""

import csv
import io
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from train.errors import UsageError
from train.photos.folders import PHOTO_SUFFIXES, Entry, Listing, Passed, printable, split_named

# Names of columns that people use, in lower case with _ between words.
_COLUMNS = {
    "path": (
        *("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path"),
        *("image_name", "image_id", "img", "photo", "id"),
    ),
    "label": ("label", "labels", "class", "class_name", "class_label", "category", "target"),
    "split": ("split", "set", "subset", "partition", "dataset"),
    "group": (
        *("group", "group_id", "patient", "patient_id", "person", "person_id", "subject"),
        *("subject_id", "product", "product_id"),
    ),
}
_EXPECTED = "path, label and, if you like, split and group"


@dataclass(frozen=True, slots=True)
class _Row:
    number: int  # of the line
    path: str
    label: str
    split: str
    group: str


@dataclass(frozen=True, slots=True)
class TableFormat:
    """How a table writes its rows; `places` are those of path, label, split and group, or -1."""

    file: Path
    separator: str
    line_end: str
    columns: int
    places: tuple[int, ...]
    train: str  # how this table spells the split, empty if it gives none

    def row(self, path: str, label: str) -> bytes:
        """A line for one more training photo; `path` is relative to the data folder."""
        cells = [""] * self.columns
        for place, text in zip(self.places, (path, label, self.train, ""), strict=True):
            if place >= 0:
                cells[place] = text
        line = io.StringIO(newline="")
        csv.writer(line, delimiter=self.separator, lineterminator=self.line_end).writerow(cells)
        return line.getvalue().encode()


def table_format(root: Path, table: Path) -> TableFormat:
    """How a table writes its rows.

    Raises:
        UsageError: the table cannot be read, or lacks a column.
    """
    file = _found(root, table)
    splits = {row.split for row in _rows(file) if row.split}
    spelled = sorted(split for split in splits if split_named(split) == "train")
    with file.open(encoding="utf-8-sig", newline="") as opened:
        first = opened.readline()
    separator = _separator(first)
    header = next(csv.reader([first], delimiter=separator), [])
    return TableFormat(
        file=file,
        separator=separator,
        line_end="\r\n" if first.endswith("\r\n") else "\n",
        columns=len(header),
        places=tuple(_columns(header, table)),
        train=next(iter(spelled), "train") if splits else "",
    )


def list_table(root: Path, table: Path) -> Listing:
    """List the files of every row.

    A path is looked for in the data folder, then beside the table; its ending may be missing.

    Raises:
        UsageError: the table cannot be read or lacks a column, a row contradicts another or has
            an unknown split, or no row has its file.
    """
    listing, labels = Listing(), dict[Path, _Row]()
    first_missing = ""
    for row in _rows(_found(root, table)):
        path = _file_of(row.path, (root, _found(root, table).parent)) if row.path else None
        if path is None or not row.label:
            listing.passed.append(
                Passed("without a label" if path else "without a file", Path(row.path))
            )
            first_missing = first_missing or ("" if path else row.path)
            continue
        before = labels.setdefault(path, row)
        if before.label != row.label:
            raise UsageError(
                f"{table}: {row.path} has two labels, {before.label} in line {before.number} and "
                f"{row.label} in line {row.number}: keep the right one."
            )
        if before is row:
            split = _split_of(row, table)
            listing.entries.append(Entry(_inside(root, path), row.label, split, row.group))
    if not listing.entries:
        raise UsageError(_nothing_found(root, table, first_missing))
    listing.splits = {entry.split for entry in listing.entries} - {""}
    listing.classes = {(entry.split, entry.label): root for entry in listing.entries}
    return listing


def _found(root: Path, table: Path) -> Path:
    """The table itself, or the one of its name in the data folder."""
    inside = root / table.name
    return inside if not table.exists() and inside.is_file() else table


def _rows(table: Path) -> Iterator[_Row]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            lines = csv.reader(file, delimiter=_separator(first))
            columns = _columns(next(lines, []), table)
            for cells in lines:
                if any(cells):
                    yield _Row(lines.line_num, *(_cell(cells, at) for at in columns))
    except OSError as error:
        raise UsageError(f"--table {table} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"--table {table} is not text in UTF-8: save it as CSV in UTF-8."
        ) from error
    except csv.Error as error:
        raise UsageError(f"--table {table} is no CSV or TSV file: {error}.") from error


def _separator(first: str) -> str:
    """What separates the columns, by the table's first line."""
    return max("\t,;", key=first.count)


def _columns(header: list[str], table: Path) -> list[int]:
    """The positions of path, label, split and group; -1 for a column that is not there."""
    names = [cell.strip().casefold().replace(" ", "_").replace("-", "_") for cell in header]
    places = []
    for column, known in _COLUMNS.items():
        fitting = [names.index(name) for name in known if name in names]
        if not fitting and column in ("path", "label"):
            raise UsageError(
                f"--table {table} has no column {column}; its first line is "
                f"{','.join(header) or 'empty'}. The first line names the columns: {_EXPECTED}."
            )
        places.append(fitting[0] if fitting else -1)
    return places


def _cell(cells: list[str], at: int) -> str:
    text = cells[at].strip() if 0 <= at < len(cells) else ""
    return unicodedata.normalize("NFC", text)


def _split_of(row: _Row, table: Path) -> str:
    split = split_named(row.split) if row.split else ""
    if split is None:
        raise UsageError(
            f"{table}: line {row.number} has the split {row.split}: use train, validation or test."
        )
    return split


def _file_of(name: str, folders: tuple[Path, ...]) -> Path | None:
    """The file that a path names, whatever the form of its accents, slashes and ending."""
    forms = dict.fromkeys((name, unicodedata.normalize("NFD", name), name.replace("\\", "/")))
    endings = ("", *sorted(PHOTO_SUFFIXES))
    places = (folder / (form + end) for form, folder, end in product(forms, folders, endings))
    return next((file for file in places if file.is_file()), None)


def _inside(root: Path, path: Path) -> Path:
    """The path in the data folder, or an absolute one."""
    return path.relative_to(root) if path.is_relative_to(root) else path.absolute()


def _nothing_found(root: Path, table: Path, first: str) -> str:
    if not first:
        return f"--table {table} has no rows with a path and a label."
    return (
        f"--table {table}: no row has its file; the first, {first}, would be "
        f"{printable(root / first)}. Paths are relative to --data, or absolute."
    )
