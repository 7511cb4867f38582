"""Two ONNX models in, one out: the second runs for the images that the first is not sure of.

It is the arithmetic of `train.cascade_network`, with the second network inside an If: a batch whose
images are all sure costs the first network alone, any other costs the second for the unsure ones.
"""

import math
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, compose, helper, numpy_helper

from train.cascade_network import CascadeRule

_FIRST, _SECOND = "first/", "second/"
_IMAGES, _LOGITS = "images", "logits"
FIRST_LOGITS = _FIRST + _LOGITS
"""The value inside a merged model that is its first network's own answer."""


def merge(first: ModelProto, second: ModelProto, rule: CascadeRule) -> ModelProto:
    """Of two models, images (N, 3, H, W) -> logits (N, C), a third of the same shape."""
    outer = compose.add_prefix(first, _FIRST).graph
    inner = compose.add_prefix(second, _SECOND).graph
    _rename_input(outer, _FIRST + _IMAGES, _IMAGES)
    images, logits = first.graph.input[0], first.graph.output[0]
    classes = logits.type.tensor_type.shape.dim[1].dim_value
    branch = helper.make_node(
        "If",
        ["some_unsure"],
        [_LOGITS],
        then_branch=_with_second(inner, classes),
        else_branch=helper.make_graph(
            [helper.make_node("Identity", ["first_log"], ["alone"])],
            "first_alone",
            [],
            [_rows("alone", classes)],
        ),
    )
    graph = helper.make_graph(
        [*outer.node, *_find_unsure(), branch],
        "cascade",
        [images],
        [_rows(_LOGITS, classes)],
        initializer=[*outer.initializer, *_constants(rule)],
    )
    merged = helper.make_model(
        graph, opset_imports=first.opset_import, ir_version=max(first.ir_version, second.ir_version)
    )
    onnx.checker.check_model(merged)
    return merged


def nodes_of(graph: GraphProto) -> Iterator[NodeProto]:
    """Every node, those inside the branches of an If among them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from nodes_of(attribute.g)


def _rename_input(graph: GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]


def _find_unsure() -> list[NodeProto]:
    """The first's log-probabilities, and which rows (K, 1) of the batch it is not sure of."""
    node = helper.make_node
    return [
        node("Div", [FIRST_LOGITS, "first_temperature"], ["first_scaled"]),
        node("LogSoftmax", ["first_scaled"], ["first_log"], axis=1),
        node("Exp", ["first_log"], ["first_probabilities"]),  # (N, C)
        node("ReduceMax", ["first_probabilities", "axis_1"], ["highest"], keepdims=0),  # (N,)
        node("Less", ["highest", "sure_above"], ["unsure"]),
        node("NonZero", ["unsure"], ["unsure_columns"]),  # (1, K)
        node("Transpose", ["unsure_columns"], ["unsure_rows"], perm=[1, 0]),
        node("Size", ["unsure_columns"], ["unsure_count"]),
        node("Greater", ["unsure_count", "none"], ["some_unsure"]),
    ]


def _with_second(inner: GraphProto, classes: int) -> GraphProto:
    """The branch that asks the second network for the unsure images and fills their rows in."""
    node = helper.make_node
    return helper.make_graph(
        [
            node("GatherND", [_IMAGES, "unsure_rows"], [_SECOND + _IMAGES]),  # (K, 3, H, W)
            *inner.node,
            node("Div", [_SECOND + _LOGITS, "second_temperature"], ["second_scaled"]),
            node("LogSoftmax", ["second_scaled"], ["second_log"], axis=1),  # (K, C)
            node("GatherND", ["first_log", "unsure_rows"], ["first_unsure"]),
            node("Unsqueeze", ["first_unsure", "axis_1"], ["first_row"]),  # (K, 1, C)
            node("Unsqueeze", ["second_log", "axis_1"], ["second_row"]),
            node("Concat", ["first_row", "second_row"], ["rows"], axis=1),  # (K, 2, C)
            node("ReduceLogSumExp", ["rows", "axis_1"], ["sum_log"], keepdims=0),
            node("Sub", ["sum_log", "log_2"], ["mean_log"]),  # (K, C)
            node("ScatterND", ["first_log", "unsure_rows", "mean_log"], ["both"]),  # (N, C)
        ],
        "second_where_unsure",
        [],
        [_rows("both", classes)],
        initializer=inner.initializer,
    )


def _rows(name: str, classes: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", classes])


def _constants(rule: CascadeRule) -> list[TensorProto]:
    floats = {
        "first_temperature": rule.first_temperature,
        "second_temperature": rule.second_temperature,
        "sure_above": rule.sure_above,
        "log_2": math.log(2),
    }
    return [
        *(
            numpy_helper.from_array(np.array(value, np.float32), name)
            for name, value in floats.items()
        ),
        numpy_helper.from_array(np.array([1], np.int64), "axis_1"),
        numpy_helper.from_array(np.array(0, np.int64), "none"),
    ]
