"""Class folders in, a manifest out: every photo with its label, split and content hash."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from train.errors import UsageError
from train.photos.folders import photo_files, refuse_empty_class_folders

Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo: its file, class, split, and the hash of its content, empty if unreadable."""

    path: Path
    label: str
    split: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Every photo of a data folder, in a fixed order, and the names of its classes."""

    root: Path
    classes: tuple[str, ...]
    photos: tuple[Photo, ...]

    def sha256(self) -> str:
        """Hash of every photo's name, label, split and content."""
        digest = hashlib.sha256()
        for photo in self.photos:
            line = f"{photo.split}\t{photo.label}\t{photo.path.as_posix()}\t{photo.sha256}\n"
            digest.update(os.fsencode(line))  # as UTF-8, also where a name is not
        return digest.hexdigest()

    def split(self, name: str) -> "Manifest":
        """The photos of one split; raises UsageError when there are none."""
        photos = tuple(photo for photo in self.photos if photo.split == name)
        if not photos:
            raise UsageError(f"{self.root / name} has no readable photos in class folders.")
        return Manifest(self.root, self.classes, photos)

    def labels(self) -> Labels:
        """(N,) int64: each photo's class as an index into `classes`."""
        index = {label: i for i, label in enumerate(self.classes)}
        return np.array([index[photo.label] for photo in self.photos], np.int64)


def scan(root: Path, splits: Sequence[str] = ("train", "validation")) -> Manifest:
    """List and hash the photos under ROOT/SPLIT/CLASS/.

    Raises:
        UsageError: a split's folder is missing or has no photos, a class folder of train has none,
            a split has a class that the first split does not have, or a class name is not UTF-8.
    """
    photos: list[Photo] = []
    for split in splits:
        if not (root / split).is_dir():
            raise UsageError(f"{root / split} is missing: photos are read from SPLIT/CLASS/.")
        files = list(photo_files(root / split))
        if not files:
            raise UsageError(f"{root / split} has no photos in class folders.")
        if split == "train":
            refuse_empty_class_folders(root, split)
        with ThreadPoolExecutor() as pool:
            hashes = pool.map(_content_hash, files)
            photos += [
                Photo(file.relative_to(root), file.parent.name, split, sha256)
                for file, sha256 in zip(files, hashes, strict=True)
            ]
    classes = tuple(sorted({photo.label for photo in photos if photo.split == splits[0]}))
    strangers = {photo.label for photo in photos} - set(classes)
    if strangers:
        raise UsageError(
            f"{root} has classes that are not in {splits[0]}: {', '.join(sorted(strangers))}."
        )
    return Manifest(root, classes, tuple(photos))


def _content_hash(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:  # a dangling link or a folder: `find_unreadable` names it
        return ""
