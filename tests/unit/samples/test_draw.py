"""The drawn sample pictures."""

import re

import numpy as np
import pytest
from PIL import Image

from local.backends import ROOT
from samples.draw import GARMENTS, SIZE_PX, draw
from serving.images.decode import decode
from serving.model.classifier import Classifier
from serving.model.preprocess import Preprocessor

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


def test_the_readme_tells_how_many_the_model_gets_right(classifier):
    preprocess = Preprocessor(classifier.contract.preprocess)
    right = 0
    for garment in GARMENTS:
        data = (FOLDER / f"{garment}.jpg").read_bytes()
        logits = classifier.logits(preprocess(decode(data, max_pixels=SIZE_PX**2)))
        right += classifier.contract.classes[int(logits.argmax())] == garment
    told = re.search(r"(\d+) of the (\d+) drawn samples", (ROOT / "README.md").read_text())
    assert told
    assert told.groups() == (str(right), str(len(GARMENTS)))
