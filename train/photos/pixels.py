"""A manifest in, its pixels out: from the cache, or decoded whenever they are read.

What is pickled for other processes are names of files.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serving.errors import RequestError
from serving.model.preprocess import PreprocessSpec
from train.errors import TrainError
from train.photos.contents import Content, Pixels, fault_of, file_pixels, naming, raise_if_passing
from train.photos.folders import printable
from train.photos.manifest import Manifest
from train.photos.scan import File, absolute, kind_of, read_files, row_bytes
from train.store import Files, Place, Store

__all__ = ["PhotoPixels", "PixelRows", "Pixels", "cached_pixels", "file_pixels", "in_batches"]


def cores() -> int:
    """How many cores this process may use; a container may allow fewer than there are."""
    allowed = getattr(os, "sched_getaffinity", None)  # only on Linux
    return len(allowed(0)) if allowed else os.cpu_count() or 1


class PhotoPixels:
    """The pixels of N photos, upright and resized: read from shards, or decoded from the files.

    It holds and pickles names of files only, so that processes share the disk's copy. What the
    cache has lost meanwhile is decoded.
    """

    def __init__(
        self,
        paths: Sequence[str],
        places: Sequence[Place | None],
        files: Files,
        spec: PreprocessSpec,
        max_pixels: int,
    ) -> None:
        number = {shard: n for n, shard in enumerate(files)}
        self._shards = [str(file) for file in files.values()]
        where = [(number[place[0]], place[1]) if place else (-1, 0) for place in places]
        self._where = np.array(where, np.int32).reshape(-1, 2)  # (N, 2): number of a shard, row
        self._paths = np.array([os.fsencode(path) for path in paths], np.bytes_)  # (N,)
        self._spec, self._max_pixels = spec, max_pixels

    @property
    def is_cached(self) -> bool:
        """Whether no photo has to be decoded."""
        return bool((self._where[:, 0] >= 0).all())

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int | slice | NDArray[np.integer]) -> Pixels:
        """(H, W, 3) uint8 of one photo, or (n, H, W, 3) of several; the caller's own copy.

        Raises:
            TrainError: a photo that is not cached cannot be read.
        """
        if isinstance(index, int | np.integer):
            return self._photo(int(index))
        numbers = np.arange(len(self))[index].tolist()
        many = np.empty((len(numbers), self._spec.height_px, self._spec.width_px, 3), np.uint8)
        if (self._where[numbers, 0] >= 0).all():
            for row, number in enumerate(numbers):
                many[row] = self._photo(number)
            return many
        with ThreadPoolExecutor(cores()) as pool:
            for row, photo in enumerate(pool.map(self._photo, numbers)):
                many[row] = photo
        return many

    def _photo(self, number: int) -> Pixels:
        shard, row = self._where[number].tolist()
        shape = (self._spec.height_px, self._spec.width_px, 3)
        size = row_bytes(self._spec)
        if shard >= 0:
            pixels = np.empty(shape, np.uint8)
            with suppress(OSError), open(self._shards[shard], "rb", buffering=0) as file:  # noqa: PTH123
                file.seek(row * size)
                if file.readinto(pixels.data) == size:
                    return pixels
            # Another run has evicted it, or it was deleted.
        path = Path(os.fsdecode(self._paths[number]))
        with naming(path):
            try:
                return file_pixels(path.read_bytes(), self._spec, self._max_pixels).copy()
            except RequestError as error:
                raise_if_passing(error)
                raise TrainError(f"{printable(path)}: {fault_of(error)}.") from error


PixelRows = Pixels | PhotoPixels
"""Pixels of N photos, (N, H, W, 3) uint8: in memory, or as names of files."""


def in_batches(pixels: PhotoPixels, size: int) -> Iterator[Pixels]:
    """All photos in order, (size, H, W, 3); the next ones are read while the caller works."""
    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(pixels.__getitem__, slice(0, size))
        for start in range(size, len(pixels) + size, size):
            ready, ahead = ahead, reader.submit(pixels.__getitem__, slice(start, start + size))
            yield ready.result()


def cached_pixels(manifest: Manifest, spec: PreprocessSpec, cache: Path) -> PhotoPixels:
    """The photos, upright and resized to the spec's size; the same pixels as serving's.

    Those that are missing in the cache are decoded into it if there is room.

    Raises:
        TrainError: a photo cannot be read or has changed, or the cache cannot be written.
    """
    paths = absolute(manifest.root, (photo.path for photo in manifest.photos))
    hashes = [bytes.fromhex(photo.sha256) for photo in manifest.photos]
    kind = kind_of(spec, manifest.max_pixels)
    with closing(Store(cache)) as store:
        places, files = store.places(kind, hashes)
        missing = [n for n, place in enumerate(places) if place is None]
        if missing:
            wanted = [File(paths[n], spec) for n in missing]
            found = read_files(wanted, store, manifest.max_pixels, quiet=True)
            for n, content in zip(missing, found, strict=True):
                _require_same(paths[n], manifest.photos[n].sha256, content)
            places, files = store.places(kind, hashes)
    return PhotoPixels(paths, places, files, spec, manifest.max_pixels)


def _require_same(path: str, sha256: str, content: Content | None) -> None:
    """Raise TrainError if a photo is no longer what the manifest says."""
    if content is not None and content.facts.fault:
        raise TrainError(f"{printable(Path(path))}: {content.facts.fault}.")
    if content is None or content.sha256 != sha256:
        raise TrainError(f"{printable(Path(path))} has changed meanwhile: give the command again.")
