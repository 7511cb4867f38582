"""An ONNX model in, the same model with the outputs that explain its answers out.

They are tensors that the model has anyway: the feature map (N, F, h, w), and the head's weight
(C, F) and bias (C,). They explain exactly (serving/model/explanation.py) where the logits are one
linear layer in float32 of the feature map's mean over its positions. That is read off the graph, so
it is true of the file as it is, whichever backbone it was exported from.
"""

from collections.abc import Mapping

import onnx
from onnx import TensorProto, helper, numpy_helper

_NO_MEAN = "its backbone does not end in the mean of a feature map over its positions"
_MORE_LAYERS = "its head has an inner layer, or its backbone has one after the pooling"
_OTHER_HEAD = "its last layer is not one linear layer in float32"

_RESHAPING = ("Reshape", "Flatten", "Squeeze", "Identity", "Dropout")  # same numbers, same order
_LINEAR = ("Gemm", "MatMul", "Conv")
_EXPLAINING = 3


def expose(model: onnx.ModelProto) -> str:
    """Add the outputs, or return why the model cannot have them; "" if it has them."""
    hide(model)
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    head = makers[graph.output[0].name]
    if head.op_type != "Gemm" or not _is_plain(head, constants):
        return _OTHER_HEAD
    pooling = makers.get(head.input[0])
    while pooling is not None and pooling.op_type in _RESHAPING:
        pooling = makers.get(pooling.input[0])
    if pooling is None or not _is_mean(pooling, constants):
        return _MORE_LAYERS if _follows_a_layer(pooling, makers) else _NO_MEAN
    weight, bias = (constants[name] for name in head.input[1:3])
    features = pooling.input[0]
    shapes = {
        features: ["N", weight.dims[1], "height", "width"],
        weight.name: weight.dims,
        bias.name: bias.dims,
    }
    described = [value for value in graph.value_info if value.name == features]
    for value in described:  # an output is described once
        graph.value_info.remove(value)
    graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    )
    return ""


def hide(model: onnx.ModelProto) -> None:
    """Remove the outputs that `expose` added; nothing if there are none."""
    constants = {tensor.name for tensor in model.graph.initializer}
    if model.graph.output[-1].name in constants:
        del model.graph.output[-_EXPLAINING:]


def _is_plain(head: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> bool:
    """Whether a Gemm is (N, F) times a float32 (C, F), transposed, plus a bias."""
    set_to = {each.name: helper.get_attribute_value(each) for each in head.attribute}
    tensors = [constants[name] for name in head.input[1:] if name in constants]
    return (
        len(tensors) == 2
        and all(tensor.data_type == TensorProto.FLOAT for tensor in tensors)
        and (set_to.get("transA", 0), set_to.get("transB", 0)) == (0, 1)
        and (set_to.get("alpha", 1.0), set_to.get("beta", 1.0)) == (1.0, 1.0)
    )


def _is_mean(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> bool:
    """Whether a node is the mean of (N, F, h, w) over h and w."""
    if node.op_type == "GlobalAveragePool":
        return True
    if node.op_type != "ReduceMean" or len(node.input) < 2 or node.input[1] not in constants:
        return False
    axes = numpy_helper.to_array(constants[node.input[1]]).tolist()
    return sorted(axes) in ([2, 3], [-2, -1])


def _follows_a_layer(node: onnx.NodeProto | None, makers: Mapping[str, onnx.NodeProto]) -> bool:
    """Whether a layer of matrices, and no convolution, is the nearest layer before a node."""
    while node is not None and node.op_type not in _LINEAR:
        node = next((makers[name] for name in node.input if name in makers), None)
    return node is not None and node.op_type != "Conv"
