"""A quantised run in; the int8 file that passed the gate, and what a report says of it, out."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.classifier import Classifier
from train.data import Labels
from train.errors import UsageError
from train.metrics import wilson_interval
from train.runs import read_json

INT8_FILE, QUANTIZE_JSON = "classifier.int8.onnx", "quantize.json"
SECOND_INT8_FILE = "second.int8.onnx"
"""A cascade's second network; the first one's contract names it and its hash."""


def gated_file(run: Path, float32_version: str) -> Path:
    """The run's int8 file.

    Raises:
        UsageError: there is none, it is not the file that passed the gate, or it was made of
            another float32 file than the run's present one.
    """
    int8 = run / INT8_FILE
    remedy = "python -m train quantize RUN"
    if not int8.is_file() or not (run / QUANTIZE_JSON).is_file():
        raise UsageError(f"{int8} is missing: write it first, {remedy}; or ship float32.")
    record = read_json(run / QUANTIZE_JSON)
    if record.get("float32") != float32_version:
        raise UsageError(f"{int8} was made of another export of {run}: write it again, {remedy}.")
    if record.get("int8") != Classifier.load(int8).version:
        raise UsageError(f"{int8} is not the file that passed the gate: write it again, {remedy}.")
    return int8


def int8_figures(
    run: Path, before: NDArray[np.float32], after: NDArray[np.float32], labels: Labels
) -> dict[str, Any]:
    """What a report says beside int8's own figures: float32's, agreement, and what was gated.

    Args:
        before, after: (N, C) logits of the float32 and of the int8 file for the split's photos.
    """
    record = read_json(run / QUANTIZE_JSON)
    passed = record["run"][-1]
    recipe = {name: passed[name] for name in ("method", "weights", "float_first")}
    by_candidates = next(c for c in record["candidates"] if recipe.items() <= c.items())
    agreed = int((before.argmax(axis=1) == after.argmax(axis=1)).sum())
    correct = int((before.argmax(axis=1) == labels).sum())
    return {
        "recipe": recipe,
        "photos": len(labels),
        "agreed": agreed,
        "agreement": agreed / len(labels),
        "agreement_interval_95": list(wilson_interval(agreed, len(labels))),
        "float32_correct": correct,
        "float32_accuracy": correct / len(labels),
        "float32_accuracy_interval_95": list(wilson_interval(correct, len(labels))),
        "gate": {
            "limits": record["limits"],
            "photos": record["photos"],
            "candidate": by_candidates,
            "run": passed,
            "second": record.get("second"),
        },
    }
