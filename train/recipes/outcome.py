"""A bundled run in, the final table of a build out: accuracy, time and size of its files.

Accuracies come from the bundle's report; only the time is measured here.
"""

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from serving.model.classifier import Classifier
from train.evaluate.inference import medians_in_turns
from train.evaluate.metrics import wilson_interval
from train.evaluate.verb import REPORT_JSON
from train.export.gate import INT8_FILE
from train.export.onnx import ONNX_FILE
from train.files import read_json
from train.recipes.steps import Place


def measure(run: Path, place: Place, *, int8: bool) -> list[dict[str, Any]]:
    """A row for each of the run's files, as JSON values; the last one is the bundled file's."""
    files = {"float32": run / ONNX_FILE} | ({"int8": run / INT8_FILE} if int8 else {})
    right = _right(read_json(place.model / REPORT_JSON))
    times_s = _times([Classifier.load(file) for file in files.values()])
    return [
        {
            "model": name,
            "right": right[name],
            "ms": 1e3 * seconds,
            "mb": file.stat().st_size / 1e6,
        }
        for (name, file), seconds in zip(files.items(), times_s, strict=True)
    ]


def _right(report: dict[str, Any]) -> dict[str, dict[str, list[int]]]:
    """The photos that each file classifies correctly, and the number of photos, by split."""
    bundled = {
        name: [split["correct"], split["photos"]] for name, split in report["splits"].items()
    }
    if "int8" not in report:
        return {"float32": bundled}
    float32 = {
        name: [split["float32_correct"], split["photos"]]
        for name, split in report["int8"]["splits"].items()
    }
    return {"float32": float32, "int8": bundled}


def _times(models: list[Classifier]) -> list[float]:
    """Each model's processor time for one photo in one thread, in seconds."""
    spec = models[0].contract.preprocess
    noise = np.random.default_rng(0).normal(size=(1, 3, spec.height_px, spec.width_px))
    batch = noise.astype(np.float32)
    return medians_in_turns([partial(model.logits, batch) for model in models], time.thread_time)


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    splits = list(rows[0]["right"])
    head = ["model", *(f"right on {split} (95 % interval)" for split in splits), "ms", "MB"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        name = row["model"] + (", bundled" if row is rows[-1] else "")
        right = [_share(*row["right"][split]) for split in splits]
        lines.append([name, *right, f"{row['ms']:.1f}", f"{row['mb']:.1f}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _share(right: int, photos: int) -> str:
    low, high = wilson_interval(right, photos)
    return f"{right} of {photos}, {right / photos:.1%} ({low:.1%} to {high:.1%})"


def duration(seconds: float) -> str:
    """A duration as text."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
