"""The model files that the contestants run, made from the bundled one or from a seeded network.

The workshop's model is a MobileNetV2 of the same classes with a float32 input of 224, exported from
a network without pretrained weights: time does not depend on their values, as long as activations
keep their scale, which batch-norm statistics fitted to drawn pictures see to. (Activations that
fade into denormal numbers would be slow.) For the comparison of inference alone, every runtime gets
the bundled model's own weights and input size, in the form that it takes.
"""

import hashlib
import json
import logging
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from benchmarks import litert, photos
from benchmarks.rounds import ROOT
from serving.classifier import Classifier
from serving.contract import METADATA_KEY, Contract
from serving.preprocess import Preprocessor
from train import efficientnet_lite
from train.config import NetworkConfig
from train.export import write_onnx
from train.network import Network, build

BUNDLED = ROOT / "model" / "classifier.onnx"
CACHE = ROOT / ".cache" / "benchmarks"
WORKSHOP_PX = 224
BACKBONES = ("mobilenet_v2", *efficientnet_lite.NAMES)
"""Of which the bundled model may be for the runtimes to be compared on its weights."""
_CALIBRATION_PICTURES = 32
_LEAST_CORRELATION = 0.99


def prepare(*, runtimes: bool = False) -> dict[str, Any]:
    """The files that contestants load, made where they are not there yet: minutes at first.

    Args:
        runtimes: also those for the comparison of inference alone.

    Returns:
        What `benchmarks.contestants` takes. A file that cannot be made is missing, and
        "no NAME" says why.
    """
    contract = Classifier.load(BUNDLED).contract
    folder = CACHE / _key()
    folder.mkdir(parents=True, exist_ok=True)
    workshop, weights = folder / "workshop.onnx", folder / "workshop.pt"
    if not (workshop.is_file() and weights.is_file()):
        print("Making the workshop's model, once …", flush=True)
        draft = folder / "draft.onnx"  # so that none is there by half
        write_workshop(draft)
        draft.with_suffix(".pt").replace(weights)
        draft.replace(workshop)
    files: dict[str, Any] = {
        "bundled": str(BUNDLED),
        "workshop": str(workshop),
        "workshop_weights": str(weights),
        "classes": list(contract.classes),
        "px": contract.preprocess.height_px,
    }
    if runtimes:
        for name, write in (("float", write_float), ("int8", write_int8), ("tflite", write_tflite)):
            path = folder / f"{name}.{'tflite' if name == 'tflite' else 'onnx'}"
            try:
                if not path.is_file():
                    print(f"Making {path.name}, once …", flush=True)
                    draft = path.with_stem("draft")
                    write(BUNDLED, draft)
                    draft.replace(path)
                files[name] = str(path)
            except Exception as error:  # noqa: BLE001 - what cannot be made is a row, not a crash
                files[f"no {name}"] = f"{type(error).__name__}: {str(error)[:200]}"
    return files


def _key() -> str:
    """What the files depend on: the bundled model, and the code and libraries that make them."""
    parts = [BUNDLED.read_bytes(), Path(__file__).read_bytes()]
    parts += [f"{name} {version(name)}".encode() for name in ("torch", "onnx", "onnxruntime")]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def is_quantized(path: Path) -> bool:
    """Whether a model file holds int8 weights between QuantizeLinear and DequantizeLinear."""
    return any(node.op_type == "DequantizeLinear" for node in onnx.load(str(path)).graph.node)


def seeded_network(classes: int, px: int, backbone: str = "mobilenet_v2") -> Network:
    """A network with seeded weights whose activations have the scale of a trained one's."""
    torch.manual_seed(0)
    network = build(NetworkConfig(backbone, weights="none", train_backbone=True), classes)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0  # the running statistics become those of one batch
    with torch.inference_mode():
        network.train()(torch.from_numpy(pictures(Contract("", (), _spec(px)), 8)))
    return network.eval()


def write_workshop(path: Path) -> None:
    """The float32 MobileNetV2 of the workshop's handler, and its TorchScript weights beside it."""
    bundled = Classifier.load(BUNDLED).contract
    contract = replace(bundled, preprocess=_spec(WORKSHOP_PX), name="workshop")
    network = seeded_network(len(bundled.classes), WORKSHOP_PX)
    write_onnx(network, contract, path)
    torch.save(network.state_dict(), path.with_suffix(".pt"))


def network_of(path: Path) -> Network:
    """The torch network that a model file was exported from, as far as its arithmetic goes.

    The exporter folds batch-norm into the convolutions. Here each convolution takes the folded
    weights and the batch-norm after it adds the bias alone, so the network has a checkpoint's
    layers and the file's answers. int8 weights are dequantised.

    Raises:
        ValueError: the file is none of `BACKBONES`, or the network does not answer as it does.
    """
    classifier = Classifier.load(path)
    weights = list(_layer_weights(onnx.load(str(path))))
    network = _network_of_shapes([w.shape for w, _ in weights], len(classifier.contract.classes))
    if network is None:
        raise ValueError(f"{path.name} is a network of none of {', '.join(BACKBONES)}")
    norms = iter([m for m in network.modules() if isinstance(m, nn.BatchNorm2d)])
    with torch.no_grad():
        for layer, (weight, bias) in zip(_layers(network), weights, strict=True):
            layer.weight.copy_(torch.from_numpy(weight.copy()))
            if isinstance(layer, nn.Linear):
                layer.bias.copy_(torch.from_numpy(bias.copy()))
            else:
                norm = next(norms)
                norm.running_var.fill_(1 - norm.eps)  # type: ignore[union-attr]
                norm.bias.copy_(torch.from_numpy(bias.copy()))
    _require_same_answers(network, classifier)
    return network


def _network_of_shapes(shapes: list[tuple[int, ...]], classes: int) -> Network | None:
    """The network whose layers have weights of these shapes, with any weights."""
    for backbone in BACKBONES:
        network = build(NetworkConfig(backbone=backbone, weights="none"), classes).eval()
        if [tuple(layer.weight.shape) for layer in _layers(network)] == shapes:
            return network
    return None


def _layers(network: Network) -> list[nn.Conv2d | nn.Linear]:
    return [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def _require_same_answers(network: Network, classifier: Classifier) -> None:
    batch = pictures(classifier.contract, 8)
    with torch.inference_mode():
        theirs = network(torch.from_numpy(batch)).numpy()
    ours = np.concatenate([classifier.logits(one[None]) for one in batch])
    correlation = float(np.corrcoef(theirs.ravel(), ours.ravel())[0, 1])
    if not correlation > _LEAST_CORRELATION:
        raise ValueError(f"torch's logits correlate by {correlation:.3f} alone with the file's")


def _layer_weights(model: Any) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Weight and bias of each convolution and of the linear layer, in the order of the graph."""
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
            yield weight, np.asarray(bias, np.float32)


def write_float(source: Path, path: Path) -> None:
    """The float32 file of the same weights: the source itself, or its network exported."""
    if is_quantized(source):
        write_onnx(network_of(source), Classifier.load(source).contract, path)
    else:
        path.write_bytes(source.read_bytes())


def write_int8(source: Path, path: Path) -> None:
    """The int8 file of the same weights: the source itself, or quantised here and now.

    Static, QDQ, per channel, weights of 7 bits: without VNNI, 8 bits would overflow the 16-bit sums
    of x86-64's older instructions (ONNX Runtime's documentation on quantization). Calibrated on
    drawn pictures, so its accuracy is nothing to go by; its time is.
    """
    if is_quantized(source):
        path.write_bytes(source.read_bytes())
        return
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    contract = Classifier.load(source).contract

    class Pictures(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._name = onnx.load(str(source)).graph.input[0].name
            self._left = iter(pictures(contract, _CALIBRATION_PICTURES))

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            one = next(self._left, None)
            return None if one is None else {self._name: one[None]}

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        _quietly(quant_pre_process, str(source), str(prepared), skip_symbolic_shape=True)
        _quietly(
            quantize_static,
            str(prepared),
            str(path),
            Pictures(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(contract.to_json())})
    onnx.save(model, str(path))


def write_tflite(source: Path, path: Path) -> None:
    """The int8 file of the same weights for LiteRT; raises RuntimeError if there is none."""
    reason = litert.convert(source, path)
    if reason is not None:
        raise RuntimeError(reason)


def _quietly(call: Any, *arguments: Any, **options: Any) -> None:
    """Call a library that logs advice on the root logger."""
    logging.disable(logging.WARNING)
    try:
        call(*arguments, **options)
    finally:
        logging.disable(logging.NOTSET)


def pictures(contract: Contract, count: int) -> NDArray[np.float32]:
    """(count, 3, H, W) float32: drawn pictures as the network's input."""
    preprocess = Preprocessor(contract.preprocess)
    return np.concatenate([preprocess(photos.draw(300, 400, seed=n)) for n in range(count)])


def _spec(px: int) -> Any:
    spec = Classifier.load(BUNDLED).contract.preprocess
    return replace(spec, height_px=px, width_px=px)
