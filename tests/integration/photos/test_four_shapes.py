"""The same photos in four shapes are the same photos, and photos that come later change no side."""

import shutil
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from tests.photo_folder import TWO, write_photo
from train.photos.collection import Collection, PhotoFile, collect
from train.reading import DataConfig

EACH, GROUPS, ADDED = 60, 12, 200


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CLASS/*.jpg; nothing is written into it."""
    return draw(tmp_path_factory.mktemp("flat") / "photos", range(EACH))


def draw(root: Path, numbers: range) -> Path:
    for colour in TWO:
        for number in numbers:
            write_photo(root / colour / f"{number}.jpg", colour, width_px=48, height_px=48)
    return root


def read(root: Path, table: Path | None = None) -> Collection:
    return collect(DataConfig(root, table=table, cache=root.with_name("cache")))


def sides(collection: Collection) -> dict[tuple[str, str], str]:
    """The split of each photo, by its hash and class."""
    return {(file.sha256, file.label): file.split for file in collection.files}


def copied(collection: Collection, root: Path, place) -> Path:
    """A copy of each photo at the place that its file gives it."""
    for file in collection.files:
        target = root / place(file)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(collection.root / file.path, target)
    return root


def in_split(file: PhotoFile) -> Path:
    return Path(file.split, file.label, file.path.name)


def in_sessions(file: PhotoFile) -> Path:
    return Path(file.label, f"session{int(file.path.stem) % 3}", "morning", file.path.name)


def in_one_folder(file: PhotoFile) -> Path:
    return Path("all", f"{file.label}-{file.path.name}")


@pytest.mark.parametrize("place", [in_split, in_sessions], ids=["splits", "nested"])
def test_another_shape_has_the_same_photos_on_the_same_sides(flat: Path, tmp_path: Path, place):
    found = read(flat)
    assert sides(read(copied(found, tmp_path / "photos", place))) == sides(found)


def test_a_table_with_groups_has_the_same_photos(flat: Path, tmp_path: Path):
    found = read(flat)
    root = copied(found, tmp_path / "photos", in_one_folder)
    rows = [
        f"{in_one_folder(file)},{file.label},{file.label}{int(file.path.stem) % GROUPS}"
        for file in found.files
    ]
    table = root / "labels.csv"
    table.write_text("\n".join(["path,label,person", *rows]) + "\n")
    grouped = read(root, table)
    assert sides(grouped).keys() == sides(found).keys()
    splits = defaultdict(set)
    for file in grouped.files:
        splits[file.group].add(file.split)
    assert len(splits) == len(TWO) * GROUPS
    assert {len(each) for each in splits.values()} == {1}


def test_photos_that_are_added_leave_every_old_one_on_its_side(flat: Path, tmp_path: Path):
    root = shutil.copytree(flat, tmp_path / "photos")
    before = sides(read(root))
    draw(root, range(EACH, EACH + ADDED // len(TWO)))
    after = sides(read(root))
    assert len(after) == len(before) + ADDED
    assert {photo: after[photo] for photo in before} == before
    shares = Counter(after.values())
    assert shares == {"train": 224, "validation": 48, "test": 48}  # 0.15 of 160 a class
