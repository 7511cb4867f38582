"""A float32 file and an int8 file made from it in, the int8 file with corrected biases out.

Rounding shifts the mean of a layer's output channels, and the shifts of many layers add up. The
int8 file is run layer by layer on some photos, and each layer's shift is subtracted from its bias
before the next layer is run (Nagel et al. 2019, "Data-Free Quantization Through Weight
Equalization and Bias Correction").
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper

_LAYERS = ("Conv", "Gemm")
_Array = NDArray[np.float32]
_AtLayer = Callable[[onnx.NodeProto, _Array], _Array]


def layer_means(float32: Path, batch: _Array) -> dict[str, NDArray[np.float64]]:
    """The mean of each output channel, (C,), by layer name, over an (N, 3, H, W) batch."""
    means: dict[str, NDArray[np.float64]] = {}

    def note(layer: onnx.NodeProto, output: _Array) -> _Array:
        means[layer.name] = _channel_means(output)
        return output

    _walk(onnx.load(str(float32)), batch, note)
    return means


def correct_biases(int8: Path, means: dict[str, NDArray[np.float64]], batch: _Array) -> None:
    """Rewrite an int8 file so that its layers have float32's `means` on the same batch.

    Layers without a constant bias, or that are not in the float32 file, are left unchanged.
    """
    model = onnx.load(str(int8))
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    dequantized = {n.output[0]: n for n in model.graph.node if n.op_type == "DequantizeLinear"}

    def correct(layer: onnx.NodeProto, output: _Array) -> _Array:
        if len(layer.input) < 3 or layer.name not in means:
            return output
        shift = _channel_means(output) - means[layer.name]  # (C,)
        stored, scale = layer.input[2], np.ones(1)
        if stored in dequantized:
            stored, name = dequantized[stored].input[:2]
            scale = numpy_helper.to_array(constants[name]).astype(np.float64)
        if stored not in constants:
            return output
        bias = numpy_helper.to_array(constants[stored])
        steps = shift / scale
        if np.issubdtype(bias.dtype, np.integer):
            steps = np.round(steps)
        corrected = (bias - steps).astype(bias.dtype)
        constants[stored].CopyFrom(numpy_helper.from_array(corrected, stored))
        taken_off = (steps * scale).astype(np.float32)
        return output - taken_off.reshape(-1, *[1] * (output.ndim - 2))

    _walk(model, batch, correct)
    int8.write_bytes(model.SerializeToString())


def _channel_means(output: _Array) -> NDArray[np.float64]:
    """(N, C, ...) -> (C,)."""
    means: NDArray[np.float64] = output.mean(axis=(0, *range(2, output.ndim)), dtype=np.float64)
    return means


def _walk(model: onnx.ModelProto, batch: _Array, at_layer: _AtLayer) -> None:
    """Run a model layer by layer; the following nodes get what `at_layer` returns."""
    nodes = list(model.graph.node)
    alive: dict[str, NDArray[Any]] = {model.graph.input[0].name: batch}
    start = 0
    for end, layer in enumerate(nodes, 1):
        if layer.op_type not in _LAYERS:
            continue
        needed_later = {name for node in nodes[end:] for name in node.input}
        made = [name for node in nodes[start:end] for name in node.output]
        wanted = [n for n in made if n in needed_later or n == layer.output[0]]
        alive |= _run(model, nodes[start:end], alive, wanted)
        alive[layer.output[0]] = at_layer(layer, alive[layer.output[0]])
        alive = {name: value for name, value in alive.items() if name in needed_later}
        start = end


def _run(
    model: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    given: dict[str, NDArray[Any]],
    wanted: Sequence[str],
) -> dict[str, NDArray[Any]]:
    """Run some of a model's nodes on the `given` values; returns the `wanted` outputs."""
    used = {name for node in nodes for name in node.input}
    inputs = {name: value for name, value in given.items() if name in used}
    part = helper.make_graph(
        nodes,
        "part",
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(value.dtype), [None] * value.ndim
            )
            for name, value in inputs.items()
        ],
        [helper.make_empty_tensor_value_info(name) for name in wanted],
        [tensor for tensor in model.graph.initializer if tensor.name in used],
    )
    opened = helper.make_model(part, opset_imports=model.opset_import, ir_version=model.ir_version)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(
        opened.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return dict(zip(wanted, session.run(list(wanted), inputs), strict=True))
