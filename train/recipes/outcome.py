"""A bundled run in, the final table of a build out: accuracy, time and size of its files.

The float32 file, and the int8 file if one passed the gate, are measured on validation and test.
"""

import time
from functools import partial
from pathlib import Path
from typing import Any

from serving.model.classifier import Classifier
from serving.model.preprocess import normalize
from train.evaluate.inference import medians_in_turns, split_logits
from train.evaluate.metrics import wilson_interval
from train.export.gate import INT8_FILE
from train.export.onnx import ONNX_FILE
from train.photos.manifest import Manifest
from train.photos.pixels import cached_pixels
from train.photos.splits import labelled_split
from train.recipes.photos import TEST
from train.recipes.steps import Place

MEASURED = ("validation", TEST)


def measure(run: Path, place: Place, *, int8: bool) -> list[dict[str, Any]]:
    """A row for each of the run's files, as JSON values; the last one is the bundled file's."""
    files = {"float32": run / ONNX_FILE} | ({"int8": run / INT8_FILE} if int8 else {})
    models = {name: Classifier.load(file) for name, file in files.items()}
    classes = models["float32"].contract.classes
    splits = {
        split: labelled_split(place.data, split, place.cache, classes)
        for split in MEASURED
        if (place.data / split).is_dir()
    }
    times_s = _times(list(models.values()), splits["validation"], place.cache)
    return [
        {
            "model": name,
            "right": {split: _right(model, photos, place) for split, photos in splits.items()},
            "ms": 1e3 * seconds,
            "mb": files[name].stat().st_size / 1e6,
        }
        for (name, model), seconds in zip(models.items(), times_s, strict=True)
    ]


def _right(model: Classifier, photos: Manifest, place: Place) -> list[int]:
    """The number of photos that the model classifies correctly, and the number of photos."""
    predicted = split_logits(model, photos, place.cache).argmax(axis=1)
    return [int((predicted == photos.labels()).sum()), len(photos.photos)]


def _times(models: list[Classifier], photos: Manifest, cache: Path) -> list[float]:
    """Each model's processor time for one photo in one thread, in seconds."""
    inferences = []
    for model in models:
        spec = model.contract.preprocess
        batch = normalize(cached_pixels(photos, spec, cache)[:1], spec)  # (1, 3, px, px)
        inferences.append(partial(model.logits, batch))
    return medians_in_turns(inferences, time.thread_time)


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
