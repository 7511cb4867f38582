"""A model file in, what ONNX Runtime makes of it in its place: the image's build runs this, so that
a cold start need not do that work again.

    python -m serving.model.optimize model/classifier.onnx

The new file names the one that it was made of, whose hash stays the model's version. It is meant
for the ONNX Runtime that wrote it; the file to keep, judge and bundle is the one that it replaces.
Refused: a model that cannot be served, and one that would answer differently afterwards.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from serving.errors import ContractError
from serving.model.classifier import MADE_FROM_KEY, Classifier, session_options

_BATCH = 2
_TOLERANCE = 1e-4  # of logits; int8 and float32 models that were tried differ by nothing

# onnx.proto3: metadata_props of ModelProto, and the fields of its StringStringEntryProto, each with
# its wire type. Protocol Buffers merge messages that are written one after another.
_METADATA_PROPS, _KEY, _VALUE = (14 << 3 | 2), (1 << 3 | 2), (2 << 3 | 2)


def optimize(path: Path) -> None:
    """Replace a model file by the optimised one.

    Raises:
        ContractError: the model cannot be served, or the optimised one answers differently.
    """
    model = Classifier.load(path)
    if model.is_optimized:
        return
    made = path.with_name(f"{path.name}.optimized")
    options = session_options(threads=1)
    # The next level, all, makes a file for one kind of processor.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(made)
    try:
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        with made.open("ab") as file:
            file.write(_metadata(MADE_FROM_KEY, model.version.removeprefix("sha256:")))
        _check(made, model)
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)


def _metadata(key: str, value: str) -> bytes:
    """One more entry for the end of a model file."""
    entry = _field(_KEY, key.encode()) + _field(_VALUE, value.encode())
    return _field(_METADATA_PROPS, entry)


def _field(tag: int, value: bytes) -> bytes:
    if len(value) > 127:
        raise ValueError("The length of a field is written in one byte.")
    return bytes([tag, len(value)]) + value


def _check(made: Path, model: Classifier) -> None:
    spec = model.contract.preprocess
    noise = np.random.default_rng(0).normal(size=(_BATCH, 3, spec.height_px, spec.width_px))
    batch = noise.astype(np.float32)  # about as far from 0 as normalised photos
    optimized = Classifier.load(made)
    off_by = np.abs(optimized.logits(batch) - model.logits(batch)).max()
    if not off_by <= _TOLERANCE or optimized.version != model.version:
        raise ContractError(f"Optimised, {made.name} answers differently: by {off_by} of a logit.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Optimise the model that the command line names; ends with 1 where it cannot."""
    parser = argparse.ArgumentParser(prog="python -m serving.model.optimize", description=__doc__)
    parser.add_argument("model", type=Path, help="the file to replace")
    try:
        optimize(parser.parse_args(arguments).model)
    except ContractError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
