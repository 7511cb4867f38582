"""The torch network that a model file was exported from, for runtimes that take no ONNX."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from benchmarks.photos import pictures
from serving.model.classifier import Classifier
from train import channels
from train.config import NetworkConfig
from train.errors import UsageError
from train.folding import fold, foldable
from train.network import Network, build

_LEAST_CORRELATION = 0.99
_HEAD = "head"


def network_of(path: Path) -> Network:
    """The torch network that a model file was exported from, as far as its arithmetic goes.

    The exporter folds batch-norm into the convolutions. Here each convolution takes the folded
    weights and the batch-norm after it adds the bias alone, so the network has a checkpoint's
    layers and the file's answers. int8 weights are dequantised.

    Raises:
        ValueError: the file is none of `channels.BACKBONES`, or the network does not answer as it
            does.
    """
    classifier = Classifier.load(path)
    weights = {name: values for name, *values in layer_weights(onnx.load(str(path)))}
    shapes = {name: weight.shape for name, (weight, _) in weights.items()}
    network = _network_of_shapes(shapes, len(classifier.contract.classes))
    if network is None:
        raise ValueError(f"{path.name} is a network of none of {', '.join(channels.BACKBONES)}")
    norms = iter([m for m in network.modules() if isinstance(m, nn.BatchNorm2d)])
    with torch.no_grad():
        for name, layer in _layers(network).items():
            weight, bias = weights[name]
            layer.weight.copy_(torch.from_numpy(weight.copy()))
            if isinstance(layer, nn.Linear):
                layer.bias.copy_(torch.from_numpy(bias.copy()))
            else:
                norm = next(norms)
                norm.running_mean.zero_()  # type: ignore[union-attr]  # folding moves it
                norm.running_var.fill_(1 - norm.eps)  # type: ignore[union-attr]
                norm.bias.copy_(torch.from_numpy(bias.copy()))
    _require_same_answers(network, classifier)
    return network


def _network_of_shapes(shapes: dict[str, tuple[int, ...]], classes: int) -> Network | None:
    """The network whose layers have these names, and weights of these shapes, with any weights; a
    pruned one too, and one of which convolutions were folded.
    """
    for backbone in channels.BACKBONES:
        network = build(NetworkConfig(backbone=backbone, weights="none"), classes).eval()
        if not shapes.keys() <= _layers(network).keys():
            continue
        _narrow(network, shapes, backbone)
        for one, other in foldable(network):
            if one.reader not in shapes:
                fold(network, one, other)
        if {name: tuple(m.weight.shape) for name, m in _layers(network).items()} == shapes:
            return network
    return None


def _narrow(network: Network, shapes: dict[str, tuple[int, ...]], backbone: str) -> None:
    """Leave as many channels inside the blocks as the shapes have, where it has so many."""
    hidden = channels.hidden_channels(network)
    widths = [shapes.get(each.makers[0][0], (0,))[0] for each in hidden]
    with suppress(UsageError):
        channels.narrow(network, widths, backbone)


def _layers(network: Network) -> dict[str, nn.Conv2d | nn.Linear]:
    """By name; the linear layer goes by _HEAD, whatever the layers beside it are."""
    return {
        name if isinstance(module, nn.Conv2d) else _HEAD: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }


def _require_same_answers(network: Network, classifier: Classifier) -> None:
    batch = pictures(classifier.contract, 8)
    with torch.inference_mode():
        theirs = network(torch.from_numpy(batch)).numpy()
    ours = np.concatenate([classifier.logits(one[None]) for one in batch])
    correlation = float(np.corrcoef(theirs.ravel(), ours.ravel())[0, 1])
    if not correlation > _LEAST_CORRELATION:
        raise ValueError(f"torch's logits correlate by {correlation:.3f} alone with the file's")


def layer_weights(
    model: Any,
) -> Iterator[tuple[str, NDArray[np.float32], NDArray[np.float32]]]:
    """Name, weight and bias of each convolution and of the linear layer, in the order of the graph.

    A convolution's name is its module's in the network, which the exporter keeps.
    """
    values = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    made_by = {node.output[0]: node for node in model.graph.node}

    def value(name: str) -> NDArray[np.float32]:
        if name in values:
            return np.asarray(values[name], np.float32)
        node = made_by[name]
        if node.op_type != "DequantizeLinear":
            raise ValueError(f"the weight {name} is computed by {node.op_type}")
        numbers, scale = (values[n] for n in node.input[:2])
        zero = values[node.input[2]] if len(node.input) > 2 else np.zeros_like(scale, np.int8)
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        shape = [-1 if d == axis and scale.size > 1 else 1 for d in range(numbers.ndim)]
        centred = numbers.astype(np.float32) - zero.astype(np.float32).reshape(shape)
        return np.asarray(centred * scale.reshape(shape), np.float32)

    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            weight = value(node.input[1])
            transposed = any(a.name == "transB" and a.i for a in node.attribute)
            if node.op_type == "Gemm" and not transposed:
                weight = np.ascontiguousarray(weight.T)
            bias = value(node.input[2]) if len(node.input) > 2 else np.zeros(len(weight))
            name = _HEAD if node.op_type == "Gemm" else node.input[1].partition(".weight")[0]
            yield name, weight, np.asarray(bias, np.float32)
