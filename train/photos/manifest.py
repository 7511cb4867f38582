"""The list that training and evaluation work from: photos with label, split and content hash."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from train.errors import UsageError
from train.reading import MAX_PIXELS

Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo: its file in the data folder or an absolute path, class, split, content, group."""

    path: Path
    label: str
    split: str
    sha256: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """Readable photos of a data folder, in a fixed order, and the names of its classes."""

    root: Path
    classes: tuple[str, ...]
    photos: tuple[Photo, ...]
    max_pixels: int = MAX_PIXELS

    def sha256(self) -> str:
        """Hash of every photo's name, label, split, content and group."""
        digest = hashlib.sha256()
        for photo in self.photos:
            line = f"{photo.split}\t{photo.label}\t{photo.path.as_posix()}\t{photo.sha256}\n"
            if photo.group:
                line = f"{photo.group}\t{line}"
            digest.update(os.fsencode(line))  # as UTF-8, also where a name is not
        return digest.hexdigest()

    def split(self, name: str) -> "Manifest":
        """The photos of one split; raises UsageError when there are none."""
        photos = tuple(photo for photo in self.photos if photo.split == name)
        if not photos:
            raise UsageError(f"{self.root} has no readable photos in the split {name}.")
        return self.of(photos)

    def of(self, photos: Iterable[Photo]) -> "Manifest":
        """Some of the photos, or others, with the same classes."""
        return replace(self, photos=tuple(photos))

    def labels(self) -> Labels:
        """(N,) int64: each photo's class as an index into `classes`."""
        index = {label: i for i, label in enumerate(self.classes)}
        return np.array([index[photo.label] for photo in self.photos], np.int64)
