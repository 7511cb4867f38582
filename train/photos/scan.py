"""Files in; their hashes, facts and pixels out, read in one pass and kept in the cache.

What is unchanged by path, size and time of change is not read again. Pixels for which there is no
room are left out.
"""

import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from serving.errors import CostlyImageError
from serving.model.preprocess import PreprocessSpec
from train.files import gigabytes, require_room
from train.photos.contents import (
    Content,
    Facts,
    Pixels,
    examine,
    fault_of,
    naming,
    photo_bytes,
    rules_of_facts,
)
from train.store import Store

# Part of the key of cached pixels: raise it when decoding or resizing changes its results.
CACHE_VERSION = 6

# A shard has about so many bytes, and at most so many photos. A killed run loses two at most.
_SHARD_BYTES, _SHARD_PHOTOS = 32_000_000, 256

# What a photo takes in the database.
_KNOWN_BYTES = 1_000

# Reading more photos than this is announced, from a sample.
_MANY, _SAMPLE = 1_000, 32

# Instead of the hash of a file that is no photo. That it is none depends on the rules, as facts do.
_NO_PHOTO = b"no photo"

# So many files are looked up at once: other runs cannot write meanwhile.
_LOOKED_UP = 500

# A file that was changed less than this before it is read may be changed again without another
# time: file systems count in ticks of up to 10 ms, some old ones in two seconds.
_TICK_NS, _COARSE_NS = 10_000_000, 2_000_000_000


def row_bytes(spec: PreprocessSpec) -> int:
    """What a photo's pixels take."""
    return spec.height_px * spec.width_px * 3


def kind_of(spec: PreprocessSpec, max_pixels: int) -> str:
    """The kind of rows: everything that a photo's pixels depend on, except the photo."""
    size = f"{spec.width_px}x{spec.height_px}"
    rules = f"{CACHE_VERSION} {size} {spec.resample} {spec.exif} {max_pixels} {spec.levels}"
    return f"pixels-{size}-{hashlib.sha256(rules.encode()).hexdigest()[:16]}"


def absolute(root: Path, paths: Iterable[Path]) -> list[str]:
    """Photos' paths as the cache knows them, from ones in the data folder or absolute ones."""
    real = os.path.realpath(root)
    return [os.path.join(real, path) for path in paths]  # noqa: PTH118 - three times as fast


@dataclass(frozen=True, slots=True)
class File:
    """A file to read: its absolute path, and what its pixels are wanted for, if they are."""

    path: str
    spec: PreprocessSpec | None = None


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read of a file; no facts if they were known."""

    sha256: bytes
    facts: Facts | None = None
    pixels: Pixels | None = None
    is_kept: bool = True


def read_files(
    files: Sequence[File],
    store: Store,
    max_pixels: int,
    *,
    rehash: bool = False,
    quiet: bool = False,
) -> list[Content | None]:
    """The content of each file; None for one that is no photo by its name nor its first bytes.

    What the cache knows is not read, unless `rehash`. Says if pixels have no room, unless `quiet`.

    Raises:
        TrainError: a file cannot be read, or there is no memory to decode it; what was read before
            is kept.
        UsageError: the disk has not the room.
    """
    return _Pass(files, store, max_pixels).carry_out(rehash=rehash, quiet=quiet)


class _Pass:
    """One reading of files, in threads: Pillow and hashlib release Python's lock."""

    def __init__(self, files: Sequence[File], store: Store, max_pixels: int) -> None:
        self._files, self._store, self._max_pixels = files, store, max_pixels
        self._rules = rules_of_facts(max_pixels)
        self._found: list[Content | None] = [None] * len(files)
        self._stats: list[tuple[int, int]] = []  # size and time of change of each file
        self._used = set[int]()  # shards with pixels of these files
        self._known_facts = set[bytes]()
        self._cached: dict[PreprocessSpec, set[bytes]] = {}  # for what pixels are cached, of whom
        self._sampled: dict[int, _Read] = {}

    def carry_out(self, *, rehash: bool, quiet: bool) -> list[Content | None]:
        self._store.sweep()
        unknown, lacking, wanting = list[int](), list[int](), list[int]()
        for start in range(0, len(self._files), _LOOKED_UP):
            with self._store.reading():
                for n, file in enumerate(self._files[start : start + _LOOKED_UP], start):
                    is_known = self._is_known(n)
                    lacks = file.spec and (not is_known or self._lacks_pixels(n, file.spec))
                    if not is_known or rehash:
                        unknown.append(n)
                    elif lacks:
                        lacking.append(n)
                    if lacks:
                        wanting.append(n)
        self._store.use(self._used)
        self._make_room([*unknown, *lacking], wanting, quiet=quiet)
        todo = sorted([*unknown, *(n for n in lacking if self._files[n].spec in self._cached)])
        if todo:
            require_room(self._store.folder, _KNOWN_BYTES * len(unknown))
            self._known_facts = self._store.hashes("facts", "rules", self._rules)
            self._read_all(todo)
        return self._found

    def _is_known(self, n: int) -> bool:
        """Whether the file is as it was; then its content is noted."""
        path = self._files[n].path
        with naming(Path(path)):
            stat = os.stat(path)  # noqa: PTH116 - a Path would take three times as long
        self._stats.append((stat.st_size, stat.st_mtime_ns))
        known = self._store.file(os.fsencode(path), self._rules)
        if known is None or known[:2] != self._stats[n]:
            return False
        _, _, sha256, *facts = known
        if facts[0] is None:
            return False
        if sha256 != _NO_PHOTO:
            self._found[n] = Content(sha256.hex(), Facts(*facts))
        return True

    def _lacks_pixels(self, n: int, spec: PreprocessSpec) -> bool:
        content = self._found[n]
        if content is None or content.facts.fault:
            return False
        kind = kind_of(spec, self._max_pixels)
        place = self._store.place(kind, bytes.fromhex(content.sha256))
        self._used |= {place[0]} if place else set()
        return place is None

    def _make_room(self, read: Sequence[int], wanting: Sequence[int], *, quiet: bool) -> None:
        """Note for which specs pixels of the files that are read are cached: those that there is
        room for. `wanting` have none yet.
        """
        counts, promised_bytes = Counter(self._files[n].spec for n in wanting), 0
        for spec in dict.fromkeys(self._files[n].spec for n in read):
            if spec is None:
                continue
            count = counts[spec]
            needed_bytes = count * row_bytes(spec)
            if self._store.make_room(promised_bytes + needed_bytes):
                promised_bytes += needed_bytes
                self._cached[spec] = self._store.hashes(
                    "rows", "kind", kind_of(spec, self._max_pixels)
                )
            elif not quiet:
                tqdm.write(
                    f"{count:,} photos are decoded whenever they are read: their pixels would take "
                    f"{gigabytes(needed_bytes)}, and the cache may have "
                    f"{gigabytes(self._store.limit_bytes)} in all (--cache-gb)"
                )

    def _spec(self, n: int) -> PreprocessSpec | None:
        spec = self._files[n].spec
        return spec if spec in self._cached else None

    def _read_all(self, todo: Sequence[int]) -> None:
        """Read in the order of the files; the next shard is read while one is written."""
        what = "reading photos"
        with (
            ThreadPoolExecutor() as pool,
            tqdm(total=len(todo), desc=what, unit="img", leave=False) as bar,
        ):
            try:
                if len(todo) > _MANY:
                    self._announce(todo, pool)
                ahead: tuple[Sequence[int], list[Future[_Read]]] = ((), [])
                for shard in [*self._shards(todo), ()]:
                    begun = [pool.submit(self._read, n) for n in shard]
                    self._keep(*ahead, bar)
                    ahead = (shard, begun)
            finally:
                pool.shutdown(cancel_futures=True)

    def _shards(self, todo: Sequence[int]) -> Iterator[Sequence[int]]:
        """The files in the parts that are written at once, each for one spec."""
        for spec in dict.fromkeys(map(self._spec, todo)):
            numbers = [n for n in todo if self._spec(n) == spec]
            most = _SHARD_BYTES // row_bytes(spec) if spec else _SHARD_PHOTOS
            size = min(max(most, 1), _SHARD_PHOTOS)
            for start in range(0, len(numbers), size):
                yield numbers[start : start + size]

    def _announce(self, todo: Sequence[int], pool: ThreadPoolExecutor) -> None:
        """Say what the pass takes, from files that are evenly spread; their results are kept."""
        sample = todo[:: len(todo) // _SAMPLE]
        started = time.perf_counter()
        self._sampled = dict(zip(sample, pool.map(self._read, sample), strict=True))
        seconds = (time.perf_counter() - started) * len(todo) / len(sample)
        read_bytes = sum(self._stats[n][0] for n in todo)
        cached_bytes = sum(row_bytes(spec) for n in todo if (spec := self._spec(n)))
        tqdm.write(
            f"reading {len(todo):,} photos, {gigabytes(read_bytes)}: about {seconds:,.0f} s; the "
            f"cache grows by {gigabytes(cached_bytes + _KNOWN_BYTES * len(todo))}"
        )

    def _read(self, n: int) -> _Read:
        if n in self._sampled:
            return self._sampled.pop(n)
        path, spec = Path(self._files[n].path), self._spec(n)
        with naming(path):
            _await_tick(self._stats[n][1])
            content = photo_bytes(path)
            if content is None:
                return _Read(_NO_PHOTO, Facts())
            sha256 = hashlib.sha256(content).digest()
            wanted = spec if spec and sha256 not in self._cached[spec] else None
            knows_facts = sha256 in self._known_facts
            if knows_facts and not wanted:
                return _Read(sha256)
            try:
                facts, pixels = examine(
                    content, self._max_pixels, wanted, with_facts=not knows_facts
                )
            except CostlyImageError as error:  # on another day it may be quick enough
                return _Read(sha256, Facts(fault=fault_of(error)), is_kept=False)
            return _Read(sha256, facts, pixels)

    def _keep(self, numbers: Sequence[int], begun: Sequence[Future[_Read]], bar: tqdm) -> None:
        """Write what was read, all or nothing."""
        read: list[_Read] = []
        for future in begun:
            read.append(future.result())
            bar.update()
        kept = [(n, each) for n, each in zip(numbers, read, strict=True) if each.is_kept]
        with self._store.writing():
            self._store.put_facts(
                (each.sha256, self._rules, *astuple(each.facts)) for _, each in kept if each.facts
            )
            self._store.put_files(
                (os.fsencode(self._files[n].path), *self._stats[n], each.sha256) for n, each in kept
            )
            pixels = {each.sha256: each.pixels for each in read if each.pixels is not None}
            if pixels:
                spec = self._spec(numbers[0])
                assert spec is not None
                kind = kind_of(spec, self._max_pixels)
                self._store.put_rows(kind, list(pixels), np.stack(list(pixels.values())))
        for n, each in zip(numbers, read, strict=True):
            facts = each.facts or Facts(*self._store.facts(each.sha256, self._rules) or ())
            is_photo = each.sha256 != _NO_PHOTO
            self._found[n] = Content(each.sha256.hex(), facts) if is_photo else None


def _await_tick(changed_ns: int) -> None:
    """Wait until another change of a file would have another time."""
    tick_ns = _TICK_NS if changed_ns % 1_000_000_000 else _COARSE_NS
    age_ns = time.time_ns() - changed_ns
    if 0 <= age_ns < tick_ns:
        time.sleep((tick_ns - age_ns) / 1e9)
