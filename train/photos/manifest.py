"""Class folders in; a manifest of photos, and their decoded pixels, out.

The manifest names every photo with its label, split and content hash. Pixels are decoded once, by
serving's own code, and kept in a cache whose key holds everything they depend on. Photos that
cannot be read are named and left out, or stop the work where that was asked for.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from serving.errors import RequestError
from serving.images import decode as image
from serving.model.preprocess import PreprocessSpec, resize
from serving.settings import Settings
from train.config import DataConfig
from train.errors import TrainError, UsageError
from train.files import read_json, require_writable, reserve, write_json
from train.photos.file_names import shown
from train.photos.folders import photo_files, refuse_empty_class_folders

MAX_PIXELS = Settings().image_max_pixels

# Part of every cache key: raise it when decoding or resizing changes what it yields.
CACHE_VERSION = 4

Item = TypeVar("Item")
Result = TypeVar("Result")
Labels = NDArray[np.int64]
Pixels = NDArray[np.uint8]


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
            raise UsageError(f"{self.root / name} has no photos in class folders that can be read.")
        return Manifest(self.root, self.classes, photos)

    def labels(self) -> Labels:
        """(N,) int64: each photo's class as an index into `classes`."""
        index = {label: i for i, label in enumerate(self.classes)}
        return np.array([index[photo.label] for photo in self.photos], np.int64)


def scan(root: Path, splits: Sequence[str] = ("train", "validation")) -> Manifest:
    """List and hash the photos under ROOT/SPLIT/CLASS/.

    Raises:
        UsageError: a split's folder is missing or holds no photos, a class folder of train holds
            none, another split has a class that the first has not, or a class has a name that is
            not UTF-8.
    """
    photos: list[Photo] = []
    for split in splits:
        if not (root / split).is_dir():
            raise UsageError(f"{root / split} is missing: photos are looked for in SPLIT/CLASS/.")
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
    except OSError:  # a dangling link, a folder: `find_unreadable` names it
        return ""


def hold_out(manifest: Manifest, share: float, seed: int) -> tuple[Manifest, Manifest]:
    """Split photos in two by drawing `share` of each class: (what stays, what is held out).

    Copies of a photo, in whatever class, stay together: what was trained on is never measured on.
    A class has less than its share held out where only copies that exceed it are left; UsageError
    where no photo is held out at all.
    """
    labels = manifest.labels()
    random = np.random.default_rng(seed)
    copies: dict[str, list[int]] = {}  # content -> the photos that have it
    for index, photo in enumerate(manifest.photos):
        copies.setdefault(photo.sha256, []).append(index)
    count = len(manifest.classes)
    wanted = np.array([round(n * share) for n in np.bincount(labels, minlength=count).tolist()])
    held = np.zeros(len(labels), bool)
    drawn = np.zeros(count, int)  # of each class
    for label in range(count):
        for index in random.permutation(np.flatnonzero(labels == label)).tolist():
            group = copies[manifest.photos[index].sha256]
            after = drawn + np.bincount(labels[group], minlength=count)
            if not held[index] and (after <= wanted).all():
                held[group], drawn = True, after
    if not held.any():
        raise UsageError(f"--holdout {share:g} holds out no photo: the classes are too small.")

    def part(mask: NDArray[np.bool_]) -> Manifest:
        chosen = tuple(p for p, kept in zip(manifest.photos, mask, strict=True) if kept)
        return Manifest(manifest.root, manifest.classes, chosen)

    return part(~held), part(held)


def divide(config: DataConfig) -> tuple[Manifest, Manifest, Manifest | None]:
    """All readable photos; those to train on; those to compare on, None for `nothing`.

    The validation split is read only where it is chosen on.

    Raises:
        UsageError: the folder cannot be trained on, has fewer than two classes, holds an unreadable
            photo under `strict`, or leaves a class without a photo to train on.
    """
    splits = ("train", "validation") if config.choose_on == "validation" else ("train",)
    scanned = scan(config.data, splits)
    if len(scanned.classes) < 2:
        raise UsageError(f"{config.data}/train has one class folder; a classifier needs two.")
    manifest = without_unreadable(scanned, config.cache, strict=config.strict)
    training = manifest.split("train")
    _require_each_class(training, "can be read: replace them, or remove the class everywhere")
    if config.choose_on == "validation":
        return manifest, training, manifest.split("validation")
    if config.choose_on == "nothing":
        return manifest, training, None
    kept, held = hold_out(training, config.holdout, config.holdout_seed)
    _require_each_class(kept, f"is left to train on by --holdout {config.holdout:g}: lower it")
    return manifest, kept, held


def _require_each_class(training: Manifest, expected: str) -> None:
    found = {photo.label for photo in training.photos}
    missing = ", ".join(f"train/{label}" for label in training.classes if label not in found)
    if missing:
        raise UsageError(f"{training.root}: no photo of {missing} {expected}.")


def without_unreadable(manifest: Manifest, cache: Path, *, strict: bool) -> Manifest:
    """Leave out the photos that cannot be decoded, naming each.

    Raises:
        UsageError: `strict`, and there is one.
    """
    faults = find_unreadable(manifest, cache)
    for path, fault in faults.items():
        if strict:
            raise UsageError(f"{shown(manifest.root)}/{path}: {fault}")
        tqdm.write(f"left out: {shown(manifest.root)}/{path}: {fault}")
    kept = tuple(photo for photo in manifest.photos if shown(photo.path) not in faults)
    return Manifest(manifest.root, manifest.classes, kept)


def find_unreadable(manifest: Manifest, cache: Path) -> dict[str, str]:
    """Decode every photo, once in the cache's life: path and reason of each that cannot be."""
    rules = f"unreadable {CACHE_VERSION} {MAX_PIXELS} {manifest.sha256()}"
    remembered = cache / f"unreadable-{hashlib.sha256(rules.encode()).hexdigest()[:32]}.json"
    if remembered.is_file():
        faults: dict[str, str] = read_json(remembered)
        return faults
    require_writable(cache, "--cache")

    def fault(photo: Photo) -> str | None:
        try:
            image.decode((manifest.root / photo.path).read_bytes(), max_pixels=MAX_PIXELS)
        except RequestError as error:
            return error.detail
        except OSError as error:
            return f"It cannot be read: {error.strerror}."
        return None

    found = _in_threads(fault, manifest.photos, "checking photos")
    paired = zip(manifest.photos, found, strict=True)
    faults = {shown(photo.path): reason for photo, reason in paired if reason is not None}
    write_json(remembered, faults)
    return faults


def pixels(manifest: Manifest, spec: PreprocessSpec, cache: Path) -> Pixels:
    """The photos, upright, stretched to the spec's size: (N, H, W, 3) uint8, from the cache.

    The same pixels that serving makes before it normalises them. The array is mapped from the
    file, so several processes share one copy in memory.

    Raises:
        TrainError: a photo cannot be read, or the cache cannot be written.
    """
    file = cache / f"{_cache_key(manifest, spec)}.npy"
    if not file.is_file():
        _decode_into(file, manifest, spec)
    mapped: Pixels = np.load(file, mmap_mode="r")
    return mapped


def file_pixels(content: bytes, spec: PreprocessSpec, max_pixels: int) -> Pixels:
    """(H, W, 3) uint8: an image file as serving decodes and stretches it.

    Raises:
        RequestError: it cannot be decoded.
    """
    found = image.decode_scaled(
        content, max_pixels=max_pixels, for_size=spec.size_px, close=spec.is_close
    )
    return np.asarray(resize(found.image, spec, found.box))


def _cache_key(manifest: Manifest, spec: PreprocessSpec) -> str:
    size = f"{spec.width_px}x{spec.height_px}"
    rules = f"{CACHE_VERSION} {size} {spec.resample} {spec.exif} {MAX_PIXELS}"
    digest = hashlib.sha256(f"pixels {rules}\n".encode())
    for photo in manifest.photos:
        digest.update(bytes.fromhex(photo.sha256))
    return f"pixels-{size}-{digest.hexdigest()[:32]}"


def _decode_into(file: Path, manifest: Manifest, spec: PreprocessSpec) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    shape = (len(manifest.photos), spec.height_px, spec.width_px, 3)
    try:
        mapped = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        reserve(temporary)

        def decode(numbered: tuple[int, Photo]) -> None:
            index, photo = numbered
            path = manifest.root / photo.path
            try:
                mapped[index] = file_pixels(path.read_bytes(), spec, MAX_PIXELS)
            except RequestError as error:
                raise TrainError(f"{path}: {error.detail}") from error
            except OSError as error:  # it went away meanwhile
                raise TrainError(f"{path} cannot be read: {error.strerror}.") from error

        what = f"decoding at {spec.width_px} x {spec.height_px}"
        _in_threads(decode, list(enumerate(manifest.photos)), what)
        mapped.flush()
        temporary.replace(file)
    except OSError as error:
        raise TrainError(f"The cache {file} could not be written: {error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def _in_threads(work: Callable[[Item], Result], items: Sequence[Item], what: str) -> list[Result]:
    """Do `work` on every item, several at once: Pillow decodes outside Python's lock."""
    with ThreadPoolExecutor() as pool:
        done = tqdm(pool.map(work, items), what, len(items), unit="img", leave=False)
        return list(done)
