"""What is remembered of a file, what stops the run instead, and how faults are told."""

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from serving.errors import CostlyImageError
from serving.images.decode import Decoded, decode, decode_scaled
from serving.settings import Settings
from tests.drawn import encoded, picture
from tests.photo_folder import write_photos
from train.errors import TrainError, UsageError
from train.photos.collection import collect
from train.photos.findings import find_all
from train.photos.splits import divide, measured
from train.reading import MAX_PIXELS, DataConfig
from train.recipes.photos import look_at


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    return DataConfig(write_photos(tmp_path / "photos", 3), cache=tmp_path / "cache")


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ENOMEM, errno.ESTALE])
def test_a_read_that_fails_stops_by_name_and_is_not_remembered(
    config: DataConfig, number: int, monkeypatch: pytest.MonkeyPatch
):
    read = Path.read_bytes

    def failing(path: Path) -> bytes:
        if path.name == "2.jpg" and path.parent.name == "red":
            raise OSError(number, "it failed")
        return read(path)

    with monkeypatch.context() as failed:
        failed.setattr(Path, "read_bytes", failing)
        with pytest.raises(TrainError, match=r"red/2\.jpg cannot be read: it failed"):
            divide(config)
    assert len(divide(config)[1].photos) == 9


def test_a_lack_of_memory_stops_by_name_and_is_not_remembered(
    config: DataConfig, monkeypatch: pytest.MonkeyPatch
):
    def poor(image: ImageFile.ImageFile) -> None:
        raise MemoryError

    with monkeypatch.context() as failed:
        failed.setattr(ImageFile.ImageFile, "load", poor)
        with pytest.raises(TrainError, match=r"\.jpg: there is not enough memory to read it"):
            divide(config)
    assert len(divide(config)[1].photos) == 9


def test_the_limit_of_pixels_is_servings_and_a_flag(config: DataConfig):
    assert Settings().image_max_pixels == MAX_PIXELS
    few = DataConfig(config.data, cache=config.cache, max_pixels=1000)
    (finding, *_) = find_all(collect(few))
    assert finding.stops
    faults = {file.fault for file in collect(few).files}
    assert faults == {"it has more than 1,000 pixels; raise --max-pixels, or make it smaller"}
    assert len(divide(config)[1].photos) == 9  # what is remembered is of one limit


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "AVIF", "HEIC"])
def test_a_fault_is_told_alike_wherever_a_format_is_decoded(tmp_path: Path, kind: str):
    large, cut = tmp_path / "data/red/large", tmp_path / "data/red/cut"
    large.parent.mkdir(parents=True)
    large.write_bytes(encoded(picture("red", width_px=200, height_px=200), kind))
    cut.write_bytes(encoded(picture("red"), kind)[:-400])
    (tmp_path / "data/blue").mkdir()
    few = DataConfig(tmp_path / "data", cache=tmp_path / "cache", max_pixels=5_000)
    assert {file.path.name: file.fault for file in collect(few).files} == {
        "large": "it has more than 5,000 pixels; raise --max-pixels, or make it smaller",
        "cut": "it is damaged or cut short; copy it again, or delete it",
    }


def test_a_photo_that_takes_too_long_is_left_out_but_not_remembered(
    config: DataConfig, monkeypatch: pytest.MonkeyPatch
):
    slow = config.data / "train/red/slow.avif"
    slow.write_bytes(encoded(picture("red", seed=99), "AVIF"))

    def hurried(data: bytes, **wanted: Any) -> Decoded:
        if data == slow.read_bytes():  # a real limit of time ends a small file only now and then
            raise CostlyImageError("It took too much time.")
        return decode_scaled(data, **wanted)

    with monkeypatch.context() as hurry:
        hurry.setattr("train.photos.contents.decode_scaled", hurried)
        assert len(divide(config)[1].photos) == 9
    assert len(divide(config)[1].photos) == 10


def write_greys(root: Path, bits: int) -> None:
    """Grey photos whose values fill the given number of bits, in files of 8 or 16."""
    random = np.random.default_rng(0)
    kind = np.uint8 if bits == 8 else np.uint16
    for split in ("train", "validation"):
        for label, low in (("dark", 0.2), ("light", 0.3)):
            for number in range(3):
                values = random.uniform(low, low + 0.1, (48, 48)) * (2**bits - 1)
                file = root / split / label / f"{number}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(values.astype(kind)).save(file)


@pytest.mark.parametrize(("bits", "levels"), [(10, 2), (12, 3)])
def test_few_bits_in_sixteen_are_a_finding_with_a_way_out(tmp_path: Path, bits: int, levels: int):
    write_greys(tmp_path / "photos", bits)
    collection = collect(DataConfig(tmp_path / "photos", cache=tmp_path / "cache"))
    (finding,) = (
        f for f in find_all(collection) if f.kind == "pictures that use little of their range"
    )
    assert "--value-range data" in finding.advice
    assert f"{levels} of 256 grey levels are left" in finding.found


@pytest.mark.parametrize("bits", [8, 16])
def test_scans_of_low_contrast_are_no_finding(tmp_path: Path, bits: int):
    write_greys(tmp_path / "photos", bits)
    collection = collect(DataConfig(tmp_path / "photos", cache=tmp_path / "cache"))
    assert "pictures that use little of their range" not in {f.kind for f in find_all(collection)}


def test_strict_names_what_is_passed_over_and_the_first_files(tmp_path: Path):
    write_photos(tmp_path / "photos", 3)
    for name in ("a.txt", "b.txt", ".hidden"):
        (tmp_path / "photos/train/red" / name).write_text("no photo")
    (tmp_path / "photos/train/red/cut.jpg").write_bytes(b"no photo")
    config = DataConfig(tmp_path / "photos", cache=tmp_path / "cache", strict=True)
    for read in (lambda: divide(config), lambda: look_at(config, {}, {})):
        with pytest.raises(UsageError) as refused:
            read()
        assert "passed over: 2 .txt, 1 hidden, 1 unreadable, such as train/red/" in str(
            refused.value
        )
        assert str(refused.value).count("train/red/") == 3


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_the_own_range_of_photos_becomes_the_whole_range(tmp_path: Path, bits: int):
    write_greys(tmp_path / "photos", bits)
    config = DataConfig(tmp_path / "photos", cache=tmp_path / "cache", value_range="data")
    _, training, _ = divide(config)
    scaled = measured(config, training)
    full = 255 if bits == 8 else 65_535
    assert scaled.levels == pytest.approx(
        (0.2 * (2**bits - 1) / full, 0.4 * (2**bits - 1) / full),
        abs=3 / full + 0.002 / 2 ** (16 - bits),
    )
    photo = (tmp_path / "photos/train/light/0.png").read_bytes()
    pixels = np.asarray(decode(photo, max_pixels=MAX_PIXELS, levels=scaled.levels))
    assert (pixels.min() < 160, pixels.max() > 225) == (True, True)
    assert len(np.unique(pixels)) > (10 if bits == 8 else 60)


@pytest.mark.parametrize("given", ["half", "0.5:0.2", "0:2", "0.1", "nan:1"])
def test_a_wrong_range_says_what_it_takes(given: str, tmp_path: Path):
    with pytest.raises(UsageError, match="--value-range takes full, data, or LOW:HIGH"):
        DataConfig(tmp_path, value_range=given)


def test_colours_are_stretched_alike():
    photo = encoded(picture("red"), "PNG")
    plain = np.asarray(decode(photo, max_pixels=MAX_PIXELS)).astype(float)
    found = np.asarray(decode(photo, max_pixels=MAX_PIXELS, levels=(0.2, 0.8)))
    expected = np.clip((plain / 255 - 0.2) / 0.6, 0, 1) * 255
    assert np.abs(found - expected).max() <= 0.51
