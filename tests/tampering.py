"""The bundled model, changed so that it is wrong but raises no error."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from serving.model.contract import METADATA_KEY

Json = dict[str, Any]


def _rewritten(model: onnx.ModelProto, change: Callable[[Json], None]) -> None:
    properties = {p.key: p.value for p in model.metadata_props}
    contract = json.loads(properties[METADATA_KEY])
    change(contract)
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(contract)})


def permute_labels(model: onnx.ModelProto) -> None:
    """Class names in another order than the logits'."""

    def change(contract: Json) -> None:
        contract["classes"] = [*contract["classes"][1:], contract["classes"][0]]

    _rewritten(model, change)


def normalize_otherwise(model: onnx.ModelProto) -> None:
    """Mean and std 0.5 in the place of ImageNet's."""

    def change(contract: Json) -> None:
        contract["preprocess"] |= {"mean": [0.5] * 3, "std": [0.5] * 3}

    _rewritten(model, change)


def add_noise(model: onnx.ModelProto) -> None:
    """Each weight, float32 or int8, off by a hundredth of its tensor's spread."""
    random = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype in (np.float32, np.int8) and values.ndim > 1:
            noisy = values + random.normal(0, 0.01 * values.std(), values.shape)
            if values.dtype == np.int8:
                noisy = np.clip(np.rint(noisy), -127, 127)
            tensor.CopyFrom(numpy_helper.from_array(noisy.astype(values.dtype), tensor.name))


def rewrite_contract_to_match(model: onnx.ModelProto) -> None:
    """Noise on the weights, and a contract that calls its own answers right and itself sure."""
    add_noise(model)

    def change(contract: Json) -> None:
        contract["unsure_below"] = 0.0
        contract["temperature"] *= 0.9
        contract["metrics"] = {"validation_accuracy": 1.0, "golden_difference": 0.0}

    _rewritten(model, change)


TAMPERINGS = {
    "permuted labels": permute_labels,
    "other mean and std": normalize_otherwise,
    "noise on its weights": add_noise,
    "a contract rewritten to match": rewrite_contract_to_match,
}


def write_tampered(source: Path, out: Path, tamper: Callable[[onnx.ModelProto], None]) -> Path:
    """Write the model made wrong."""
    model = onnx.load(str(source))
    tamper(model)
    onnx.save(model, str(out))
    return out
