"""A data folder, or a table of files in it, in; every photo with its class and split out.

All verbs read photos here, so they agree on what is a photo, what is passed over and which split
each photo is in. Splits that are missing are made (train/photos/sides.py).
"""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from serving.model.preprocess import PreprocessSpec
from train.errors import UsageError
from train.photos.contents import Content, Facts
from train.photos.folders import (
    ARCHIVES,
    SPLITS,
    Entry,
    Listing,
    Passed,
    ending,
    list_folder,
    printable,
)
from train.photos.manifest import Manifest, Photo
from train.photos.scan import File, absolute, read_files
from train.photos.sides import Item, Record, divide_photos
from train.photos.tables import list_table
from train.reading import DataConfig
from train.store import Store

# Files that an error names.
_NAMED = 3


@dataclass(frozen=True, slots=True)
class PhotoFile:
    """A photo of the data folder, readable or not; `path` is relative to it, or absolute."""

    path: Path
    label: str
    split: str
    group: str
    sha256: str
    facts: Facts

    @property
    def fault(self) -> str:
        """Why it is unreadable; empty if it is not."""
        return self.facts.fault


@dataclass(frozen=True, slots=True)
class Collection:
    """What a data folder has.

    Attributes:
        splits: those of the wanted splits that have photos or a folder, or were made.
        made: those of them that were made here.
        record: where the made splits are recorded; None if none were made.
        folders: each class folder by (split, class); the split is empty if it has none of its own.
    """

    config: DataConfig
    files: tuple[PhotoFile, ...]
    passed: tuple[Passed, ...]
    splits: tuple[str, ...]
    made: tuple[str, ...]
    record: Path | None
    folders: Mapping[tuple[str, str], Path]

    @property
    def root(self) -> Path:
        """The data folder."""
        return self.config.data

    def manifest(self, splits: Sequence[str]) -> Manifest:
        """The readable photos of some splits, with the classes of the first, in a fixed order."""
        photos = [
            Photo(file.path, file.label, file.split, file.sha256, file.group)
            for split in splits
            for file in self.files
            if file.split == split and not file.fault
        ]
        classes = sorted({file.label for file in self.files if file.split == splits[0]})
        return Manifest(self.root, tuple(classes), tuple(photos), self.config.max_pixels)

    def passed_over(self) -> str:
        """How many files are passed over for each reason, most first; empty if none is."""
        counts = Counter(each.reason for each in self.passed)
        counts["unreadable"] += sum(bool(file.fault) for file in self.files)
        return ", ".join(f"{count} {reason}" for reason, count in counts.most_common() if count)

    def require_nothing_passed_over(self) -> None:
        """Raise UsageError under `strict` if a file is passed over."""
        passed = self.passed_over()
        if self.config.strict and passed:
            raise UsageError(
                f"{printable(self.root)}: passed over: {passed}, such as {self._some_passed()}; "
                "--strict allows none. `python -m train inspect` lists more of them."
            )

    def _some_passed(self) -> str:
        """The first few files that are passed over."""
        paths = [*(each.path for each in self.passed), *(f.path for f in self.files if f.fault)]
        names = (
            path.relative_to(self.root) if path.is_relative_to(self.root) else path
            for path in paths[:_NAMED]
        )
        return ", ".join(map(printable, names))


Specs = Mapping[str, PreprocessSpec]
"""What the photos of a split are cached for, by its name."""


def collect(
    config: DataConfig, wanted: Sequence[str] = SPLITS, specs: Specs = MappingProxyType({})
) -> Collection:
    """Read the photos of some splits, and divide those that are in none.

    With `specs`, their pixels are cached by the same reading, of photos that are in no split yet as
    those of train.

    Raises:
        UsageError: there is no folder or no photo, or the folder cannot be understood; the message
            names the way out.
        TrainError: a file cannot be read now.
    """
    root, listing = config.data, _listing(config, wanted)
    pool, targets = _to_divide(listing)
    makes = bool(targets) and bool({"train", *targets} & set(wanted))
    needed = [e for e in listing.entries if e.split in wanted or (makes and e.split == pool)]
    needed = list(_grouped(needed, config.group_by))
    contents = _contents(config, needed, listing, specs)
    passed = list(listing.passed)
    found: list[tuple[Entry, Content]] = []
    for entry, content in zip(needed, contents, strict=True):
        if content is None:
            passed.append(Passed(ending(entry.path), root / entry.path))
        else:
            found.append((entry, content))
    record = None
    if makes:
        record = Record(_records(config.cache), root, _source(config))
        found = _divided(found, pool, targets, record)
    made = {*targets, *(() if pool else ("train",))} if makes else set()
    return Collection(
        config=config,
        files=tuple(file for file in _in_order(found) if file.split in ("", *wanted)),
        passed=tuple(passed),
        splits=tuple(split for split in wanted if split in listing.splits | made),
        made=tuple(split for split in SPLITS if split in made),
        record=record.file if record else None,
        folders=listing.classes,
    )


def _contents(
    config: DataConfig, needed: Sequence[Entry], listing: Listing, specs: Specs
) -> list[Content | None]:
    """What is in the files that are needed; the cache forgets files that are gone."""
    root = config.data
    paths = absolute(root, (entry.path for entry in needed))
    wanted_for = [specs.get(entry.split or "train") for entry in needed]
    files = [File(path, spec) for path, spec in zip(paths, wanted_for, strict=True)]
    with closing(Store(config.cache)) as store:
        if config.cache_gb >= 0:
            store.set_limit(config.cache_gb * 1e9)
        found = read_files(files, store, config.max_pixels, rehash=config.rehash)
        there = absolute(root, (entry.path for entry in listing.entries))
        below = os.path.join(os.path.realpath(root), "")  # noqa: PTH118 - ends with a slash
        store.forget(os.fsencode(below), set(map(os.fsencode, there)))
    return found


def splits_of(config: DataConfig) -> tuple[str, ...]:
    """The splits that have a readable photo, made ones too.

    Raises:
        UsageError, TrainError: as `collect`.
    """
    readable = {file.split for file in collect(config).files if not file.fault}
    return tuple(split for split in SPLITS if split in readable)


def _listing(config: DataConfig, wanted: Sequence[str]) -> Listing:
    if not config.data.is_dir():
        raise UsageError(f"--data {printable(config.data)} is not a folder{_instead(config.data)}.")
    if config.table:
        return list_table(config.data, config.table)
    return list_folder(config.data, [split for split in wanted if split not in SPLITS])


def _instead(path: Path) -> str:
    if path.suffix.lower() in ARCHIVES and path.is_file():
        return ": unpack it, and give the folder"
    return ": give the folder of the photos" if path.is_file() else ""


def _to_divide(listing: Listing) -> tuple[str, tuple[str, ...]]:
    """The split whose photos are divided, empty for those without one, and what they also get."""
    missing = tuple(split for split in ("validation", "test") if split not in listing.splits)
    if any(not entry.split for entry in listing.entries) or not listing.splits:
        return "", missing or ("train",)
    if "train" in listing.splits and "validation" in missing:
        return "train", ("validation",)
    return "", ()


def _divided(
    found: list[tuple[Entry, Content]], pool: str, targets: Sequence[str], record: Record
) -> list[tuple[Entry, Content]]:
    """The photos with a split each; an unreadable one keeps the one that it has."""
    items = [Item(e, c) for e, c in found if e.split == pool and not c.facts.fault]
    if not items:
        return found
    also = [split for split in targets if split != "train"]
    known = record.read({item.sha256 for item in items}, ("train", *also))
    sides = divide_photos(items, also, known)
    record.write(sides)
    return [
        (replace(e, split=sides[c.sha256]) if e.split == pool and not c.facts.fault else e, c)
        for e, c in found
    ]


def _in_order(found: Sequence[tuple[Entry, Content]]) -> Iterator[PhotoFile]:
    for entry, content in sorted(found, key=lambda pair: pair[0].path):
        yield PhotoFile(
            entry.path, entry.label, entry.split, entry.group, content.sha256, content.facts
        )


def _grouped(entries: Sequence[Entry], pattern: str) -> Iterator[Entry]:
    """The entries with the group that a regular expression finds in their paths.

    Raises:
        UsageError: it matches no path.
    """
    if not pattern:
        yield from entries
        return
    matches = [re.search(pattern, entry.path.as_posix()) for entry in entries]
    if entries and not any(matches):
        raise UsageError(
            f"--group-by {pattern} matches no path, such as {printable(entries[0].path)}."
        )
    for entry, match in zip(entries, matches, strict=True):
        named = [part for part in match.groups() if part] if match else []
        group = " ".join(named) or (match[0] if match else "")
        yield replace(entry, group=group)


def _records(cache: Path) -> Path:
    """The folder of records, beside the cache: a cache may be deleted."""
    place = cache if cache.name else cache.resolve()
    return place.with_name(f"{place.name}-splits")


def _source(config: DataConfig) -> str:
    """What tells two ways of reading the same folder apart."""
    parts = [f"--table {config.table.name}"] if config.table else []
    return " ".join([*parts, *([f"--group-by {config.group_by}"] if config.group_by else [])])


def division(collection: Collection) -> list[str]:
    """A line on the splits that were made, if any were, and on what was passed over, if any was."""
    lines = []
    if collection.record is not None:
        counts = Counter(file.split for file in collection.files)
        made = ", ".join(f"{counts[split]:,} {split}" for split in collection.splits)
        lines.append(f"divided by class: {made}; the record is {collection.record}")
    passed = collection.passed_over()
    return [*lines, *([f"passed over: {passed}"] if passed else [])]
