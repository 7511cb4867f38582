"""The model files that the contestants run: the bundled one and the workshop's.

The workshop's model is a float32 MobileNetV2 with the bundled model's classes and an input of 224
pixels, exported from seeded weights. Time does not depend on the weights' values as long as
activations keep a usual scale (denormal numbers would be slow), so the batch-norm statistics are
taken from drawn pictures.
"""

import hashlib
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from benchmarks.harness.photos import pictures
from benchmarks.harness.rounds import ROOT
from serving.model.classifier import Classifier
from serving.model.contract import Contract
from train.config import NetworkConfig
from train.export.explanation import hide
from train.export.onnx import write_onnx
from train.networks.transfer import Network, build

BUNDLED = ROOT / "model" / "classifier.onnx"
CACHE = ROOT / ".cache" / "benchmarks"
_BACKBONE, _PX = "mobilenet_v2", 224


def prepare() -> dict[str, Any]:
    """The files that contestants load. The workshop's are made once and cached.

    Returns:
        What contestants take: "bundled", "workshop" and "workshop_weights" are files, "bare" is the
        bundled one without what explains answers, which OpenVINO would copy each time; "classes"
        are the class names, "px" the bundled model's height and width.
    """
    contract = Classifier.load(BUNDLED).contract
    folder = CACHE / _key()
    folder.mkdir(parents=True, exist_ok=True)
    workshop, weights = folder / "workshop.onnx", folder / "workshop.pt"
    bare = folder / "bare.onnx"
    _write_bare(BUNDLED, bare)
    if not (workshop.is_file() and weights.is_file()):
        print("Making the workshop's model, once …", flush=True)
        draft = folder / "draft.onnx"  # renamed when complete
        write_workshop(draft)
        draft.with_suffix(".pt").replace(weights)
        draft.replace(workshop)
    return {
        "bundled": str(BUNDLED),
        "bare": str(bare),
        "workshop": str(workshop),
        "workshop_weights": str(weights),
        "classes": list(contract.classes),
        "px": contract.preprocess.height_px,
    }


def write_workshop(path: Path) -> None:
    """Write the float32 file of the workshop's handler, and its weights for torch beside it."""
    contract = _workshop_contract()
    network = _seeded_network(contract)
    write_onnx(network, contract, path)
    _write_bare(path, path)
    torch.save(network.state_dict(), path.with_suffix(".pt"))


def _write_bare(source: Path, target: Path) -> None:
    """Write a model file without the outputs that explain its answers."""
    model = onnx.load(str(source))
    hide(model)
    onnx.save(model, str(target))


def is_quantized(path: Path) -> bool:
    """Whether a model file is int8: it has DequantizeLinear nodes."""
    return any(node.op_type == "DequantizeLinear" for node in onnx.load(str(path)).graph.node)


def _seeded_network(contract: Contract) -> Network:
    """The workshop's network with seeded weights, whose activations have a usual scale."""
    torch.manual_seed(0)
    config = NetworkConfig(_BACKBONE, weights="none", train_backbone=True)
    network = build(config, len(contract.classes))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # the running statistics become those of one batch
    with torch.inference_mode():
        network.train()(torch.from_numpy(pictures(contract, 8)))
    return network.eval()


def _workshop_contract() -> Contract:
    """The bundled model's contract with the workshop's input size."""
    bundled = Classifier.load(BUNDLED).contract
    spec = replace(bundled.preprocess, height_px=_PX, width_px=_PX)
    return replace(bundled, preprocess=spec, name="benchmark")


def _key() -> str:
    """What the files depend on: the bundled model, and the code and libraries that make them."""
    parts = [BUNDLED.read_bytes(), Path(__file__).read_bytes()]
    parts += [f"{name} {version(name)}".encode() for name in ("torch", "onnx", "onnxruntime")]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
