"""Manifest, held-out share and cache, on drawn photos."""

import base64
import shutil
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from serving.app import App
from serving.images.decode import decode_scaled
from serving.model.classifier import Classifier
from serving.model.preprocess import (
    CLOSE_RESAMPLE,
    DRAFT_RESAMPLE,
    Preprocessor,
    PreprocessSpec,
    normalize,
    resize,
)
from serving.settings import Settings
from tests.conftest import no_fetch
from tests.drawn import encoded, picture, write_class_folders
from tests.photo_folder import manifest_of
from tests.tiny_model import write_tiny_model
from train.config import DataConfig
from train.errors import TrainError, UsageError
from train.networks.features import cached_features
from train.photos.manifest import Manifest, Photo
from train.photos.pixels import cached_pixels, file_pixels
from train.photos.splits import divide, hold_out
from train.reading import MAX_PIXELS

SPEC = PreprocessSpec(height_px=32, width_px=24)


def kinds(cache: Path) -> list[str]:
    """What the cache has shards of: `pixels`, `features`, or both."""
    return sorted(folder.name.partition("-")[0] for folder in (cache / "shards").glob("*"))


def shards(cache: Path) -> list[Path]:
    return sorted((cache / "shards").glob("*/*"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_class_folders(tmp_path / "photos", train=5, validation=2)


def test_a_manifest_names_every_photo_with_its_label_and_split(folder: Path):
    manifest = manifest_of(folder)
    assert manifest.classes == ("blue", "green", "red")
    assert len(manifest.split("train").photos) == 15
    photo = manifest.split("validation").photos[-1]
    assert (photo.path.as_posix(), photo.label) == ("validation/red/1.jpg", "red")
    assert manifest.split("train").labels().tolist() == [0] * 5 + [1] * 5 + [2] * 5


def test_the_manifest_hash_depends_on_content_and_label_only(folder: Path, tmp_path: Path):
    before = manifest_of(folder).sha256()
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert manifest_of(tmp_path / "elsewhere").sha256() == before
    (folder / "train/red/0.jpg").rename(folder / "train/blue/new.jpg")
    moved = manifest_of(folder).sha256()
    (folder / "train/blue/new.jpg").write_bytes(encoded(picture("red", seed=99)))
    assert len({before, moved, manifest_of(folder).sha256()}) == 3


def leave_only(root: Path, colour: str) -> None:
    for folder in root.glob("*/*"):
        if folder.name != colour:
            shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: shutil.rmtree(root / "train"), "no photos to train on, only validation"),
        (
            lambda root: shutil.copytree(root / "validation/red", root / "validation/mauve"),
            "mauve is not in train: add photos to",
        ),
        (lambda root: leave_only(root, "blue"), "there is one class, blue: a classifier needs two"),
        (
            lambda root: [p.unlink() for p in (root / "train").rglob("*.jpg")],
            "train/blue has no photos",
        ),
    ],
)
def test_a_folder_that_cannot_be_trained_on_is_refused_by_name(folder: Path, damage, message):
    damage(folder)
    with pytest.raises(UsageError, match=message):
        divide(DataConfig(folder, cache=folder.with_name("cache")))


def test_holding_out_takes_the_share_of_each_class_and_nothing_twice(folder: Path):
    training = manifest_of(folder, "train")
    kept, held = hold_out(training, 0.2, seed=3)
    assert np.bincount(held.labels()).tolist() == [1, 1, 1]
    assert {p.path for p in kept.photos} | {p.path for p in held.photos} == {
        p.path for p in training.photos
    }
    assert hold_out(training, 0.2, seed=3) == (kept, held)
    assert hold_out(training, 0.2, seed=4) != (kept, held)


def numbered(*contents: str) -> Manifest:
    """A manifest with one class for each word, one photo for each letter: its content."""
    photos = tuple(
        Photo(Path(f"train/{label}/{n}.jpg"), str(label), "train", content)
        for label, word in enumerate(contents)
        for n, content in enumerate(word)
    )
    return Manifest(Path("photos"), tuple(str(label) for label in range(len(contents))), photos)


@pytest.mark.parametrize("seed", range(5))
def test_without_copies_hold_out_is_a_plain_draw_per_class(seed: int):
    manifest = numbered("abcdefghij", "klmnopqrstuvw", "xyz", "ABCDEFGHIJKLMNOPQ")
    random, expected = np.random.default_rng(seed), []
    for label in manifest.classes:
        paths = [photo.path for photo in manifest.photos if photo.label == label]
        drawn = random.permutation(len(paths))[: round(0.3 * len(paths))]
        expected += [paths[n] for n in sorted(drawn)]
    assert [photo.path for photo in hold_out(manifest, 0.3, seed)[1].photos] == expected


@pytest.mark.parametrize("seed", range(20))
def test_copies_of_a_photo_are_held_out_together_or_not_at_all(seed: int):
    # Copies within a class, and of one photo (z) in two classes.
    manifest = numbered("aabbccdefgz", "hhhhijklmnoz")
    kept, held = hold_out(manifest, 0.3, seed)
    assert not {p.sha256 for p in kept.photos} & {p.sha256 for p in held.photos}
    shares = np.bincount(held.labels(), minlength=2)
    assert (shares <= [3, 4]).all()  # never more than the share of a class
    assert (shares >= [2, 3]).all()


def test_copied_files_are_held_out_together(folder: Path):
    for number in range(4):
        shutil.copyfile(folder / "train/red/0.jpg", folder / f"train/red/copy-{number}.jpg")
    training = manifest_of(folder, "train")
    for seed in range(5):
        parts = hold_out(training, 0.4, seed)
        kept, held = ({photo.sha256 for photo in part.photos} for part in parts)
        assert not kept & held


def test_cached_pixels_are_what_serving_feeds_its_network(folder: Path, tmp_path: Path):
    manifest = manifest_of(folder, "train")
    pixels = cached_pixels(manifest, SPEC, tmp_path / "cache")
    file = (folder / manifest.photos[7].path).read_bytes()
    decoded = decode_scaled(file, max_pixels=MAX_PIXELS, for_size=SPEC.size_px, close=SPEC.is_close)
    served = Preprocessor(SPEC)(decoded.image, decoded.box)
    np.testing.assert_array_equal(normalize(pixels[7:8], SPEC), served)


@pytest.mark.parametrize(
    ("resample", "decoded_px"), [(CLOSE_RESAMPLE, (200, 250)), (DRAFT_RESAMPLE, (100, 125))]
)
def test_a_photo_is_cached_at_the_scale_that_serving_decodes_it_at(
    resample: str, decoded_px: tuple[int, int], tmp_path: Path
):
    spec = replace(SPEC, resample=resample)
    large = picture("red", width_px=800, height_px=1000)
    photo = encoded(large, quality=95)
    for split in ("train", "validation"):
        for name in ("a", "b"):
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            (tmp_path / "photos" / split / name / "0.jpg").write_bytes(photo)
    pixels = cached_pixels(manifest_of(tmp_path / "photos", "train"), spec, tmp_path / "cache")
    part = decode_scaled(
        photo, max_pixels=MAX_PIXELS, for_size=spec.size_px, close=spec.is_close
    ).image
    assert part.size == decoded_px
    np.testing.assert_array_equal(pixels[0], np.asarray(resize(part, spec)))


def test_training_and_serving_crop_the_partly_filled_edge_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    content = encoded(picture("red", width_px=403, height_px=535), quality=95)
    eighth = Image.open(BytesIO(content))
    eighth.draft(None, (403 // 8, 535 // 8))
    assert eighth.size == (51, 67)
    expected = eighth.resize(SPEC.size_px, Image.Resampling.BILINEAR, (0, 0, 403 / 8, 535 / 8))
    pixels = file_pixels(content, SPEC, MAX_PIXELS)
    np.testing.assert_array_equal(pixels, np.asarray(expected))

    fed, infer = [], Classifier.infer

    def noted(self, batch):
        fed.append(batch)
        return infer(self, batch)

    monkeypatch.setattr(Classifier, "infer", noted)
    app = App(Classifier.load(write_tiny_model(tmp_path / "tiny.onnx")), Settings(), no_fetch)
    app.handle({"image": base64.b64encode(content).decode()}, "request-1")
    np.testing.assert_array_equal(fed, [normalize(pixels[None], SPEC)])


def test_the_cache_is_used_again_and_is_by_content_and_size(folder: Path, tmp_path: Path):
    cache = tmp_path / "cache"
    manifest = manifest_of(folder, "train")
    cached_pixels(manifest, SPEC, cache)
    (folder / "train/red/0.jpg").unlink()  # the cache is all that is read the second time
    cached_pixels(manifest, SPEC, cache)
    (whole,) = shards(cache)

    (folder / "train/red/0.jpg").write_bytes(encoded(picture("red", seed=77)))
    changed = manifest_of(folder, "train")
    cached_pixels(changed, SPEC, cache)
    (one,) = set(shards(cache)) - {whole}
    assert one.stat().st_size * len(manifest.photos) == whole.stat().st_size
    cached_pixels(changed, replace(SPEC, height_px=40), cache)
    assert len(shards(cache)) == 3


@pytest.mark.parametrize("left", [b"no longer an image", None], ids=["damaged", "gone"])
def test_a_photo_that_disappears_is_named_and_leaves_no_half_cache(
    left: bytes | None, folder: Path, tmp_path: Path
):
    manifest = manifest_of(folder, "train")
    photo = folder / "train/red/0.jpg"
    photo.unlink()
    if left is not None:
        photo.write_bytes(left)
    with pytest.raises(TrainError, match=r"red.0\.jpg(: | cannot be read: )"):
        cached_pixels(manifest, SPEC, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_other_rules_of_decoding_make_pixels_and_features_anew(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    cache = tmp_path / "cache"
    manifest = manifest_of(folder, "train")
    backbone = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())

    def filled() -> list[str]:
        cached_features(backbone, manifest, SPEC, cache, torch.device("cpu"))
        return kinds(cache)

    assert filled() == filled() == ["features", "pixels"]
    monkeypatch.setattr("train.photos.scan.CACHE_VERSION", 99)
    assert filled() == ["features", "features", "pixels", "pixels"]
