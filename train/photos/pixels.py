"""A manifest in, its decoded pixels out, from a cache on disk.

Photos are decoded once, by serving's own code. The cache's key holds everything that the pixels
depend on. Photos that cannot be read are named and left out, or stop the work under `--strict`.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from serving.errors import RequestError
from serving.images.decode import decode, decode_scaled
from serving.model.preprocess import PreprocessSpec, resize
from serving.settings import Settings
from train.errors import TrainError, UsageError
from train.files import read_json, require_writable, reserve, write_json
from train.photos.folders import printable
from train.photos.manifest import Manifest, Photo

MAX_PIXELS = Settings().image_max_pixels

# Part of every cache key: raise it when decoding or resizing changes its results.
CACHE_VERSION = 5

Pixels = NDArray[np.uint8]
Item = TypeVar("Item")
Result = TypeVar("Result")


def without_unreadable(manifest: Manifest, cache: Path, *, strict: bool) -> Manifest:
    """Leave out the photos that cannot be decoded, and print the name of each.

    Raises:
        UsageError: `strict`, and a photo cannot be decoded.
    """
    faults = find_unreadable(manifest, cache)
    for path, fault in faults.items():
        if strict:
            raise UsageError(f"{printable(manifest.root)}/{path}: {fault}")
        tqdm.write(f"left out: {printable(manifest.root)}/{path}: {fault}")
    kept = tuple(photo for photo in manifest.photos if printable(photo.path) not in faults)
    return Manifest(manifest.root, manifest.classes, kept)


def find_unreadable(manifest: Manifest, cache: Path) -> dict[str, str]:
    """The path of each photo that cannot be decoded, with the reason; remembered in the cache."""
    rules = f"unreadable {CACHE_VERSION} {MAX_PIXELS} {manifest.sha256()}"
    remembered = cache / f"unreadable-{hashlib.sha256(rules.encode()).hexdigest()[:32]}.json"
    if remembered.is_file():
        faults: dict[str, str] = read_json(remembered)
        return faults
    require_writable(cache, "--cache")

    def fault(photo: Photo) -> str | None:
        try:
            decode((manifest.root / photo.path).read_bytes(), max_pixels=MAX_PIXELS)
        except RequestError as error:
            return error.detail
        except OSError as error:
            return f"It cannot be read: {error.strerror}."
        return None

    found = _in_threads(fault, manifest.photos, "checking photos")
    paired = zip(manifest.photos, found, strict=True)
    faults = {printable(photo.path): reason for photo, reason in paired if reason is not None}
    write_json(remembered, faults)
    return faults


def cached_pixels(manifest: Manifest, spec: PreprocessSpec, cache: Path) -> Pixels:
    """The photos, upright and resized to the spec's size: (N, H, W, 3) uint8, from the cache.

    The same pixels as serving's before normalisation. The array is memory-mapped, so several
    processes share one copy.

    Raises:
        TrainError: a photo cannot be read, or the cache cannot be written.
    """
    file = cache / f"{_cache_key(manifest, spec)}.npy"
    if not file.is_file():
        _decode_into(file, manifest, spec)
    mapped: Pixels = np.load(file, mmap_mode="r")
    return mapped


def file_pixels(content: bytes, spec: PreprocessSpec, max_pixels: int) -> Pixels:
    """(H, W, 3) uint8: an image file as serving decodes and resizes it.

    Raises:
        RequestError: it cannot be decoded.
    """
    found = decode_scaled(
        content,
        max_pixels=max_pixels,
        for_size=spec.size_px,
        close=spec.is_close,
        resample=spec.resampling,
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
            except OSError as error:  # it was removed meanwhile
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
    """Do `work` on every item in threads: Pillow releases the GIL while it decodes."""
    with ThreadPoolExecutor() as pool:
        done = tqdm(pool.map(work, items), what, len(items), unit="img", leave=False)
        return list(done)
