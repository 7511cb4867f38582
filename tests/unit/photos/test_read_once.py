"""What is read and decoded again when photos or what they are wanted for change."""

import os
import threading
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from serving.images.decode import decode_scaled
from serving.model.preprocess import PreprocessSpec
from tests.drawn import encoded, picture
from tests.photo_folder import manifest_of, write_many, write_photo
from tests.training import tiny_config
from train.config import FitConfig
from train.fit.loaders import cached_for
from train.photos import splits
from train.photos.collection import collect
from train.photos.contents import examine, file_pixels, rules_of_facts
from train.photos.pixels import PhotoPixels, cached_pixels
from train.reading import MAX_PIXELS, DataConfig
from train.recipes.photos import look_at
from train.store import Store

SPEC = PreprocessSpec(height_px=32, width_px=24)
CPU = torch.device("cpu")


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many files were read, and how many decoded."""
    counts: Counter[str] = Counter()
    lock = threading.Lock()  # photos are read in threads
    read = Path.read_bytes

    def reading(path: Path) -> bytes:
        with lock:
            counts["read"] += 1
        return read(path)

    def decoding(data: bytes, **wanted):
        with lock:
            counts["decoded"] += 1
        return decode_scaled(data, **wanted)

    monkeypatch.setattr(Path, "read_bytes", reading)
    monkeypatch.setattr("train.photos.contents.decode_scaled", decoding)
    return counts


def prepared(config: FitConfig) -> tuple[PhotoPixels, PhotoPixels]:
    """What a build does before it trains: its photos to train on, and to choose on."""
    specs = cached_for(config)
    look_at(config.data, {"fit": config.data}, specs)
    _, training, choosing = splits.divide(config.data, specs)
    assert choosing is not None
    return (
        cached_pixels(training, specs["train"], config.data.cache),
        cached_pixels(choosing, specs["validation"], config.data.cache),
    )


def test_one_more_of_two_thousand_photos_is_read_and_decoded_once(
    tmp_path: Path, done: Counter[str]
):
    file = write_many(tmp_path / "photos", 2001, (40, 30)) / "red/2000.jpg"
    last = file.rename(tmp_path / "last.jpg")
    config = tiny_config(tmp_path / "photos", tmp_path / "cache", tmp_path / "run")
    prepared(config)
    assert done == {"read": 2000, "decoded": 2000}
    done.clear()
    prepared(config)
    assert not done
    last.rename(file)
    training, choosing = prepared(config)
    assert done == {"read": 1, "decoded": 1}
    assert training.is_cached
    assert choosing.is_cached


def test_another_size_adds_its_pixels_and_touches_no_others(folder: Path, done: Counter[str]):
    manifest, cache = manifest_of(folder, "train"), folder.with_name("cache")
    cached_pixels(manifest, SPEC, cache)
    before = {file: file.read_bytes() for file in (cache / "shards").rglob("*.*") if file.is_file()}
    cached_pixels(manifest, replace(SPEC, height_px=40), cache)
    done.clear()
    for spec in (SPEC, replace(SPEC, height_px=40)):
        assert cached_pixels(manifest, spec, cache).is_cached
    assert not done
    assert {file: file.read_bytes() for file in before} == before


def test_photos_that_are_gone_leave_the_cache_and_the_others_stay(folder: Path, done: Counter[str]):
    cache = folder.with_name("cache")
    before = cached_pixels(manifest_of(folder, "train"), SPEC, cache)
    names = [photo.path for photo in manifest_of(folder, "train").photos]
    for number in range(6):
        for colour in ("blue", "green", "red"):
            (folder / f"train/{colour}/{number}.jpg").unlink()
    done.clear()
    manifest = manifest_of(folder, "train")
    left = cached_pixels(manifest, SPEC, cache)
    assert not done
    (shard,) = (cache / "shards").glob("*/*")
    assert shard.stat().st_size == 12 * 32 * 24 * 3
    rows = [names.index(photo.path) for photo in manifest.photos]
    np.testing.assert_array_equal(
        left[:], before[np.array(rows)]
    )  # the shard that it names is gone


def test_what_is_replaced_is_forgotten_and_other_files_are_not_read_again(
    folder: Path, done: Counter[str]
):
    (folder / "train/red/notes").write_text("no photo")
    before = manifest_of(folder, "train")
    write_photo(folder / "train/red/0.jpg", "red", width_px=70)
    done.clear()
    after = manifest_of(folder, "train")
    assert done == {"read": 1, "decoded": 1}
    (old,) = {p.sha256 for p in before.photos} - {p.sha256 for p in after.photos}
    with closing(Store(folder.with_name("cache"))) as store:
        assert store.facts(bytes.fromhex(old), rules_of_facts(MAX_PIXELS)) is None


def test_a_renamed_folder_is_read_but_not_decoded(folder: Path, done: Counter[str]):
    cache = folder.with_name("cache")
    cached_pixels(manifest_of(folder, "train"), SPEC, cache)
    done.clear()
    moved = manifest_of(folder.rename(folder.with_name("moved")), "train")
    assert cached_pixels(moved, SPEC, cache).is_cached
    assert done == {"read": 30}


def test_only_rehash_sees_a_change_of_the_same_size_and_time(folder: Path):
    photo = folder / "train/red/0.jpg"
    config = DataConfig(folder, cache=folder.with_name("cache"))
    before, stat = collect(config), photo.stat()
    data = bytearray(photo.read_bytes())
    data[-1] ^= 1
    photo.write_bytes(data)
    os.utime(photo, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert collect(config).files == before.files
    rehashed = collect(replace(config, rehash=True)).files
    assert [a.path for a, b in zip(rehashed, before.files, strict=True) if a != b] == [
        Path("train/red/0.jpg")
    ]


def test_a_photo_that_is_written_again_at_once_is_read_again(folder: Path):
    photo = folder / "train/red/0.jpg"
    found = set()
    for seed in range(20):  # of the same size, within one tick of the clock
        photo.write_bytes(encoded(picture("red", seed=seed), "BMP"))
        found.add(manifest_of(folder, "train").sha256())
    assert len(found) == 20


@pytest.mark.parametrize("px", [32, 224, 500])
def test_facts_are_the_same_whatever_the_pixels_are_for(px: int):
    photo = encoded(picture("red", width_px=1000, height_px=800), quality=90)
    alone, none = examine(photo, MAX_PIXELS, None)
    facts, pixels = examine(photo, MAX_PIXELS, PreprocessSpec.square(px))
    assert none is None
    assert facts == alone
    assert pixels is not None
    np.testing.assert_array_equal(pixels, file_pixels(photo, PreprocessSpec.square(px), MAX_PIXELS))
