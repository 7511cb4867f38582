"""A folder of photos in; its files with class and split, and what is passed over, out.

Read are DIR/CLASS/…, DIR/SPLIT/CLASS/… and DIR/CLASS/SPLIT/…; deeper folders belong to their class.
Refused, with the way out: a folder without class folders, and one that lies a level too high.
"""

import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from serving.images.formats import FORMATS
from train.errors import UsageError

# How names of photos usually end; what a file is, its first bytes say.
PHOTO_SUFFIXES = frozenset(suffix for known in FORMATS for suffix in known.suffixes) | {
    ".jpe",
    ".jfif",
}
ARCHIVES = frozenset({".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar"})

SPLITS = ("train", "validation", "test")
_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
}

# What programs leave in folders: __MACOSX, @eaDir, and all that is hidden (.Trash-1000, ._a.jpg).
_LEFT_BY_PROGRAMS = ("__macosx", "@eadir", "thumbs.db", "desktop.ini", "$recycle.bin")
# A folder of photos is often a clone.
_OF_GIT = ".git"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file that may be a photo: its path in the data folder or an absolute one, and its class.

    `split` is empty if the file is in none yet.
    """

    path: Path
    label: str
    split: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class Passed:
    """A file or folder that is passed over; the reason reads well after a number."""

    reason: str
    path: Path


@dataclass(slots=True)
class Listing:
    """The files of a folder or table.

    Attributes:
        splits: the splits that are given, also those without a file.
        classes: (split, label) of every class folder, also those without a file, and the folder.
    """

    entries: list[Entry] = field(default_factory=list)
    passed: list[Passed] = field(default_factory=list)
    splits: set[str] = field(default_factory=set)
    classes: dict[tuple[str, str], Path] = field(default_factory=dict)


def split_named(name: str) -> str | None:
    """The split that a name stands for, in any case; None if it is no usual name of one."""
    return _SPLIT_NAMES.get(name.strip().casefold())


def list_folder(root: Path, others: Sequence[str] = ()) -> Listing:
    """List the files of every class folder.

    `others` are names of splits that are not usual ones, such as `camera2`.

    Raises:
        UsageError: there are no class folders, a class name is not UTF-8, or a folder cannot be
            read.
    """
    listing = Listing()
    folders, files = visible(root, listing.passed)
    in_splits = [f for f in folders if split_named(f.name) or f.name in others]
    if any(_has_folders(folder) for folder in in_splits):
        _list_splits(folders, in_splits, listing)
    elif in_splits and len(in_splits) == len(folders):
        raise UsageError(
            f"{printable(in_splits[0])} has no class folders: put the photos into "
            f"{printable(in_splits[0])}/CLASS/, or give their labels in a table, --table FILE."
        )
    else:
        _refuse_too_high(folders)
        for folder in folders:
            _list_class(folder, "", listing, _lies_in(root))
        _splits_inside_classes(root, listing)
    listing.passed += [Passed("outside class folders", file) for file in files if is_photo(file)]
    if not listing.classes:
        raise UsageError(_without_classes(root, files))
    for entry in listing.entries:
        listing.splits |= {entry.split} - {""}
    listing.entries = [_in(root, entry) for entry in listing.entries]
    return listing


def _in(root: Path, entry: Entry) -> Entry:
    return Entry(entry.path.relative_to(root), entry.label, entry.split, entry.group)


def _list_splits(folders: list[Path], in_splits: list[Path], listing: Listing) -> None:
    listing.passed += [Passed("beside the splits", f) for f in folders if f not in in_splits]
    for folder in in_splits:
        split = split_named(folder.name) or folder.name
        listing.splits.add(split)
        class_folders, files = visible(folder, listing.passed)
        for each in class_folders:
            _list_class(each, split, listing, _lies_in(folder))
        for file in files:
            reason = "outside class folders" if is_photo(file) else ending(file)
            listing.passed.append(Passed(reason, file))


def _list_class(folder: Path, split: str, listing: Listing, above: frozenset[Path]) -> None:
    if printable(folder) != folder.as_posix():  # models and reports store names as UTF-8
        raise UsageError(f"The name of class folder {printable(folder)} is not UTF-8: rename it.")
    label = unicodedata.normalize("NFC", folder.name)
    listing.classes[split, label] = folder
    found = _below(folder, listing.passed, above)
    listing.entries += [Entry(path, label, split) for path in sorted(found)]


def _below(folder: Path, passed: list[Passed], above: frozenset[Path]) -> Iterator[Path]:
    """Every file in the folder and in those below it; links are followed, but not in circles."""
    if folder.resolve() in above:
        passed.append(Passed("circular", folder))
        return
    folders, files = visible(folder, passed)
    yield from files
    for each in folders:
        yield from _below(each, passed, above | _lies_in(folder))


def _lies_in(folder: Path) -> frozenset[Path]:
    """The folder's target, and the folders that it lies in."""
    real = folder.resolve()
    return frozenset((real, *real.parents))


def visible(folder: Path, passed: list[Passed]) -> tuple[list[Path], list[Path]]:
    """The folders and the files in a folder, in order, without what programs left there.

    Raises:
        UsageError: the folder cannot be read.
    """
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise UsageError(
            f"{printable(folder)} cannot be read: {error.strerror}. Mend that, or move the folder "
            "away."
        ) from error
    folders, files = [], []
    for entry in entries:
        path = folder / entry.name
        if is_left_behind(entry.name):
            if not entry.name.startswith(_OF_GIT):
                passed.append(Passed("hidden", path))
        elif path.is_dir() if entry.is_symlink() else entry.is_dir():
            folders.append(path)
        elif path.is_file() if entry.is_symlink() else entry.is_file():
            files.append(path)
        else:  # a link to nowhere, or a pipe, which would never end
            passed.append(Passed("dangling" if entry.is_symlink() else "special", path))
    return folders, files


def is_left_behind(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or is made by programs for themselves."""
    return name.startswith(".") or name.casefold() in _LEFT_BY_PROGRAMS


def is_photo(path: Path) -> bool:
    """Whether the file's name ends as a photo's; the content is not read."""
    return path.suffix.lower() in PHOTO_SUFFIXES


def ending(path: Path) -> str:
    """What a file that is no photo is counted as."""
    return printable(Path(path.suffix.lower())) if path.suffix else "without ending"


def _has_folders(folder: Path) -> bool:
    return bool(visible(folder, [])[0])


def _refuse_too_high(folders: list[Path]) -> None:
    """Raise UsageError if the splits are in one of the folders."""
    for folder in folders:
        inside = visible(folder, [])[0]
        if any(split_named(each.name) and _has_folders(each) for each in inside):
            raise UsageError(
                f"{printable(folder.parent)} has no splits, but {printable(folder)} has: give "
                f"--data {printable(folder)}."
            )


def _splits_inside_classes(root: Path, listing: Listing) -> None:
    """If every file lies in DIR/CLASS/SPLIT/, that is its split."""
    found = [(e, e.path.relative_to(root).parts) for e in listing.entries]
    splits = [split_named(parts[1]) if len(parts) > 2 else None for _, parts in found]
    if found and all(splits):
        listing.entries = [
            Entry(entry.path, entry.label, str(split))
            for (entry, _), split in zip(found, splits, strict=True)
        ]
        listing.classes = {
            (e.split, e.label): listing.classes["", e.label] for e in listing.entries
        }


def _without_classes(root: Path, files: list[Path]) -> str:
    photos = sum(map(is_photo, files))
    archives = [file.name for file in files if file.suffix.lower() in ARCHIVES]
    if archives and not photos:
        return f"{printable(root)} has no photos: unpack {archives[0]}."
    found = f"{photos} photos" if photos else "no photos"
    return (
        f"{printable(root)} has {found} and no class folders: put the photos of each class into "
        f"{printable(root)}/CLASS/, or give their labels in a table, --table FILE."
    )


def advice_for_empty(folder: Path) -> str:
    """What to do about a class folder without a photo, such as one with an archive."""
    files = list(_below(folder, [], frozenset()))
    archives = [file.name for file in files if file.suffix.lower() in ARCHIVES]
    if archives:
        return f"unpack {archives[0]}, or remove the folder"
    endings = ", ".join(sorted({ending(file) for file in files}))
    if endings:
        return f"{endings} files are not read; convert the photos to JPEG, or remove the folder"
    return "put photos into it, or remove the folder"


def printable(path: Path) -> str:
    r"""The path with slashes, and bytes that are not UTF-8 as \xNN.

    Python holds such bytes as surrogates, which cannot be printed or written to a file.
    """
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")
