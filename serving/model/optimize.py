"""Replace a model file by what ONNX Runtime's optimiser makes of it.

    python -m serving.model.optimize model/classifier.onnx

The image's build runs this, so that no cold start repeats the work. The result is meant for the
ONNX Runtime version that wrote it; keep, evaluate and bundle the original. A file beside the model
names the original, whose hash stays the model's version (serving/model/origin.py).

Refused: a model that cannot be served, and one that would answer differently afterwards.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from serving.errors import ContractError
from serving.model import origin
from serving.model.classifier import Classifier, session_options

_BATCH = 2
_TOLERANCE = 1e-4  # in logits; the int8 and float32 models that were tried did not differ at all


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
    # The next level, ORT_ENABLE_ALL, makes a file for one kind of processor.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(made)
    try:
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        origin.write(made, model.version.removeprefix("sha256:"))
        _check(made, model)
        # In this order, an interruption leaves a record that does not fit, which is refused.
        origin.path_of(made).replace(origin.path_of(path))
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)
        origin.path_of(made).unlink(missing_ok=True)


def _check(made: Path, model: Classifier) -> None:
    spec = model.contract.preprocess
    noise = np.random.default_rng(0).normal(size=(_BATCH, 3, spec.height_px, spec.width_px))
    batch = noise.astype(np.float32)  # about as far from 0 as normalised photos
    optimized = Classifier.load(made)
    off_by = np.abs(optimized.logits(batch) - model.logits(batch)).max()
    if not off_by <= _TOLERANCE or optimized.version != model.version:
        raise ContractError(
            f"The optimised {made.name} answers differently: logits differ by {off_by}."
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Optimise the model that the command line names; exit with 1 if that is not possible."""
    parser = argparse.ArgumentParser(prog="python -m serving.model.optimize", description=__doc__)
    parser.add_argument("model", type=Path, help="the file to replace")
    try:
        optimize(parser.parse_args(arguments).model)
    except ContractError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
