"""A model file is optimised beforehand: it says and answers the same, or it is refused."""

import numpy as np
import onnx
import pytest

from serving.classifier import Classifier
from tests.tiny_model import CONTRACT, SPEC, write_tiny_model
from train.errors import CheckFailedError
from train.optimize import optimized, require_same_answers


@pytest.fixture
def batch() -> np.ndarray:
    random = np.random.default_rng(0)
    return random.normal(size=(3, 3, SPEC.height_px, SPEC.width_px)).astype(np.float32)


@pytest.fixture
def tiny(tmp_path):
    """The tiny model, with a detour that optimising takes away."""
    path = write_tiny_model(tmp_path / "tiny.onnx")
    model = onnx.load(str(path))
    model.graph.node.insert(0, onnx.helper.make_node("Identity", ["input"], ["same"]))
    model.graph.node[1].input[0] = "same"
    onnx.save(model, str(path))
    return path


def test_an_optimised_file_answers_the_same_under_the_same_contract(tiny, batch, tmp_path):
    made = tmp_path / "made.onnx"
    made.write_bytes(optimized(tiny, batch))
    classifier = Classifier.load(made)
    assert classifier.contract == CONTRACT
    assert np.allclose(classifier.logits(batch), Classifier.load(tiny).logits(batch), atol=1e-5)


def test_what_can_be_left_out_is_left_out(tiny, batch):
    made = onnx.load_from_string(optimized(tiny, batch))
    assert "Identity" not in {node.op_type for node in made.graph.node}


def test_a_file_that_answers_differently_is_refused(tiny, batch, tmp_path):
    model = onnx.load(str(tiny))
    weight = onnx.numpy_helper.to_array(model.graph.initializer[0]) * 1.01
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight, "weight"))
    onnx.save(model, str(tmp_path / "other.onnx"))
    with pytest.raises(CheckFailedError, match="differ"):
        require_same_answers(Classifier.load(tiny), Classifier.load(tmp_path / "other.onnx"), batch)
