"""A quantised file's layers have float32's means again after their biases are corrected."""

import json
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from serving.model.contract import METADATA_KEY, Contract
from serving.model.preprocess import PreprocessSpec, normalize
from train.export import int8
from train.export.bias_correction import correct_biases, layer_means
from train.export.int8 import Quantizer, Recipe

SPEC = PreprocessSpec.square(8)
LAYERS = ("first", "second", "last")


def write_network(path, seed):
    """Convolution, clip, convolution without a bias, mean over the picture, linear layer."""
    random = np.random.default_rng(seed)
    shapes = {"w1": (16, 3, 3, 3), "b1": (16,), "w2": (16, 16, 3, 3), "w3": (5, 16), "b3": (5,)}
    tensors = {n: random.normal(0, 0.3, s).astype(np.float32) for n, s in shapes.items()}
    tensors |= {
        "low": np.array(0, np.float32),
        "high": np.array(6, np.float32),
        "axes": np.array([2, 3]),
    }
    nodes = [
        helper.make_node("Conv", ["images", "w1", "b1"], ["c1"], name="first", pads=[1] * 4),
        helper.make_node("Clip", ["c1", "low", "high"], ["r1"], name="clip"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], name="second", pads=[1] * 4),
        helper.make_node("Add", ["c2", "r1"], ["s2"], name="around"),
        helper.make_node("ReduceMean", ["s2", "axes"], ["m"], name="mean", keepdims=0),
        helper.make_node("Gemm", ["m", "w3", "b3"], ["logits"], name="last", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    contract = Contract("network", tuple("abcde"), SPEC)
    helper.set_model_props(model, {METADATA_KEY: json.dumps(contract.to_json())})
    onnx.save(model, str(path))


def layer_outputs(path, batch):
    """Each layer's output in a run of the whole file, every node as it is written."""
    model = onnx.load(str(path))
    names = {node.name: node.output[0] for node in model.graph.node if node.name in LAYERS}
    del model.graph.output[:]
    model.graph.output.extend(map(helper.make_empty_tensor_value_info, names.values()))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return dict(zip(names, session.run(list(names.values()), {"images": batch}), strict=True))


def means(path, batch):
    return {
        name: output.astype(np.float64).mean(axis=(0, *range(2, output.ndim)))
        for name, output in layer_outputs(path, batch).items()
    }


@pytest.fixture(params=[0, 1])
def quantised(request, tmp_path, monkeypatch):
    """The float32 file, the int8 file as it was quantised and corrected, and the batch."""
    random = np.random.default_rng(request.param)
    print(f"seed {request.param}")
    write_network(tmp_path / "float32.onnx", request.param)
    pixels = random.integers(0, 256, (20, 8, 8, 3), np.uint8)
    made = {}
    for name in ("plain", "corrected"):
        with monkeypatch.context() as patch:
            if name == "plain":
                patch.setattr(int8, "correct_biases", lambda *args: None)
            quantizer = Quantizer(tmp_path / "float32.onnx", SPEC, pixels, tmp_path / name)
            made[name] = quantizer.make(Recipe("minmax", "seven", 0))
    return tmp_path / "float32.onnx", made["plain"], made["corrected"], normalize(pixels, SPEC)


def test_the_means_of_a_layer_are_those_of_float32(quantised):
    float32, plain, corrected, batch = quantised
    wanted, before, after = (means(path, batch) for path in (float32, plain, corrected))
    for name in ("first", "last"):
        assert np.abs(after[name] - wanted[name]).max() < np.abs(before[name] - wanted[name]).max()
        np.testing.assert_allclose(after[name], wanted[name], atol=5e-3)


def test_the_logits_come_closer(quantised):
    float32, plain, corrected, batch = quantised
    wanted, before, after = (layer_outputs(p, batch)["last"] for p in (float32, plain, corrected))
    assert ((after - wanted) ** 2).mean() < ((before - wanted) ** 2).mean()


def test_nothing_but_biases_changes(quantised):
    _, plain, corrected, _ = quantised
    tensors = [
        {t.name: numpy_helper.to_array(t) for t in onnx.load(str(path)).graph.initializer}
        for path in (plain, corrected)
    ]
    assert tensors[0].keys() == tensors[1].keys()
    changed = {n for n in tensors[0] if not np.array_equal(tensors[0][n], tensors[1][n])}
    assert changed == {"b1_quantized", "b3_quantized"}


def test_a_file_that_is_float32_stays_as_it_is(quantised, tmp_path):
    float32, _, _, batch = quantised
    same = tmp_path / "same.onnx"
    shutil.copyfile(float32, same)
    correct_biases(same, layer_means(float32, batch), batch)
    for name, output in layer_outputs(same, batch).items():
        np.testing.assert_array_equal(output, layer_outputs(float32, batch)[name])


def test_the_float32_means_are_those_of_a_whole_run(quantised):
    float32, _, _, batch = quantised
    found, wanted = layer_means(float32, batch), means(float32, batch)
    assert found.keys() == wanted.keys()
    for name in LAYERS:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-5, atol=1e-6)


def test_a_bias_that_is_computed_is_left_alone(quantised, tmp_path):
    float32, _, _, batch = quantised
    model = onnx.load(str(float32))
    last = next(node for node in model.graph.node if node.name == "last")
    computed = helper.make_node("Neg", [last.input[2]], ["computed"], name="computed")
    last.input[2] = "computed"
    model.graph.node.insert(list(model.graph.node).index(last), computed)
    other = tmp_path / "computed.onnx"
    onnx.save(model, str(other))
    before = other.read_bytes()
    correct_biases(other, layer_means(float32, batch), batch)
    assert onnx.load_from_string(before) == onnx.load(str(other))
