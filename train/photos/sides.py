"""Photos without a split in; which split each belongs to, and the record of it, out.

Each class is divided by the same shares, in the order of the photos' hashes. Copies and photos of
one group are never separated, near-copies follow the first. A photo that was divided before keeps
its split for ever: the record, a JSON file beside the cache, knows it by its hash.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from train.errors import UsageError
from train.files import read_json, require_writable, write_json
from train.photos.contents import Content, Looks
from train.photos.folders import Entry

# The share of each class that validation and test get; train has the rest.
SHARE = 0.15

# The order of the photos is that of the hashes of seed and content.
_SEED = 0

# Hexadecimal digits of a hash in the record.
_DIGITS = 32

Sides = dict[str, str]
"""The split of each photo, by its hash."""


@dataclass(frozen=True, slots=True)
class Item:
    """A readable photo that is to be divided."""

    entry: Entry
    content: Content

    @property
    def sha256(self) -> str:
        return self.content.sha256


def divide_photos(items: Sequence[Item], targets: Sequence[str], known: Mapping[str, str]) -> Sides:
    """Divide the photos among train and the target splits.

    Args:
        items: every photo, known ones too; copies are several items.
        targets: of validation and test, those that photos are wanted for.
        known: the sides that photos have, by hash; none is changed.
    """
    division = _Division(items, targets, known)
    division.keep_known()
    division.fill()
    for split in targets:
        division.give_something_to(split)
    return division.sides


class _Division:
    """Units of photos that stay together, and the split that each gets."""

    def __init__(
        self, items: Sequence[Item], targets: Sequence[str], known: Mapping[str, str]
    ) -> None:
        self._targets, self._known = targets, known
        self._units = _units(items)
        self._unit_of = {item.sha256: n for n, unit in enumerate(self._units) for item in unit}
        self._sizes = [Counter(item.entry.label for item in unit) for unit in self._units]
        self._order = sorted(range(len(self._units)), key=lambda n: _place(self._units[n]))
        self._split: dict[int, str] = {}  # of each unit
        self._new: list[int] = []  # units without a known photo
        self._have = {split: Counter[str]() for split in ("train", *targets)}
        totals = Counter(item.entry.label for item in items)
        self._wanted = {
            split: {label: _wanted(split, count) for label, count in totals.items()}
            for split in targets
        }
        self._looks = _Looks(items)

    @property
    def sides(self) -> Sides:
        """The split of each photo."""
        return {sha256: self._split[unit] for sha256, unit in self._unit_of.items()}

    def keep_known(self) -> None:
        """Give known photos the split that they have, and new near-copies that of a known photo."""
        for n, unit in enumerate(self._units):
            found = {self._known[item.sha256] for item in unit if item.sha256 in self._known}
            if found:  # photos that a group joined later may have two: none may be measured on
                self._give(n, found.pop() if len(found) == 1 else "train")
        known = {sha256 for sha256 in self._unit_of if sha256 in self._known}
        first = self._looks.nearest_of(known)
        for n in self._order:
            if n not in self._split:
                self._new.append(n)
                followed = [first[i.sha256] for i in self._units[n] if i.sha256 in first]
                if followed:
                    self._give(n, self._split[self._unit_of[followed[0]]])

    def fill(self) -> None:
        """Place the other units in order, each with the near-copies that have no split yet."""
        for n in self._order:
            if n in self._split:
                continue
            likes = {m for item in self._units[n] for m in self._like(item) if m not in self._split}
            together = sorted({n} | likes)
            size = sum((self._sizes[m] for m in together), Counter[str]())
            split = next((s for s in self._targets if self._fits(s, size)), "train")
            for m in together:
                self._give(m, split)

    def give_something_to(self, split: str) -> None:
        """Move new units of train to a split that has none of a class.

        It has none if the class has only large groups, or if all its photos look alike.
        """
        for label, wanted in self._wanted[split].items():
            if not wanted or self._have[split][label]:
                continue
            for n in sorted(self._new, key=lambda n: sum(self._sizes[n].values())):
                size, train = self._sizes[n], self._have["train"]
                if self._split[n] != "train" or not size[label]:
                    continue
                is_spare = all(train[each] > count for each, count in size.items())
                if is_spare and (not self._have[split][label] or self._fits(split, size)):
                    train.subtract(size)
                    self._give(n, split)

    def _like(self, item: Item) -> Iterator[int]:
        return (self._unit_of[sha256] for sha256 in self._looks.near(item.sha256))

    def _fits(self, split: str, size: Counter[str]) -> bool:
        have, wanted = self._have[split], self._wanted[split]
        return all(have[label] + count <= wanted[label] for label, count in size.items())

    def _give(self, n: int, split: str) -> None:
        self._split[n] = split
        self._have[split] += self._sizes[n]


class _Looks:
    """The looks of photos, by hash."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._looks = {i.sha256: i.content.facts.thumbnail for i in items}
        self._hashes = [sha256 for sha256, thumbnail in self._looks.items() if thumbnail]
        self._row = {sha256: row for row, sha256 in enumerate(self._hashes)}
        self._all: Looks | None = None  # made when it is needed: not where all photos are known

    def near(self, sha256: str) -> list[str]:
        """The hashes of a photo's near-copies."""
        if sha256 not in self._row:
            return []
        if self._all is None:
            self._all = self._of(self._hashes)
        return [self._hashes[row] for row in self._all.near(self._row[sha256])]

    def nearest_of(self, chosen: set[str]) -> dict[str, str]:
        """For each other photo that has a near-copy among the chosen ones, the nearest of them."""
        these = [sha256 for sha256 in self._hashes if sha256 in chosen]
        others = [sha256 for sha256 in self._hashes if sha256 not in chosen]
        if not these or not others:
            return {}
        found = self._of(these).nearest(self._of(others))
        return {others[other]: these[row] for other, row in found.items()}

    def _of(self, hashes: Sequence[str]) -> Looks:
        return Looks([self._looks[sha256] for sha256 in hashes])


def _units(items: Sequence[Item]) -> list[list[Item]]:
    """The photos that stay together, in lists."""
    units: defaultdict[int, list[Item]] = defaultdict(list)
    numbers = units_of([(item.sha256, item.entry.group) for item in items])
    for item, number in zip(items, numbers, strict=True):
        units[number].append(item)
    return list(units.values())


def units_of(photos: Sequence[tuple[str, str]]) -> list[int]:
    """The number of each photo's unit, from its hash and its group, which is empty for none.

    Photos that share content or a group are in one unit; indirectly, too.
    """
    numbers: dict[tuple[str, str], int] = {}
    rows, columns = [], []
    for row, (sha256, group) in enumerate(photos):
        keys = [("content", sha256), ("group", group)]
        for key in keys if group else keys[:1]:
            rows.append(row)
            columns.append(len(photos) + numbers.setdefault(key, len(numbers)))
    size = len(photos) + len(numbers)
    joined = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(size, size))
    _, found = connected_components(joined, directed=False)
    units: list[int] = found[: len(photos)].tolist()
    return units


def _place(unit: Sequence[Item]) -> str:
    """Where a unit comes in the order: by the least hash of its photos."""
    return min(hashlib.sha256(f"{_SEED} {item.sha256}".encode()).hexdigest() for item in unit)


def _wanted(split: str, count: int) -> int:
    """How many of a class's photos a split gets; validation gets one even of two."""
    least = 1 if split == "validation" and count > 1 else 0
    return max(least, round(SHARE * count))


class Record:
    """The sides that the photos of a folder or table have, in a JSON file beside the cache."""

    def __init__(self, folder: Path, root: Path, source: str) -> None:
        """`source` tells two ways of reading the same folder apart, such as by a table."""
        key = hashlib.sha256(f"{root.resolve()}\n{source}".encode(errors="surrogateescape"))
        name = root.resolve().name.encode(errors="replace").decode()
        self.file = folder / f"{name}-{key.hexdigest()[:8]}.json"
        self._source = source

    def read(self, photos: set[str], splits: Sequence[str]) -> Sides:
        """The known sides of these photos; of a folder that was moved or renamed, too.

        Raises:
            UsageError: the record is damaged.
        """
        saved = self._saved(self.file) if self.file.is_file() else self._moved(photos)
        found = {sha256: saved.get(sha256[:_DIGITS], "") for sha256 in photos}
        return {sha256: split for sha256, split in found.items() if split in splits}

    def write(self, sides: Sides) -> None:
        """Add sides to the record; nothing is written if it has them all."""
        before = self._saved(self.file) if self.file.is_file() else {}
        after = before | {sha256[:_DIGITS]: split for sha256, split in sides.items()}
        if after != before:
            require_writable(self.file.parent, "The folder of the record of splits,")
            photos = dict(sorted(after.items()))
            write_json(self.file, {"source": self._source, "seed": _SEED, "photos": photos})

    def _moved(self, photos: set[str]) -> dict[str, str]:
        """The record of another folder of which at least half of the photos are here now."""
        here = {sha256[:_DIGITS] for sha256 in photos}
        for file in sorted(self.file.parent.glob("*.json")):
            saved = self._saved(file)
            if 2 * len(here & saved.keys()) >= max(len(saved), 1):
                return saved
        return {}

    def _saved(self, file: Path) -> dict[str, str]:
        found = read_json(file)
        try:
            if file != self.file and found["source"] != self._source:
                return {}
            return {str(sha256): str(split) for sha256, split in found["photos"].items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{file} is no record of splits: restore it from a copy, or delete it and have the "
                "photos divided again."
            ) from error
