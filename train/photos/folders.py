"""The folder of a split in, its class folders out, and the photos that lie in each.

A class folder without a photo is refused where the classes to learn are read from it, unless a
program left it behind: nobody meant that as a class.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from serving.images.formats import FORMATS
from train.errors import UsageError

# Files with these endings are photos; everything else in a class folder is passed over.
PHOTO_SUFFIXES = frozenset(suffix for known in FORMATS for suffix in known.suffixes)

# How the names of folders begin that programs make: .ipynb_checkpoints, __MACOSX, @eaDir.
_LEFT_BEHIND = (".", "__", "@")


def is_photo(path: Path) -> bool:
    """Whether the name is a photo's; what the file holds is another matter."""
    return path.suffix.lower() in PHOTO_SUFFIXES


def photo_files(split: Path) -> Iterator[Path]:
    """The photos in the class folders of a split, in order.

    Raises:
        UsageError: a class folder has a name that is not UTF-8.
    """
    for folder in _class_folders(split):
        if printable(folder) != folder.as_posix():  # models and reports hold it as UTF-8
            raise UsageError(f"The class folder {printable(folder)} is not UTF-8: rename it.")
        yield from _photos_in(folder)


def empty_class_folders(root: Path, splits: Iterable[str]) -> list[Path]:
    """ROOT/SPLIT/CLASS without a photo, in order; not those that programs left behind."""
    return [
        folder
        for split in sorted(splits)
        for folder in _class_folders(root / split)
        if not folder.name.startswith(_LEFT_BEHIND) and not _photos_in(folder)
    ]


def refuse_empty_class_folders(root: Path, split: str) -> None:
    """Raises UsageError for a class that would be left out of a model without a word."""
    empty = empty_class_folders(root, [split])
    if empty:
        names = ", ".join(map(printable, empty))
        have = "has" if len(empty) == 1 else "have"
        raise UsageError(f"{names} {have} no photo: {advice_for_empty(empty)}.")


def advice_for_empty(folders: Sequence[Path]) -> str:
    """What to do about class folders without a photo, such as those of a phone's HEIC files."""
    files = (path for folder in folders for path in folder.iterdir() if path.is_file())
    found = ", ".join(
        sorted({printable(Path(path.suffix.lower())) for path in files if path.suffix})
    )
    remove = "remove the folder" if len(folders) == 1 else "remove the folders"
    if found:
        return f"{found} is not read; convert the photos to JPEG, or {remove}"
    return f"put photos right into it, or {remove}"


def _class_folders(split: Path) -> list[Path]:
    return sorted(path for path in split.glob("*") if path.is_dir())  # none where there is no split


def _photos_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if is_photo(path))


def printable(path: Path) -> str:
    r"""The path with slashes; what of it is not UTF-8 as \xNN.

    Python holds such bytes as surrogates, which no file or terminal takes.
    """
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")
