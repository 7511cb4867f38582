"""The networks that the benchmarks read back from a model file, for runtimes that take no ONNX."""

from pathlib import Path

import pytest
import torch
from benchmarks.models import network_of, pictures, seeded_network

from serving.classifier import Classifier
from serving.contract import Contract
from serving.preprocess import PreprocessSpec
from train.export import write_onnx

PX = 64
CONTRACT = Contract(
    name="drawn",
    classes=("hat", "shoe", "skirt"),
    preprocess=PreprocessSpec(height_px=PX, width_px=PX),
)


def exported(backbone: str, folder: Path) -> Path:
    write_onnx(seeded_network(3, PX, backbone), CONTRACT, folder / "model.onnx")
    return folder / "model.onnx"


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["mobilenet_v2", "efficientnet_lite1"])
def test_a_network_read_back_from_its_file_answers_as_the_file(backbone: str, tmp_path: Path):
    file = exported(backbone, tmp_path)
    batch = pictures(CONTRACT, 2)
    with torch.inference_mode():
        answers = network_of(file)(torch.from_numpy(batch)).numpy()
    assert answers == pytest.approx(Classifier.load(file).logits(batch), rel=1e-3, abs=1e-4)


def test_a_file_of_another_network_is_refused_by_name(tmp_path: Path):
    file = exported("mobilenet_v3_small", tmp_path)
    with pytest.raises(ValueError, match=r"model.onnx is a network of none of mobilenet_v2"):
        network_of(file)
