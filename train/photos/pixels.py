"""A manifest in, its decoded pixels out, from a cache on disk.

Photos are decoded once, by serving's own code. The cache's key holds everything that the pixels
depend on.
"""

import hashlib
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serving.errors import RequestError
from serving.images.decode import decode_scaled
from serving.model.preprocess import PreprocessSpec, resize
from train.errors import TrainError
from train.files import reserve
from train.photos.contents import fault_of, in_threads, naming, raise_if_passing
from train.photos.folders import printable
from train.photos.manifest import Manifest, Photo

# Part of every cache key: raise it when decoding or resizing changes its results.
CACHE_VERSION = 6

Pixels = NDArray[np.uint8]


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
        levels=spec.levels,
        resample=spec.resampling,
    )
    return np.asarray(resize(found.image, spec, found.box))


def _cache_key(manifest: Manifest, spec: PreprocessSpec) -> str:
    size = f"{spec.width_px}x{spec.height_px}"
    rules = f"{CACHE_VERSION} {size} {spec.resample} {spec.exif} {manifest.max_pixels}"
    rules += f" {spec.levels}" if spec.levels else ""
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
            with naming(path):
                try:
                    mapped[index] = file_pixels(path.read_bytes(), spec, manifest.max_pixels)
                except RequestError as error:
                    raise_if_passing(error)
                    fault = fault_of(error)
                    raise TrainError(f"{printable(path)}: {fault}.") from error

        what = f"decoding at {spec.width_px} x {spec.height_px}"
        in_threads(decode, list(enumerate(manifest.photos)), what)
        mapped.flush()
        temporary.replace(file)
    except OSError as error:
        raise TrainError(f"The cache {file} could not be written: {error}.") from error
    finally:
        temporary.unlink(missing_ok=True)
