"""The folder of a split in, its class folders and their photos out.

A class folder of train without photos is refused, unless a program made it (.ipynb_checkpoints).
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from serving.images.formats import FORMATS
from train.errors import UsageError

# Files with these endings are photos; everything else in a class folder is ignored.
PHOTO_SUFFIXES = frozenset(suffix for known in FORMATS for suffix in known.suffixes)

# Names of folders that programs make start so: .ipynb_checkpoints, __MACOSX, @eaDir.
_MADE_BY_PROGRAMS = (".", "__", "@")


def is_photo(path: Path) -> bool:
    """Whether the file's name ends as a photo's; the content is not read."""
    return path.suffix.lower() in PHOTO_SUFFIXES


def photo_files(split: Path) -> Iterator[Path]:
    """The photos in the class folders of a split, in order.

    Raises:
        UsageError: a class folder has a name that is not UTF-8.
    """
    for folder in _class_folders(split):
        if printable(folder) != folder.as_posix():  # models and reports store names as UTF-8
            raise UsageError(
                f"The name of class folder {printable(folder)} is not UTF-8: rename it."
            )
        yield from _photos_in(folder)


def empty_class_folders(root: Path, splits: Iterable[str]) -> list[Path]:
    """ROOT/SPLIT/CLASS without a photo, in order, except folders that programs make."""
    return [
        folder
        for split in sorted(splits)
        for folder in _class_folders(root / split)
        if not folder.name.startswith(_MADE_BY_PROGRAMS) and not _photos_in(folder)
    ]


def refuse_empty_class_folders(root: Path, split: str) -> None:
    """Raise UsageError for a class folder without photos, which the model would silently lack."""
    empty = empty_class_folders(root, [split])
    if empty:
        names = ", ".join(map(printable, empty))
        have = "has" if len(empty) == 1 else "have"
        raise UsageError(f"{names} {have} no photos: {advice_for_empty(empty)}.")


def advice_for_empty(folders: Sequence[Path]) -> str:
    """What to do about class folders without a photo, such as one of a camera's raw files."""
    files = (path for folder in folders for path in folder.iterdir() if path.is_file())
    found = ", ".join(
        sorted({printable(Path(path.suffix.lower())) for path in files if path.suffix})
    )
    remove = "remove the folder" if len(folders) == 1 else "remove the folders"
    if found:
        return f"{found} files are not read; convert the photos to JPEG, or {remove}"
    return f"put photos directly into it, or {remove}"


def _class_folders(split: Path) -> list[Path]:
    return sorted(path for path in split.glob("*") if path.is_dir())  # none where there is no split


def _photos_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if is_photo(path))


def printable(path: Path) -> str:
    r"""The path with slashes, and bytes that are not UTF-8 as \xNN.

    Python holds such bytes as surrogates, which cannot be printed or written to a file.
    """
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")
