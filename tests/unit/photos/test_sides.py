"""How photos without a split are divided: shares, copies, near-copies, groups, and the record."""

import shutil
from collections import Counter
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from tests.drawn import encoded
from tests.photo_folder import write_photo
from train.errors import UsageError
from train.photos.collection import Collection, collect
from train.reading import DataConfig


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty photos a class, in no split."""
    for colour in ("blue", "red"):
        for number in range(20):
            write_photo(tmp_path / "photos" / colour / f"{number}.jpg", colour)
    return tmp_path / "photos"


def read(folder: Path, **reading) -> Collection:
    return collect(DataConfig(folder, cache=folder.with_name("cache"), **reading))


def sides(folder: Path, **reading) -> dict[str, str]:
    return {file.path.as_posix(): file.split for file in read(folder, **reading).files}


def test_each_class_is_divided_by_the_same_shares(folder: Path):
    found = Counter((file.label, file.split) for file in read(folder).files)
    for colour in ("blue", "red"):
        assert [found[colour, s] for s in ("train", "validation", "test")] == [14, 3, 3]


def test_a_copied_folder_is_divided_alike(folder: Path, tmp_path: Path):
    again = tmp_path / "apart" / "photos"
    shutil.copytree(folder, again)
    assert sides(again) == sides(folder)


def test_known_photos_keep_their_side_when_others_come(folder: Path):
    before = sides(folder)
    for number in range(20, 70):
        write_photo(folder / "red" / f"{number}.jpg", "red")
    after = sides(folder)
    assert {name: after[name] for name in before} == before
    assert Counter(split for name, split in after.items() if name.startswith("red")) == {
        "train": 50,
        "validation": 10,
        "test": 10,
    }


def test_a_renamed_folder_and_a_deleted_cache_change_no_side(folder: Path):
    before = sides(folder)
    shutil.rmtree(folder.with_name("cache"))
    for number in range(20, 40):
        write_photo(folder / "red" / f"{number}.jpg", "red")
    grown = sides(folder)
    moved = sides(folder.rename(folder.with_name("moved")))
    assert moved == grown
    assert {name: moved[name] for name in before} == before


@pytest.mark.parametrize("quality", [95, 60])
def test_copies_and_near_copies_stay_together(folder: Path, quality: int):
    for number in range(20):
        photo = folder / "red" / f"{number}.jpg"
        again = Image.open(BytesIO(photo.read_bytes()))
        (folder / "red" / f"{number}-again.jpg").write_bytes(encoded(again, quality=quality))
        shutil.copy(photo, folder / "red" / f"{number}-copy.jpg")
    found = sides(folder)
    for number in range(20):
        names = (f"red/{number}{end}.jpg" for end in ("", "-again", "-copy"))
        assert len({found[name] for name in names}) == 1


def test_a_new_near_copy_follows_the_first(folder: Path):
    before = sides(folder)
    for number in range(20):
        photo = Image.open(folder / "red" / f"{number}.jpg")
        (folder / "red" / f"{number}-again.jpg").write_bytes(encoded(photo, quality=80))
    after = sides(folder)
    assert all(after[f"red/{n}-again.jpg"] == before[f"red/{n}.jpg"] for n in range(20))


def test_a_class_whose_photos_all_look_alike_is_measured_too(folder: Path):
    one = Image.effect_noise((64, 64), 60).convert("RGB")
    for number in range(20):
        one.putpixel((number, 0), (0, 0, 0))
        (folder / "red" / f"{number}.jpg").write_bytes(encoded(one, quality=90))
    found = Counter(file.split for file in read(folder).files if file.label == "red")
    assert found == {"train": 14, "validation": 3, "test": 3}


def test_a_group_is_never_in_two_splits(tmp_path: Path):
    for person in range(12):
        for number in range(3):
            for colour in ("blue", "red"):
                write_photo(tmp_path / "photos" / colour / f"p{person}-{number}.jpg", colour)
    files = read(tmp_path / "photos", group_by=r"p\d+").files
    by_group = {file.group: {f.split for f in files if f.group == file.group} for file in files}
    assert len(by_group) == 12
    assert {len(found) for found in by_group.values()} == {1}
    assert {split for found in by_group.values() for split in found} == {
        "train",
        "validation",
        "test",
    }


def test_a_damaged_record_is_named(folder: Path):
    record = read(folder).record
    assert record is not None
    record.write_text('{"photos": 3, "source": ""}')
    with pytest.raises(UsageError, match=f"{record.name} is no record of splits"):
        read(folder)
