"""Folders of drawn photos, as training and evaluation take them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tests.drawn import encoded, picture
from tests.tiny_model import CLASSES
from train.photos.collection import collect
from train.photos.manifest import Manifest
from train.reading import DataConfig

# Each of these is far from the others; most shapes need no more than two classes.
TWO = ("blue", "red")

# No two pictures of a test run are the same, unless a test copies one.
_seeds = iter(range(1_000_000))


def write_photo(path: Path, colour: str = "red", **options) -> Path:
    """Draw one JPEG; `options` go to tests.drawn.picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(picture(colour, seed=next(_seeds), **options)))
    return path


def write_photos(root: Path, each: int, splits: tuple[str, ...] = ("train", "validation")) -> Path:
    """Draw `each` photos of every colour into SPLIT/COLOUR/."""
    for split in splits:
        for colour in CLASSES:
            for number in range(each):
                write_photo(root / split / colour / f"{number}.jpg", colour)
    return root


def write_many(root: Path, count: int, size_px: tuple[int, int]) -> Path:
    """Draw many photos quickly, no two alike, into ROOT/red and ROOT/blue."""
    grounds = np.random.default_rng(0).integers(0, 256, (count, 6, 8, 3), np.uint8)
    for number, ground in enumerate(grounds):
        file = root / ("red", "blue")[number % 2] / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(Image.fromarray(ground).resize(size_px)))
    return root


def manifest_of(root: Path, *splits: str) -> Manifest:
    """The readable photos of a folder's splits, by default of train and validation."""
    wanted = splits or ("train", "validation")
    return collect(DataConfig(root, cache=root.with_name("cache")), wanted).manifest(wanted)


def photos(folder: Path, count: int, colour: str) -> Path:
    """Draw photos into a folder."""
    for number in range(count):
        write_photo(folder / f"{number}.jpg", colour, width_px=32, height_px=32)
    return folder


def classes(root: Path, count: int, names: tuple[str, ...] = TWO) -> None:
    """Class folders that are called as their colours are."""
    for name in names:
        photos(root / name, count, name)


def in_splits(**counts: int) -> Callable[[Path], object]:
    """A folder for each split, with so many photos a class."""

    def draw(root: Path) -> None:
        for split, count in counts.items():
            classes(root / split, count)

    return draw


def flat(root: Path) -> None:
    classes(root, 10)


def with_flat(add: Callable[[Path], object]) -> Callable[[Path], object]:
    """Ten photos a class without splits, and something else."""

    def draw(root: Path) -> None:
        flat(root)
        add(root)

    return draw
