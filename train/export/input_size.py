"""The verb `frontier`: input sizes in, loss against time out, to choose the size to serve at.

The sizes are compared on photos that the run was not trained on (validation, or its held-out
share), as ONNX files through serving's preprocessing, each at its best temperature. The choice is
the smallest size whose loss is within one standard error of the lowest, photo by photo (Breiman et
al. 1984 chose the size of a tree by this rule).
"""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray

from serving.model.classifier import Classifier
from serving.model.preprocess import normalize
from train.config import require_px
from train.errors import require
from train.evaluate.calibration import fit_temperature
from train.evaluate.inference import Clock, contract_of, medians_in_turns, split_logits
from train.evaluate.metrics import photo_losses
from train.export.onnx import write_onnx
from train.files import write_json
from train.photos.manifest import Labels, Manifest
from train.photos.pixels import cached_pixels
from train.runs.model import TrainedModel, load_model
from train.runs.photos import unseen_photos

FRONTIER_FILE = "frontier.json"


@dataclass(frozen=True, slots=True)
class FrontierConfig:
    """Compare input sizes of a run by loss and by time."""

    run: tyro.conf.Positional[Path]
    """Folder of the run. Sizes are compared on validation, or on the run's held-out share."""
    sizes: tuple[int, ...] = (160, 192, 224, 256)
    """Input heights and widths to compare, in pixels."""
    data: Path | None = None
    """Folder of the photos; the run's own if not given."""
    cache: Path = Path(".cache/photos")
    """Folder of decoded photos; safe to delete."""

    def __post_init__(self) -> None:
        """Raise UsageError for sizes that no network supports, or that are given twice."""
        require(bool(self.sizes), "--sizes", "at least one number", "none")
        require_px("--sizes", min(self.sizes))
        require(len(set(self.sizes)) == len(self.sizes), "--sizes", "each number once", self.sizes)


@dataclass(frozen=True, slots=True)
class Point:
    """A network at one input size.

    Attributes:
        loss: mean cross-entropy of the photos, at `temperature`.
        behind, behind_error: the loss minus the lowest loss, and its standard error over photos;
            0 for the lowest, and the error is 0 if there is only one photo.
        time_ratio: processor time of one photo divided by the largest size's; one thread, median.
    """

    input_px: int
    photos: int
    correct: int
    temperature: float
    loss: float
    behind: float
    behind_error: float
    time_ratio: float


def frontier(config: FrontierConfig) -> None:
    """Measure, print the table and the choice, and write RUN/frontier.json.

    Raises:
        UsageError: there are no photos to compare on.
    """
    trained = load_model(config.run)
    photos = unseen_photos(trained, config.run, config.cache, config.data)
    with tempfile.TemporaryDirectory() as folder:
        served = {px: _served(trained, px, Path(folder)) for px in sorted(config.sizes)}
        logits = {px: split_logits(model, photos, config.cache) for px, model in served.items()}
        ratios = time_ratios(served, photos, config.cache, time.thread_time)
    points = compare(logits, photos.labels(), ratios)
    choice = chosen(points)
    written = {"chosen_px": choice.input_px, "points": [asdict(point) for point in points]}
    write_json(config.run / FRONTIER_FILE, written)
    print(table(points))
    print(
        f"\nThe smallest within one standard error of the lowest loss: {choice.input_px} pixels. "
        f"The figures are in {config.run / FRONTIER_FILE}"
    )


def _served(trained: TrainedModel, input_px: int, folder: Path) -> Classifier:
    file = folder / f"{input_px}.onnx"
    write_onnx(trained.network, contract_of(trained, input_px), file)
    return Classifier.load(file)


def time_ratios(
    served: Mapping[int, Classifier], photos: Manifest, cache: Path, clock: Clock
) -> dict[int, float]:
    """Each size's median time for one photo divided by the largest size's, all taking turns."""
    inferences = []
    for model in served.values():
        spec = model.contract.preprocess
        batch = normalize(cached_pixels(photos, spec, cache)[:1], spec)  # (1, 3, px, px)
        inferences.append(partial(model.logits, batch))
    medians = dict(zip(served, medians_in_turns(inferences, clock), strict=True))
    return {px: middle / medians[max(served)] for px, middle in medians.items()}


def compare(
    logits: Mapping[int, NDArray[np.float32]], labels: Labels, ratios: Mapping[int, float]
) -> list[Point]:
    """One point for each size, in ascending order, from (N, C) logits of the same N photos."""
    sizes = sorted(logits)
    temperatures = {px: fit_temperature(logits[px].astype(np.float64), labels) for px in sizes}
    losses = {
        px: photo_losses(logits[px].astype(np.float64) / temperatures[px], labels) for px in sizes
    }
    best = min(sizes, key=lambda px: float(losses[px].mean()))
    points = []
    for px in sizes:
        behind = losses[px] - losses[best]  # (N,)
        points.append(
            Point(
                input_px=px,
                photos=len(labels),
                correct=int((logits[px].argmax(axis=1) == labels).sum()),
                temperature=temperatures[px],
                loss=float(losses[px].mean()),
                behind=float(behind.mean()),
                behind_error=_standard_error(behind),
                time_ratio=ratios[px],
            )
        )
    return points


def _standard_error(differences: NDArray[np.float64]) -> float:
    """Of the mean of (N,) differences; 0 for a single one, which has no standard error."""
    count = len(differences)
    return float(differences.std(ddof=1) / np.sqrt(count)) if count > 1 else 0.0


def chosen(points: Sequence[Point]) -> Point:
    """The smallest input within one standard error of the lowest loss."""
    near = [p for p in points if p.behind == 0 or p.behind <= p.behind_error]
    return min(near, key=lambda point: point.input_px)


def table(points: Sequence[Point]) -> str:
    """The points as a Markdown table."""
    lines = [
        "| input, pixels | right | loss at the best temperature "
        "| above the lowest (standard error) | time |",
        "| --- | --- | --- | --- | --- |",
    ]
    for point in points:
        behind = f"{point.behind:.3f} ({point.behind_error:.3f})" if point.behind else "lowest"
        lines.append(
            f"| {point.input_px} | {point.correct} of {point.photos} | {point.loss:.3f} "
            f"| {behind} | {point.time_ratio:.2f} |"
        )
    return "\n".join(lines)
