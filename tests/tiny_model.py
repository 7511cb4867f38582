"""A real ONNX model that distinguishes red, green and blue pictures.

Small enough to be made in each test, real enough to be loaded by ONNX Runtime: it pools each
channel over the picture and multiplies by a matrix. With familiarity in its contract, it also
computes a distance: the squared length of what it pooled.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from serving.model.contract import METADATA_KEY, Contract
from serving.model.familiarity import Familiarity
from serving.model.preprocess import PreprocessSpec

CLASSES = ("blue", "green", "red")  # in the order of the logits
SPEC = PreprocessSpec(height_px=32, width_px=24)
CONTRACT = Contract(name="tiny", classes=CLASSES, preprocess=SPEC, manifest_sha256="0" * 64)
# Drawn pictures have distances of 7 to 10; white has 18, and yellow, which is as good as green, 14.
FAMILIARITY = Familiarity(10, tuple(7.5 + 0.5 * each for each in range(10)), unsure_below=0.2)
YELLOW = (255, 255, 0)

# (3 channels R, G, B) x (3 classes): each class looks at its own channel.
_WEIGHT = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], np.float32) * 4


def write_tiny_model(
    path: Path,
    *,
    metadata: dict[str, str] | None = None,
    weight: NDArray[np.float32] = _WEIGHT,
    explains: bool = False,
    **changes,
) -> Path:
    """Write the model to `path`; `changes` are fields of its contract.

    `metadata` replaces the metadata as a whole, for files whose contract is damaged. With
    `explains`, it has a feature map of 4 rows and 3 columns, and says which of them spoke.
    """
    contract = replace(CONTRACT, **changes)
    if explains:
        contract = replace(contract, unexplained_because="")
    spec = contract.preprocess
    parts = helper.make_node("AveragePool", ["input"], ["map"], kernel_shape=[8, 8], strides=[8, 8])
    graph = helper.make_graph(
        [
            *([parts] if explains else []),
            helper.make_node("GlobalAveragePool", ["map" if explains else "input"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["features"]),
            helper.make_node("Gemm", ["features", "weight", "bias"], ["logits"], transB=1),
        ],
        "tiny",
        [
            helper.make_tensor_value_info(
                "input", TensorProto.FLOAT, ["N", 3, spec.height_px, spec.width_px]
            )
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])],
        [
            numpy_helper.from_array(np.ascontiguousarray(weight.T), "weight"),
            numpy_helper.from_array(np.zeros(3, np.float32), "bias"),
        ],
    )
    if explains:
        graph.output.extend(
            [
                helper.make_tensor_value_info("map", TensorProto.FLOAT, ["N", 3, 4, 3]),
                helper.make_tensor_value_info("weight", TensorProto.FLOAT, [3, 3]),
                helper.make_tensor_value_info("bias", TensorProto.FLOAT, [3]),
            ]
        )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    if metadata is None:
        metadata = {METADATA_KEY: json.dumps(contract.to_json())}
    helper.set_model_props(model, metadata)
    if contract.familiarity is not None:
        _add_distance(model.graph)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return path


def _add_distance(graph: onnx.GraphProto) -> None:
    graph.node.append(
        helper.make_node("ReduceSumSquare", ["features", "axis"], ["distance"], keepdims=0)
    )
    graph.initializer.append(numpy_helper.from_array(np.array([1]), "axis"))
    graph.output.append(helper.make_tensor_value_info("distance", TensorProto.FLOAT, ["N"]))
