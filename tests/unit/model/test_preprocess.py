"""The network's input equals a second computation: loops over pixels in plain Python."""

import math

import keras_image_helper
import numpy as np
import pytest
from PIL import Image

from serving.errors import ContractError
from serving.model import preprocess
from serving.model.preprocess import (
    BICUBIC_RESAMPLE,
    CLOSE_RESAMPLE,
    DRAFT_RESAMPLE,
    Preprocessor,
    PreprocessSpec,
    resize,
)
from tests.drawn import picture

SPEC = PreprocessSpec(height_px=7, width_px=5)


def resampled(row: list[float], size: int) -> list[float]:
    """One row resized by a triangle filter as wide as the scale: antialiased bilinear."""
    scale = len(row) / size
    support = max(scale, 1.0)
    result = []
    for i in range(size):
        centre = (i + 0.5) * scale
        first, last = (
            max(0, int(centre - support + 0.5)),
            min(len(row), int(centre + support + 0.5)),
        )
        weights = [max(0.0, 1 - abs((j + 0.5 - centre) / support)) for j in range(first, last)]
        total = sum(weights)
        result.append(
            sum(w * row[j] for w, j in zip(weights, range(first, last), strict=True)) / total
        )
    return result


def resized_by_hand(image: Image.Image, width_px: int, height_px: int) -> np.ndarray:
    """(H, W, 3) uint8: rows first, rounded, then columns, rounded."""
    pixels = np.asarray(image, np.float64)
    wide = np.empty((pixels.shape[0], width_px, 3))
    for y in range(pixels.shape[0]):
        for c in range(3):
            wide[y, :, c] = [
                math.floor(v + 0.5) for v in resampled(list(pixels[y, :, c]), width_px)
            ]
    result = np.empty((height_px, width_px, 3))
    for x in range(width_px):
        for c in range(3):
            result[:, x, c] = [
                math.floor(v + 0.5) for v in resampled(list(wide[:, x, c]), height_px)
            ]
    return result.astype(np.uint8)


@pytest.mark.parametrize("size", [(5, 7), (13, 9), (60, 80), (3, 2), (61, 7)])
def test_resizing_is_antialiased_and_bilinear(size):
    drawn = picture("red", width_px=size[0], height_px=size[1])
    ours = np.asarray(preprocess.resize(drawn, SPEC), np.int16)
    by_hand = resized_by_hand(drawn, SPEC.width_px, SPEC.height_px).astype(np.int16)
    assert np.abs(ours - by_hand).max() <= 1  # Pillow's weights are fixed-point
    assert (ours == by_hand).mean() > 0.97


def test_an_image_of_the_right_size_is_left_as_it_is():
    drawn = picture("red", width_px=SPEC.width_px, height_px=SPEC.height_px)
    assert (np.asarray(preprocess.resize(drawn, SPEC)) == np.asarray(drawn)).all()


def test_the_input_is_what_the_formula_says_pixel_by_pixel():
    drawn = picture("green", width_px=SPEC.width_px, height_px=SPEC.height_px)
    batch = Preprocessor(SPEC)(drawn)
    assert batch.shape == (1, 3, 7, 5)
    assert batch.dtype == np.float32
    assert batch.flags["C_CONTIGUOUS"]
    for y in range(7):
        for x in range(5):
            for channel, value in enumerate(np.asarray(drawn)[y, x].tolist()):
                wanted = (value / 255 - SPEC.mean[channel]) / SPEC.std[channel]
                assert batch[0, channel, y, x] == pytest.approx(wanted, abs=1e-6)


def test_a_batch_is_its_images_side_by_side():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 7, 5, 3)).astype(np.uint8)
    together = preprocess.normalize(pixels, SPEC)
    for i in range(3):
        assert (together[i] == preprocess.normalize(pixels[i : i + 1], SPEC)[0]).all()


def test_keras_image_helper_makes_the_batch_and_changes_no_pixel(monkeypatch):
    seen = []
    convert = keras_image_helper.base.BasePreprocessor.convert_to_tensor

    def watched(self, image):
        seen.append(image.size)
        return convert(self, image)

    monkeypatch.setattr(keras_image_helper.base.BasePreprocessor, "convert_to_tensor", watched)
    drawn = picture("blue")
    batch = Preprocessor(SPEC)(drawn)
    assert seen == [(SPEC.width_px, SPEC.height_px)]
    ours = np.asarray(preprocess.resize(drawn, SPEC))[None]
    assert (batch == preprocess.normalize(ours, SPEC)).all()


# --- the spec in a contract


def test_a_spec_survives_being_written_and_read():
    spec = PreprocessSpec(height_px=10, width_px=20, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    assert PreprocessSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("height_px", 0),
        ("height_px", 4_097),
        ("width_px", "224"),
        ("width_px", True),
        ("mean", [0.5, 0.5]),
        ("mean", [0.5, 0.5, "0.5"]),
        ("mean", [0.5, 0.5, math.nan]),
        ("mean", [0.5, 0.5, 10**400]),
        ("std", [0.5, 0.5, 0]),
        ("std", None),
        ("resample", "nearest"),
        ("exif", "ignored"),
        ("layout", "NHWC"),
    ],
)
def test_a_field_that_cannot_be_honoured_is_refused_by_name(field, value):
    with pytest.raises(ContractError, match=f"preprocess.{field}"):
        PreprocessSpec.from_json({**PreprocessSpec().to_json(), field: value})


@pytest.mark.parametrize(
    ("resample", "is_close"), [(CLOSE_RESAMPLE, True), (DRAFT_RESAMPLE, False)]
)
def test_a_contract_says_how_close_a_jpeg_is_decoded(resample, is_close):
    spec = PreprocessSpec.from_json({**PreprocessSpec().to_json(), "resample": resample})
    assert (spec.resample, spec.is_close) == (resample, is_close)


@pytest.mark.parametrize("value", [None, [], "spec"])
def test_a_spec_that_is_no_object_is_refused(value):
    with pytest.raises(ContractError, match="'preprocess' must be an object"):
        PreprocessSpec.from_json(value)


def test_a_backbone_that_learnt_on_bicubic_photos_is_served_with_them():
    photo = Image.fromarray(np.random.default_rng(4).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    spec = PreprocessSpec(32, 32, resample=BICUBIC_RESAMPLE)
    expected = photo.resize((32, 32), Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(resize(photo, spec)), np.asarray(expected))
