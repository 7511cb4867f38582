"""The networks that the benchmarks read back from a model file, for runtimes that take no ONNX."""

from io import BytesIO
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from benchmarks import photos
from benchmarks.models import BUNDLED, seeded_network, write_single
from benchmarks.networks import network_of
from benchmarks.photos import pictures
from PIL import Image

from serving.classifier import Classifier
from serving.contract import Contract
from serving.preprocess import Preprocessor, PreprocessSpec
from tests.tiny_model import write_tiny_model
from train.cascade_network import CascadeNetwork, CascadeRule
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
def test_a_network_read_back_from_its_file_answers_as_the_file(tmp_path: Path):
    file = exported("efficientnet_lite1", tmp_path)
    batch = pictures(CONTRACT, 2)
    with torch.inference_mode():
        answers = network_of(file)(torch.from_numpy(batch)).numpy()
    assert answers == pytest.approx(Classifier.load(file).logits(batch), rel=1e-3, abs=1e-4)


def test_a_file_of_another_network_is_refused_by_name(tmp_path: Path):
    file = exported("mobilenet_v3_small", tmp_path)
    with pytest.raises(ValueError, match=r"model.onnx is a network of none of mobilenet_v2"):
        network_of(file)


@pytest.mark.slow
def test_of_a_cascade_the_runtimes_get_the_first_network(tmp_path: Path):
    first, second = (seeded_network(3, PX, name) for name in ("mobilenet_v2", "efficientnet_lite0"))
    cascade, single = tmp_path / "cascade.onnx", tmp_path / "single.onnx"
    write_onnx(CascadeNetwork(first, second, CascadeRule(1.0, 1.0, 2.0)), CONTRACT, cascade)
    write_single(cascade, single)
    batch = pictures(CONTRACT, 2)
    with torch.inference_mode():
        expected = first(torch.from_numpy(batch)).numpy()
    assert Classifier.load(single).logits(batch) == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert single.stat().st_size < cascade.stat().st_size / 2
    with torch.inference_mode():
        answers = network_of(single)(torch.from_numpy(batch)).numpy()
    assert answers == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_a_file_of_one_network_is_taken_as_it_is(tmp_path: Path):
    file = write_tiny_model(tmp_path / "model.onnx")
    write_single(file, tmp_path / "single.onnx")
    assert (tmp_path / "single.onnx").read_bytes() == file.read_bytes()


def test_the_bundled_model_asks_its_second_network_about_one_photo_alone(tmp_path: Path):
    model = onnx.load(str(BUNDLED))
    if "some_unsure" not in {name for node in model.graph.node for name in node.output}:
        pytest.skip("the bundled model is one network")
    asked = onnx.helper.make_tensor_value_info("some_unsure", onnx.TensorProto.BOOL, [])
    model.graph.output.append(asked)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    preprocess = Preprocessor(Classifier.load(BUNDLED).contract.preprocess)

    def asks(kind: str) -> bool:
        photo = Image.open(BytesIO(photos.jpeg(kind)))
        return bool(session.run(["some_unsure"], {"images": preprocess(photo)})[0])

    assert {kind: asks(kind) for kind in photos.KINDS} == {
        "400x533": False,
        "12mp": False,
        photos.UNSURE: True,
    }
