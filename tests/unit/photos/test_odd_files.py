"""What lies in class folders and is no readable photo: dangling links, folders, odd names."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from tests.photo_folder import manifest_of, write_photo, write_photos
from tests.tiny_model import CLASSES, write_tiny_model
from train.__main__ import main
from train.config import DataConfig
from train.errors import UsageError
from train.photos.collection import collect
from train.photos.findings import find_all
from train.photos.splits import divide

NOT_UTF8 = os.fsdecode(b"caf\xe9.jpg")
SHOWN = r"caf\xe9.jpg"


@pytest.fixture(scope="module")
def tidy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("tidy") / "data", 10)


@pytest.fixture
def folder(tidy: Path, tmp_path: Path) -> Path:
    """A copy of a folder that is in order, to spoil."""
    return Path(shutil.copytree(tidy, tmp_path / "data"))


def spoil(class_folder: Path) -> None:
    for photo in class_folder.glob("*.jpg"):
        photo.write_bytes(b"no photo " + photo.name.encode())


def reading(folder: Path, **changes) -> DataConfig:
    return DataConfig(folder, cache=folder.parent / "cache", **changes)


def test_a_link_that_is_mended_is_read_again(folder: Path):
    link = folder / "train/red/zz.jpg"
    link.symlink_to("later.jpg")
    assert len(divide(reading(folder))[1].photos) == 30
    write_photo(folder / "train/red/later.jpg")
    assert len(divide(reading(folder))[1].photos) == 32


def test_a_photo_whose_name_is_not_utf8_is_trained_on(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    manifest = manifest_of(folder)
    lines = [f"{p.split}\t{p.label}\t{p.path.as_posix()}\t{p.sha256}\n" for p in manifest.photos]
    assert manifest.sha256() == hashlib.sha256("".join(lines).encode()).hexdigest()
    write_photo(folder / "train/red" / NOT_UTF8)
    (folder / "train/blue" / NOT_UTF8).write_bytes(b"no photo")
    changed, training, _ = divide(reading(folder))
    assert changed.sha256() != manifest.sha256()
    assert len(training.photos) == 31
    assert f"an unreadable photo: train/blue/{SHOWN}: " in capsys.readouterr().out
    assert len(divide(reading(folder))[1].photos) == 31  # from what was remembered


def test_a_class_whose_name_is_not_utf8_is_refused(folder: Path):
    write_photo(folder / "train" / os.fsdecode(b"caf\xe9") / "a.jpg")
    with pytest.raises(UsageError, match=r"train/caf\\xe9 is not UTF-8: rename"):
        manifest_of(folder)


def test_a_report_shows_a_mistake_whose_name_is_not_utf8(folder: Path, tmp_path: Path):
    write_photo(folder / "validation/red" / NOT_UTF8, "blue")
    model = write_tiny_model(tmp_path / "model/tiny.onnx", classes=CLASSES)
    flags = ["--data", str(folder), "--cache", str(tmp_path / "cache")]
    assert main(["evaluate", str(model), *flags]) == 0
    report = json.loads((model.parent / "report.json").read_text())
    assert SHOWN in [m["photo"] for m in report["splits"]["validation"]["mistakes"]]
    assert SHOWN in (model.parent / "report.html").read_text()


def test_a_class_of_unreadable_photos_is_not_trained_without(folder: Path):
    spoil(folder / "train/red")
    with pytest.raises(UsageError, match=r"no photo of train/red is readable"):
        divide(reading(folder))


def test_a_share_that_leaves_a_class_no_photo_is_refused(folder: Path):
    with pytest.raises(UsageError, match=r"no photo of blue.* --holdout 0\.99"):
        divide(reading(folder, choose_on="holdout", holdout=0.99))


def test_a_split_of_unreadable_photos_cannot_be_measured(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    for colour in CLASSES:
        spoil(folder / "validation" / colour)
    model = write_tiny_model(tmp_path / "tiny.onnx", classes=CLASSES)
    flags = ["--data", str(folder), "--cache", str(tmp_path / "cache")]
    assert main(["evaluate", str(model), *flags]) == 2
    assert "validation has no readable photos" in capsys.readouterr().err


def test_a_split_of_a_single_class_is_measured(folder: Path, tmp_path: Path):
    for colour in CLASSES[1:]:
        shutil.rmtree(folder / "validation" / colour)
    assert divide(reading(folder))[0].classes == CLASSES
    model = write_tiny_model(tmp_path / "model/tiny.onnx", classes=CLASSES)
    flags = ["--data", str(folder), "--cache", str(tmp_path / "cache")]
    assert main(["evaluate", str(model), *flags]) == 0
    report = json.loads((model.parent / "report.json").read_text())
    assert report["splits"]["validation"]["photos"] == 10


def kinds(folder: Path) -> list[tuple[str, str]]:
    return [(finding.kind, finding.found) for finding in find_all(collect(reading(folder)))]


def test_inspect_names_links_and_names_that_are_odd(folder: Path):
    (folder / "train/red/zz.jpg").symlink_to("nowhere.jpg")
    write_photo(folder / "train/red" / NOT_UTF8)
    assert kinds(folder) == [
        ("a name that is not UTF-8", f"train/red/{SHOWN}"),
        ("an ignored file", "train/red/zz.jpg (dangling)"),
    ]


def test_inspect_tells_of_a_class_of_which_nothing_can_be_read(folder: Path):
    spoil(folder / "train/red")
    spoil(folder / "validation/blue")
    told = kinds(folder)
    assert ("a class that cannot be learned", "no photo of train/red is readable") in told
    assert ("a class that is not measured", "no photo of validation/blue is readable") in told
