"""The drawn sample pictures."""

import numpy as np
import pytest
from PIL import Image

from local.backends import ROOT
from samples.draw import GARMENTS, SIZE_PX, draw
from serving.model.classifier import Classifier

FOLDER = ROOT / "samples"


@pytest.fixture(scope="module")
def classifier():
    return Classifier.load(ROOT / "model" / "classifier.onnx")


@pytest.mark.parametrize("garment", GARMENTS)
def test_the_file_shows_what_the_code_draws(garment):
    with Image.open(FOLDER / f"{garment}.jpg") as file:
        shown = np.asarray(file.convert("RGB"), np.float64)
    drawn = np.asarray(draw(garment), np.float64)
    assert shown.shape == (SIZE_PX, SIZE_PX, 3)
    assert np.abs(shown - drawn).mean() < 2  # of 255: JPEG's loss


def test_there_is_one_sample_for_each_class_of_the_bundled_model(classifier):
    assert set(classifier.contract.classes) == set(GARMENTS)
    assert {path.stem for path in FOLDER.glob("*.jpg")} == set(GARMENTS)
