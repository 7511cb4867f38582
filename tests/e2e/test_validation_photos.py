"""Every validation photo through the runtime emulator: the same answers as the model file itself.

Needs PHOTOS_DIR, a folder of photos in one folder per class.
"""

import json
import os
from pathlib import Path

import pytest

from tests.client import send
from train.evaluate.inference import open_model, split_logits
from train.photos.splits import labelled_split

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "model" / "classifier.onnx"
REPORT = ROOT / "model" / "report.json"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model():
    return open_model(MODEL)


@pytest.fixture(scope="module")
def photos(model, tmp_path_factory):
    folder = os.environ.get("PHOTOS_DIR")
    if not folder:
        pytest.skip("PHOTOS_DIR is not set: a folder of validation photos in class folders")
    path = Path(folder).resolve()
    cache = tmp_path_factory.mktemp("cache")
    return labelled_split(path.parent, path.name, cache, model.contract.classes)


@pytest.fixture(scope="module")
def expected(photos, model, tmp_path_factory):
    """The top-1 of each photo under training's evaluation, outside of the service."""
    logits = split_logits(model, photos, tmp_path_factory.mktemp("pixels"))  # (N, C)
    return [model.contract.classes[i] for i in logits.argmax(axis=1)]


@pytest.fixture(scope="module")
def served(photos, emulate):
    """The label that the service answers for each photo, sent as a raw body."""
    with emulate({"MODEL_PATH": str(MODEL)}) as gateway:
        answers = [
            send(f"{gateway.url}/predict", "POST", (photos.root / photo.path).read_bytes())
            for photo in photos.photos
        ]
    assert {answer.status for answer in answers} == {200}
    return [answer.json()["label"] for answer in answers]


def test_every_photo_gets_the_label_that_the_model_file_gives(photos, served, expected):
    named = zip(photos.photos, served, expected, strict=True)
    assert [(p.path, got, wanted) for p, got, wanted in named if got != wanted] == []


def test_the_accuracy_is_the_one_in_the_report(photos, served):
    report = json.loads(REPORT.read_text())["splits"]["validation"]
    labelled = zip(photos.photos, served, strict=True)
    right = sum(photo.label == label for photo, label in labelled)
    assert len(served) == report["photos"]
    assert right / len(served) == pytest.approx(report["accuracy"], abs=1e-9)
