"""The model files that the contestants run: the bundled one, and others of the same architecture.

The workshop's model is a MobileNetV2 of the same classes with a float32 input of 224. It, and the
files of the runtimes that do not take the bundled int8 file, are exported from a seeded network:
time does not depend on the weights' values as long as activations keep their scale, which
batch-norm statistics of drawn pictures give them. (Activations that fade into denormal numbers
would be slow.) A bundled model of another architecture is refused.
"""

import hashlib
import json
import logging
import tempfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks import litert
from benchmarks.photos import pictures
from benchmarks.rounds import ROOT
from serving.model.classifier import Classifier
from serving.model.contract import METADATA_KEY, Contract
from train.config import NetworkConfig
from train.export.onnx import write_onnx
from train.networks.transfer import Network, build

BUNDLED = ROOT / "model" / "classifier.onnx"
CACHE = ROOT / ".cache" / "benchmarks"
BACKBONE = "mobilenet_v2"  # the bundled model's
WORKSHOP_PX = 224
_CALIBRATION_PICTURES = 32


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
        for name, write in _RUNTIME_FILES.items():
            path = folder / f"{name}.{'tflite' if name == 'tflite' else 'onnx'}"
            try:
                if not path.is_file():
                    print(f"Making {path.name}, once …", flush=True)
                    draft = path.with_stem("draft")
                    write(draft)
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


def seeded_network(px: int) -> Network:
    """The bundled model's network with seeded weights, whose activations have a usual scale."""
    torch.manual_seed(0)
    classes = len(Classifier.load(BUNDLED).contract.classes)
    network = build(NetworkConfig(BACKBONE, weights="none", train_backbone=True), classes)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0  # the running statistics become those of one batch
    with torch.inference_mode():
        network.train()(torch.from_numpy(pictures(_contract(px), 8)))
    return network.eval()


def write_workshop(path: Path) -> None:
    """The float32 file of the workshop's handler, and its weights for torch beside it."""
    network = seeded_network(WORKSHOP_PX)
    write_onnx(network, _contract(WORKSHOP_PX), path)
    torch.save(network.state_dict(), path.with_suffix(".pt"))


def write_float(path: Path) -> None:
    """A float32 file with the bundled model's layers and input size.

    Raises:
        ValueError: the bundled model has other layers than BACKBONE.
    """
    px = Classifier.load(BUNDLED).contract.preprocess.height_px
    write_onnx(seeded_network(px), _contract(px), path)
    if _convolutions(path) != _convolutions(BUNDLED):
        raise ValueError(f"the bundled model is not a {BACKBONE}: change BACKBONE in {__name__}")


def _convolutions(path: Path) -> list[tuple[int, ...]]:
    """The shapes of a file's convolution weights, sorted."""
    shapes = (tuple(one.dims) for one in onnx.load(str(path)).graph.initializer)
    return sorted(shape for shape in shapes if len(shape) == 4)


def write_int8(path: Path) -> None:
    """The bundled file where it is int8, else the bundled network quantised here and now.

    Static, QDQ, per channel, weights of 7 bits: without VNNI, 8 bits would overflow the 16-bit sums
    of x86-64's older instructions (ONNX Runtime's documentation on quantization). Calibrated on
    drawn pictures, so its accuracy is nothing to go by; its time is.
    """
    source = BUNDLED
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


def write_tflite(path: Path) -> None:
    """An int8 file with the same layers for LiteRT; raises RuntimeError if there is none."""
    reason = litert.convert(Classifier.load(BUNDLED).contract.preprocess.height_px, path)
    if reason is not None:
        raise RuntimeError(reason)


_RUNTIME_FILES = {"float": write_float, "int8": write_int8, "tflite": write_tflite}
"""What the runtimes load, by the name that they know it by."""


def _quietly(call: Any, *arguments: Any, **options: Any) -> None:
    """Call a library that logs advice on the root logger."""
    logging.disable(logging.WARNING)
    try:
        call(*arguments, **options)
    finally:
        logging.disable(logging.NOTSET)


def _contract(px: int) -> Contract:
    """The bundled model's contract with an input of another size."""
    bundled = Classifier.load(BUNDLED).contract
    spec = replace(bundled.preprocess, height_px=px, width_px=px)
    return replace(bundled, preprocess=spec, name="benchmark")
