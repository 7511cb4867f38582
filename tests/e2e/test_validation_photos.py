"""Every validation photo through the runtime emulator: the same answers as the model file itself.

Needs PHOTOS_DIR, a folder of photos in one folder per class.
"""

import json
import os
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from serving import image
from serving.contract import Contract
from serving.preprocess import Preprocessor
from tests.client import send

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "model" / "classifier.onnx"
REPORT = ROOT / "model" / "report.json"
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def photos():
    folder = os.environ.get("PHOTOS_DIR")
    if not folder:
        pytest.skip("PHOTOS_DIR is not set: a folder of validation photos in class folders")
    found = sorted(p for p in Path(folder).glob("*/*") if p.suffix.lower() in SUFFIXES)
    assert found, f"PHOTOS_DIR {folder} holds no photos in class folders"
    return found


@pytest.fixture(scope="module")
def expected(photos):
    """The top-1 of each photo as ONNX Runtime finds it, outside of the service."""
    session = onnxruntime.InferenceSession(str(MODEL), providers=["CPUExecutionProvider"])
    contract = Contract.from_metadata(session.get_modelmeta().custom_metadata_map)
    preprocess = Preprocessor(contract.preprocess)
    name = session.get_inputs()[0].name
    labels = []
    for photo in photos:
        picture = image.decode(photo.read_bytes(), max_pixels=50_000_000)
        logits = np.asarray(session.run(None, {name: preprocess(picture)})[0])  # (1, C)
        labels.append(contract.classes[int(logits[0].argmax())])
    return labels


@pytest.fixture(scope="module")
def served(photos, emulate):
    """The label that the service answers for each photo, sent as a raw body."""
    with emulate({"MODEL_PATH": str(MODEL)}) as gateway:
        answers = [send(f"{gateway.url}/predict", "POST", p.read_bytes()) for p in photos]
    assert {answer.status for answer in answers} == {200}
    return [answer.json()["label"] for answer in answers]


def test_every_photo_gets_the_label_that_the_model_file_gives(photos, served, expected):
    named = zip(photos, served, expected, strict=True)
    assert [(p.name, got, wanted) for p, got, wanted in named if got != wanted] == []


def test_the_accuracy_is_the_one_in_the_report(photos, served):
    report = json.loads(REPORT.read_text())["splits"]["validation"]
    right = sum(p.parent.name == label for p, label in zip(photos, served, strict=True))
    assert right / len(photos) == pytest.approx(report["accuracy"], abs=1e-9)
