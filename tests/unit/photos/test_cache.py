"""What the cache keeps and evicts, what is decoded without it, and what workers hold."""

import hashlib
import pickle
import re
import shutil
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._utils import ExceptionWrapper
from torch.utils.data import DataLoader

from serving.model.preprocess import PreprocessSpec
from tests.photo_folder import manifest_of, write_photo
from train.errors import TrainError
from train.fit.augmentation import augmentation
from train.fit.loaders import AugmentedPhotos
from train.networks.features import cached_features
from train.photos.collection import collect
from train.photos.manifest import Manifest, Photo
from train.photos.pixels import cached_pixels
from train.photos.scan import kind_of
from train.reading import MAX_PIXELS, DataConfig
from train.store import Store

SPEC = PreprocessSpec(height_px=32, width_px=24)
CPU = torch.device("cpu")


def test_photos_without_room_in_the_cache_are_decoded_when_they_are_read(folder: Path):
    manifest = manifest_of(folder, "train")
    kept = cached_pixels(manifest, SPEC, folder.with_name("roomy"))
    config = DataConfig(folder, cache=folder.with_name("cache"), cache_gb=0)
    collect(config, ("train",), {"train": SPEC})
    read = cached_pixels(manifest, SPEC, config.cache)
    assert kept.is_cached
    assert not read.is_cached
    assert not (config.cache / "shards").exists()
    np.testing.assert_array_equal(read[:], kept[:])
    np.testing.assert_array_equal(read[7], kept[7])
    rows = [
        cached_features(mean_colours(), manifest, SPEC, cache, CPU)
        for cache in (config.cache, folder.with_name("roomy"))
    ]
    np.testing.assert_array_equal(rows[0], rows[1])


def mean_colours() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())


def test_a_photo_that_cannot_be_decoded_when_it_is_read_is_named_in_one_line(folder: Path):
    config = DataConfig(folder, cache=folder.with_name("cache"), cache_gb=0)
    pixels = cached_pixels(collect(config).manifest(("train",)), SPEC, config.cache)
    (folder / "train/blue/0.jpg").write_bytes(b"no photo")
    try:
        pixels[0]
    except TrainError:
        as_torch_tells_it = ExceptionWrapper(where="in DataLoader worker process 0")
    with pytest.raises(TrainError) as raised:
        as_torch_tells_it.reraise()
    assert re.fullmatch(r".*blue/0\.jpg: it is no photo in a format .*", str(raised.value))


def test_the_least_used_leaves_a_full_cache(folder: Path, monkeypatch: pytest.MonkeyPatch):
    manifest, cache = manifest_of(folder, "train"), folder.with_name("cache")
    sizes = [replace(SPEC, height_px=px) for px in (30, 31, 32)]
    with closing(Store(cache)) as store:
        store.set_limit(30 * (30 + 31 + 32 + 2) * 24 * 3)
    for spec in (*sizes, sizes[0]):
        pixels = cached_pixels(manifest, spec, cache)
    cached_pixels(manifest, replace(SPEC, height_px=33), cache)
    assert len(list((cache / "shards").glob("*/*"))) == 3  # what this process uses stays
    monkeypatch.setattr("train.store._STARTED", time.time())
    cached_pixels(manifest, replace(SPEC, height_px=33), cache)
    left = {file.parent.name.split("-")[1] for file in (cache / "shards").glob("*/*")}
    assert left == {"24x30", "24x32", "24x33"}
    assert pixels[3].shape == (30, 24, 3)


def test_a_lower_limit_removes_what_is_above_it(folder: Path, monkeypatch: pytest.MonkeyPatch):
    config = DataConfig(folder, cache=folder.with_name("cache"))
    collect(config, specs={"train": SPEC})
    assert len(list((config.cache / "shards").glob("*/*"))) == 1
    monkeypatch.setattr("train.store._STARTED", time.time())
    collect(replace(config, cache_gb=0))
    assert not list((config.cache / "shards").glob("*/*"))


def test_a_new_photo_does_not_evict_those_that_it_comes_to(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    config = DataConfig(folder, cache=folder.with_name("cache"))
    with closing(Store(config.cache)) as store:
        store.set_limit(30 * SPEC.height_px * SPEC.width_px * 3)
    collect(config, specs={"train": SPEC})
    write_photo(folder / "train/red/new.jpg")
    monkeypatch.setattr("train.store._STARTED", time.time())
    manifest = collect(config, specs={"train": SPEC}).manifest(("train",))
    is_cached = cached_pixels(manifest, SPEC, config.cache)._where[:, 0] >= 0
    assert (is_cached.sum(), (~is_cached).sum()) == (30, 1)


def test_what_another_run_evicts_meanwhile_is_decoded(folder: Path):
    cache = folder.with_name("cache")
    pixels = cached_pixels(manifest_of(folder, "train"), SPEC, cache)
    before = pixels[:]
    shutil.rmtree(cache)
    np.testing.assert_array_equal(pixels[:], before)
    assert cached_pixels(manifest_of(folder, "train"), SPEC, cache).is_cached


@pytest.mark.parametrize("left", ["nothing", "half"])
def test_photos_can_go_from_a_cache_whose_shards_were_deleted_or_cut(folder: Path, left: str):
    cache = folder.with_name("cache")
    cached_pixels(manifest_of(folder, "train"), SPEC, cache)
    for shard in (cache / "shards").glob("*/*"):
        content = shard.read_bytes()
        shard.unlink() if left == "nothing" else shard.write_bytes(content[: len(content) // 2])
    for photo in list((folder / "train").glob("*/*"))[4:]:
        photo.unlink()
    manifest = manifest_of(folder, "train")
    found = cached_pixels(manifest, SPEC, cache)
    assert found.is_cached
    fresh = cached_pixels(manifest, SPEC, folder.with_name("fresh"))
    np.testing.assert_array_equal(found[:], fresh[:])


def test_reading_all_again_evicts_nothing_that_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    config = DataConfig(folder, cache=folder.with_name("cache"))
    with closing(Store(config.cache)) as store:
        store.set_limit(30 * SPEC.height_px * SPEC.width_px * 3)
    collect(config, specs={"train": SPEC})
    shards = {file: file.stat().st_mtime_ns for file in (config.cache / "shards").glob("*/*")}
    monkeypatch.setattr("train.store._STARTED", time.time())
    collect(replace(config, rehash=True), specs={"train": SPEC})
    assert shards == {file: file.stat().st_mtime_ns for file in shards if file.is_file()}
    assert shards


def test_a_new_photo_adds_its_features_and_computes_no_others(folder: Path):
    cache, seen = folder.with_name("cache"), []
    backbone = mean_colours()
    backbone.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    before = cached_features(backbone, manifest_of(folder, "train"), SPEC, cache, CPU)
    write_photo(folder / "train/red/new.jpg")
    manifest = manifest_of(folder, "train")
    after = cached_features(backbone, manifest, SPEC, cache, CPU)
    assert seen == [30, 1]
    new = [photo.path.name for photo in manifest.photos].index("new.jpg")
    np.testing.assert_array_equal(np.delete(after, new, axis=0), before)
    pixels = cached_pixels(manifest, SPEC, cache)[new]
    colours = (pixels.mean(axis=(0, 1)) / 255 - SPEC.mean) / SPEC.std
    np.testing.assert_allclose(after[new], colours, atol=1e-5)


def test_copies_of_a_photo_are_cached_once_and_have_the_same_features(folder: Path):
    one = next((folder / "train/red").iterdir())
    shutil.copy(one, one.with_name("copy.jpg"))
    manifest, cache = manifest_of(folder, "train"), folder.with_name("cache")
    found = cached_features(mean_colours(), manifest, SPEC, cache, CPU)
    names = [photo.path.name for photo in manifest.photos if photo.label == "red"]
    same = [names.index(name) for name in (one.name, "copy.jpg")]
    red = found[[photo.label == "red" for photo in manifest.photos]]
    np.testing.assert_array_equal(*red[same])
    again = cached_features(mean_colours(), manifest, SPEC, cache, CPU)
    np.testing.assert_array_equal(again, found)


def test_what_older_versions_left_in_the_cache_is_removed(folder: Path):
    cache = folder.with_name("cache")
    for name in (f"pixels-224x224-{'0' * 32}.npy", f"contents-{'a' * 16}.json", "my-own.npy"):
        cache.mkdir(exist_ok=True)
        (cache / name).touch()
    manifest_of(folder, "train")
    assert sorted(file.name for file in cache.iterdir()) == ["my-own.npy", "photos.sqlite"]


def test_a_damaged_database_is_named(folder: Path):
    cache = folder.with_name("cache")
    cache.mkdir()
    (cache / "photos.sqlite").write_bytes(b"not a database, and longer than a header" * 100)
    with pytest.raises(TrainError, match=r"photos\.sqlite is damaged"):
        manifest_of(folder, "train")


def test_a_shard_is_written_once_and_not_by_a_transaction_that_fails(tmp_path: Path):
    hashes, rows = [b"one", b"two"], np.zeros((2, 4), np.uint8)
    with closing(Store(tmp_path)) as store:

        def write_half() -> None:
            with store.writing():
                store.put_rows("half", hashes, rows)
                store.put_files([(1, 2)])  # type: ignore[list-item]

        for _ in range(2):
            with store.writing():
                store.put_rows("twice", hashes, rows)
        with pytest.raises(sqlite3.Error):
            write_half()
        store.sweep()
    assert [file.parent.name for file in (tmp_path / "shards").glob("*/*")] == ["twice"]


def private_mb(process: int) -> float:
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private")) / 1000


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux tells its memory")
def test_spawned_workers_share_a_large_cache_on_the_disk(tmp_path: Path):
    count, spec = 2000, PreprocessSpec()
    hashes = [hashlib.sha256(str(n).encode()).digest() for n in range(count)]
    photos = [Photo(Path(f"{n}.jpg"), "a", "train", each.hex()) for n, each in enumerate(hashes)]
    manifest = Manifest(tmp_path, ("a",), tuple(photos))
    kind = kind_of(spec, MAX_PIXELS)
    with closing(Store(tmp_path / "cache")) as store:
        for start in range(0, count, 200):
            with store.writing():
                rows = np.full((200, 224, 224, 3), start // 200, np.uint8)
                store.put_rows(kind, hashes[start : start + 200], rows)
    pixels = cached_pixels(manifest, spec, tmp_path / "cache")
    assert pixels.is_cached
    dataset = AugmentedPhotos(pixels, manifest.labels(), augmentation("none", 8), seed=0)
    assert len(pickle.dumps(dataset)) < 1_000_000
    loader = DataLoader(
        dataset,
        batch_size=20,
        sampler=[(0, n) for n in range(count)],
        num_workers=2,
        multiprocessing_context="spawn",
    )
    batches = iter(loader)
    seen = [next(batches)[0] for _ in range(4)]
    before = [private_mb(worker.pid) for worker in batches._workers]  # type: ignore[attr-defined]
    seen += [next(batches)[0] for _ in range(90)]
    after = [private_mb(worker.pid) for worker in batches._workers]  # type: ignore[attr-defined]
    assert max(b - a for a, b in zip(before, after, strict=True)) < 50  # of 300
    assert all((batch == n // 10).all() for n, batch in enumerate(seen))
