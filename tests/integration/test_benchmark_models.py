"""The networks that the benchmarks read back from a model file, for runtimes that take no ONNX."""

from pathlib import Path

import pytest
import torch
from benchmarks.models import seeded_network
from benchmarks.networks import network_of
from benchmarks.photos import pictures

from serving.model.classifier import Classifier
from serving.model.contract import Contract
from serving.model.preprocess import PreprocessSpec
from train.channels import counts, hidden_channels, narrow
from train.export import write_onnx
from train.folding import folded

pytestmark = pytest.mark.slow

PX = 64
CONTRACT = Contract(
    name="drawn",
    classes=("hat", "shoe", "skirt"),
    preprocess=PreprocessSpec.square(PX),
)


def exported(backbone: str, folder: Path) -> Path:
    write_onnx(seeded_network(3, PX, backbone), CONTRACT, folder / "model.onnx")
    return folder / "model.onnx"


def test_a_network_read_back_from_its_file_answers_as_the_file(tmp_path: Path):
    file = exported("efficientnet_lite1", tmp_path)
    batch = pictures(CONTRACT, 2)
    with torch.inference_mode():
        answers = network_of(file)(torch.from_numpy(batch)).numpy()
    assert answers == pytest.approx(Classifier.load(file).logits(batch), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("prepare", [lambda network: network, folded], ids=["plain", "folded"])
def test_a_pruned_network_is_read_back_with_the_layers_that_it_has(tmp_path: Path, prepare):
    network = seeded_network(3, PX, "mobilenet_v2")
    wide = counts(network, hidden_channels(network))
    narrow(
        network, [8 + width // 4 - 8 * (at % 3) for at, width in enumerate(wide)], "mobilenet_v2"
    )
    network = prepare(network)
    file = tmp_path / "model.onnx"
    write_onnx(network, CONTRACT, file)
    batch = pictures(CONTRACT, 2)
    with torch.inference_mode():
        read = network_of(file)
        answers = read(torch.from_numpy(batch)).numpy()
    assert [*read.state_dict()] == [*network.state_dict()]
    assert answers == pytest.approx(Classifier.load(file).logits(batch), rel=1e-3, abs=1e-4)


def test_a_file_of_another_network_is_refused_by_name(tmp_path: Path):
    file = exported("mobilenet_v3_small", tmp_path)
    with pytest.raises(ValueError, match=r"model.onnx is a network of none of mobilenet_v2"):
        network_of(file)
