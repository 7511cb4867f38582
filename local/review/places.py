"""A labelled photo in; it is put where the data's layout has its training photos, or taken back.

The layouts are those of train/photos: DIR/CLASS/, DIR/SPLIT/CLASS/, DIR/CLASS/SPLIT/, or a table
with a row for each file. A file is there whole or not at all, and never outside the data folder:
class names that are no plain folder names, and class folders that are links out, are refused.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePosixPath

from local.errors import ReviewError
from local.review.log import Decision
from train.files import write_bytes
from train.photos.folders import Listing, is_left_behind, list_folder, split_named
from train.photos.tables import list_table, table_format

_MAX_NAME_BYTES = 120
_FORBIDDEN = frozenset('/\\:*?"<>|')  # what some file system cannot have in a name
_TEMPORARY = "[a-z0-9_]{8}"  # what tempfile.mkstemp adds to a prefix


class Places:
    """A data folder's classes, and where a new training photo of each goes.

    Raises:
        UsageError: the folder or the table cannot be read.
        ReviewError: it has splits, but none to train on.
    """

    def __init__(self, root: Path, table: Path | None = None) -> None:
        self._root = root
        self._table = table_format(root, table) if table else None
        listing = list_table(root, table) if table else list_folder(root)
        self._folders: dict[str, PurePosixPath] = {}
        if table:
            home = _usual_folder(listing)
            self._folders = {entry.label: home for entry in listing.entries}
            self._parts: tuple[str, ...] = (*home.parts,)
        else:
            self._read_layout(listing)
        self._given = frozenset(self._folders)

    def _read_layout(self, listing: Listing) -> None:
        """Find each class's folder; `_parts` is where that of a new class is, "" being its name."""
        below = {
            key: PurePosixPath(folder.relative_to(self._root).as_posix())
            for key, folder in listing.classes.items()
        }
        if not listing.splits:
            self._folders = {label: folder for (_, label), folder in below.items()}
            self._parts = ("",)
            return
        if "train" not in listing.splits:
            raise ReviewError(
                f"{self._root} has splits, but none to train on: make the folder train."
            )
        if all(len(folder.parts) == 1 for folder in below.values()):
            self._read_splits_inside_classes(listing)
            return
        train = {label: folder for (split, label), folder in below.items() if split == "train"}
        home = next((f.parts[0] for f in train.values()), "train")
        others = {label: PurePosixPath(home, folder.name) for (_, label), folder in below.items()}
        self._folders = others | train
        self._parts = (home, "")

    def _read_splits_inside_classes(self, listing: Listing) -> None:
        named = {
            entry.label: entry.path.parts[:2] for entry in listing.entries if entry.split == "train"
        }
        home = next(iter(named.values()))[1]
        folders = {label: folder.name for (_, label), folder in listing.classes.items()}
        self._folders = {
            label: PurePosixPath(*named.get(label, (name, home))) for label, name in folders.items()
        }
        self._parts = ("", home)

    @property
    def classes(self) -> list[str]:
        """The classes that the data has, in order."""
        return sorted(self._folders)

    def class_named(self, text: str) -> str:
        """The class that a person's words name, an old one or a new one.

        Raises:
            ReviewError: no folder can have this name, or it would not be read as a class.
        """
        name = unicodedata.normalize("NFC", text.strip())
        if name in self._folders:
            return name
        if problem := _problem(name):
            raise ReviewError(f"A class cannot be called {name[:40]!r}: {problem}")
        for known in self._folders:
            if known.casefold() == name.casefold():
                raise ReviewError(f"There is a class {known!r} already. Choose that one.")
        return name

    def file_for(self, label: str, name: str) -> str:
        """Where a photo of this name and class goes, relative to the data folder.

        Raises:
            ReviewError: that is outside the data folder, or something else is there.
        """
        new = PurePosixPath(*(part or label for part in self._parts))
        file = str(self._folders.get(label, new) / name)
        if self._at(file).exists():
            raise ReviewError(f"{file} is in the data already. Move it away first.")
        return file

    def is_new(self, label: str, file: str) -> bool:
        """Whether a class, or its folder, would be made for this file."""
        if self._table is not None:
            return label not in self._folders
        return not self._at(file).parent.exists()

    def put(self, decision: Decision, read: Callable[[], bytes]) -> None:
        """Put a photo, and its row, where they are not yet.

        Raises:
            TrainError: a file cannot be written; nothing is there then.
        """
        path = self._at(decision.file)
        _clean(path)
        if not path.is_file():
            write_bytes(path, read())
        self._change_row(decision, is_wanted=True)
        if self._folders.get(decision.label) is None:
            self._folders[decision.label] = PurePosixPath(decision.file).parent

    def remove(self, decision: Decision) -> None:
        """Take a photo and its row away again, and the folder of a class that was new with it."""
        path = self._at(decision.file)
        _clean(path)
        self._change_row(decision, is_wanted=False)
        path.unlink(missing_ok=True)
        if not decision.is_new:
            return
        if decision.label not in self._given:
            self._folders.pop(decision.label, None)
        if self._table is None:
            with suppress(OSError):  # someone put another photo there
                for folder in path.parents[: len(self._parts) - self._parts.index("")]:
                    folder.rmdir()

    def _change_row(self, decision: Decision, *, is_wanted: bool) -> None:
        """Add a photo's row to the table, or remove it; the table is written as a whole."""
        if self._table is None:
            return
        file = self._table.file.resolve()
        _clean(file)
        row = self._table.row(decision.file, decision.label)
        lines = file.read_bytes().splitlines(keepends=True)
        others = [line for line in lines if line.rstrip(b"\r\n") != row.rstrip(b"\r\n")]
        if (len(others) < len(lines)) == is_wanted:
            return
        if is_wanted:
            if not others[-1].endswith((b"\n", b"\r")):
                others.append(self._table.line_end.encode())
            others.append(row)
        write_bytes(file, b"".join(others))

    def _at(self, file: str) -> Path:
        """A path in the data folder; raises ReviewError if it would be outside."""
        path = self._root.joinpath(*PurePosixPath(file).parts)
        if not file or not path.resolve().is_relative_to(self._root.resolve()):
            raise ReviewError(
                f"{file} is outside {self._root}: a class folder may not be a link out of it."
            )
        above = next(folder for folder in path.parents if folder.exists() or folder == self._root)
        if not above.is_dir():
            raise ReviewError(f"{above} is a file, so no photo can be put there.")
        return path


def _usual_folder(listing: Listing) -> PurePosixPath:
    """The folder in the data that most training photos of a table are in."""
    trained = [entry for entry in listing.entries if entry.split in ("", "train")]
    inside = [entry.path for entry in trained or listing.entries if not entry.path.is_absolute()]
    counts = Counter(path.parent.as_posix() for path in inside)
    return PurePosixPath(counts.most_common(1)[0][0] if counts else ".")


def _problem(name: str) -> str:
    """Why no class can have this name; empty if one can."""
    if not name:
        return "the name is empty."
    if _FORBIDDEN & set(name) or not name.isprintable():
        return "the name has a character that folders cannot have."
    if is_left_behind(name) or name.endswith("."):
        return "folders of such a name are not read as classes."
    if split_named(name):
        return "that is the name of a split."
    if len(name.encode(errors="replace")) > _MAX_NAME_BYTES:
        return f"the name is longer than {_MAX_NAME_BYTES} bytes."
    return ""


def _clean(path: Path) -> None:
    """Remove what a killed process left of writing this file."""
    ours = re.compile(re.escape(f".{path.name}.") + _TEMPORARY)
    with suppress(OSError):
        for each in path.parent.iterdir():
            if ours.fullmatch(each.name):
                each.unlink()
