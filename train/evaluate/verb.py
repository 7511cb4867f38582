"""The verb `evaluate`: a model and a split in, a report out.

OUT/report.json is for programs, OUT/report.md and OUT/report.html for people, with pictures as PNG
files beside them.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray

from serving.model.classifier import Classifier, calibrated
from serving.model.contract import Contract
from train.config import require_px
from train.errors import UsageError, require
from train.evaluate import metrics, plots, report
from train.evaluate.inference import Model, open_model, split_logits
from train.evaluate.plots import Picture
from train.evaluate.report import Mistake
from train.files import read_json, require_writable, write_bytes, write_json
from train.photos.manifest import Manifest
from train.photos.splits import labelled_split
from train.reading import DataConfig
from train.runs.folder import RECORD
from train.runs.model import load_model
from train.runs.photos import HOLDOUT, held_out_photos

REPORT_JSON, REPORT_MD, REPORT_HTML = "report.json", "report.md", "report.html"


@dataclass(frozen=True, slots=True)
class EvaluateConfig:
    """Measure a run or an ONNX file on a split of the photos."""

    model: tyro.conf.Positional[Path]
    """A run's folder, or an ONNX file."""
    data: Path
    """Folder of the photos: CLASS/*.jpg, or SPLIT/CLASS/*.jpg."""
    table: Path | None = None
    """CSV or TSV file with the columns path, label and, if you like, split and group; the run's own
    if not given."""
    group_by: str = ""
    """Regular expression for the group in a photo's path; the run's own if not given."""
    split: str = "validation"
    """The split to measure on; `holdout` is the share that the run kept out of training."""
    input_px: int | None = None
    """Measure a run at another input size than its own."""
    out: Path | None = None
    """Folder for the report; the folder of the run or ONNX file if not given. It must not be a
    bundle's, because the deployment's alarms compare with the report.json there."""
    mistakes: int = 24
    """Number of mistakes in the report, the most confident first."""
    cache: Path = Path(".cache/photos")
    """Folder of decoded photos; safe to delete."""

    def __post_init__(self) -> None:
        require(self.mistakes >= 0, "--mistakes", "a number 0 or more", self.mistakes)
        require_px("--input-px", self.input_px)


def evaluate(config: EvaluateConfig) -> None:
    """Measure, and write the report.

    Raises:
        UsageError: the model or the photos cannot be used, or the folder for the report is not
            writable or is a bundle's.
    """
    out = config.out or (config.model if config.model.is_dir() else config.model.parent)
    require_writable(out, "--out" if config.out else "")
    _refuse_a_bundles(out / REPORT_JSON)
    model = open_model(config.model, config.input_px)
    photos = _photos(config, model)
    logits = split_logits(model, photos, config.cache)
    figures = make_report(model.contract, {config.split: (logits, photos)})
    if isinstance(model, Classifier):
        figures["version"] = model.version
    probabilities = calibrated(logits, model.contract)
    mistakes = confident_mistakes(probabilities, photos, config.mistakes)
    split = figures["splits"][config.split]
    split["mistakes"] = [mistake.to_json() for mistake in mistakes]
    pictures = draw_learning(config.model) + draw_split(split, probabilities, photos)
    write_json(out / REPORT_JSON, figures)
    for picture in pictures:
        write_bytes(out / picture.name, picture.light)
    write_bytes(out / REPORT_MD, report.markdown(figures, config.split, pictures).encode())
    page = report.page(figures, config.split, pictures, mistakes)
    write_bytes(out / REPORT_HTML, page.encode())
    print(report.summary(config.split, split))
    print(f"The report is {out / REPORT_HTML}; its figures for programs are {out / REPORT_JSON}")


def _refuse_a_bundles(report_json: Path) -> None:
    """Raise UsageError for a bundle's report, which the deployment's alarms compare with."""
    try:
        found = read_json(report_json)
    except UsageError:  # it does not exist or is not JSON
        return
    if isinstance(found, dict) and "answers" in found:
        raise UsageError(
            f"{report_json} is a bundle's, and the drift alarms compare with it: give another "
            "folder for this report, --out DIR."
        )


def _photos(config: EvaluateConfig, model: Model) -> Manifest:
    if config.split != HOLDOUT:
        classes = model.contract.classes
        return labelled_split(config.data, config.split, config.cache, classes, _reading(config))
    if not config.model.is_dir():
        raise UsageError(
            "--split holdout is for a run: an ONNX file does not know which photos it is."
        )
    return held_out_photos(load_model(config.model), config.model, config.cache, config.data)


def _reading(config: EvaluateConfig) -> DataConfig:
    """How the photos are read: as the run reads them, unless flags say otherwise."""
    usual = DataConfig(config.data)
    if config.model.is_dir():
        usual = load_model(config.model).config.data
    table, group_by = config.table or usual.table, config.group_by or usual.group_by
    return replace(usual, table=table, group_by=group_by)


def make_report(
    contract: Contract, splits: dict[str, tuple[NDArray[np.float32], Manifest]]
) -> dict[str, Any]:
    """The figures of (N, C) logits on each split's photos, as JSON values."""
    return {
        "model": contract.name,
        "classes": list(contract.classes),
        "manifest_sha256": contract.manifest_sha256,
        "splits": {
            name: metrics.figures(logits, photos.labels(), contract)
            for name, (logits, photos) in splits.items()
        },
    }


def confident_mistakes(
    probabilities: NDArray[np.float64], photos: Manifest, most: int
) -> tuple[Mistake, ...]:
    """At most `most` photos that (N, C) probabilities misclassify, the most confident first."""
    labels, predicted = photos.labels(), probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")][:most]
    return tuple(
        Mistake(
            photo=photos.root / photos.photos[i].path,
            label=photos.photos[i].label,
            predicted=photos.classes[predicted[i]],
            probability=float(confidence[i]),
            label_probability=float(probabilities[i, labels[i]]),
        )
        for i in surest
    )


def draw_learning(model: Path) -> list[Picture]:
    """The learning curves, if the model is a run with its record."""
    if not (model / RECORD).is_file():
        return []
    record = read_json(model / RECORD)
    epochs, chosen_on = record["epochs"], record["photos"]["chosen_on"]
    return [
        plots.picture(
            "report-loss.png",
            "Loss while training",
            "Train is measured during the epoch, on augmented photos; the other line after it. A "
            "widening gap between the two means overfitting.",
            lambda palette: plots.learning_curve(epochs, "loss", chosen_on, palette),
        ),
        plots.picture(
            "report-accuracy.png",
            "Accuracy while training",
            "The share of photos that were classified correctly after each epoch.",
            lambda palette: plots.learning_curve(epochs, "accuracy", chosen_on, palette),
        ),
    ]


def draw_split(
    split: dict[str, Any], probabilities: NDArray[np.float64], photos: Manifest
) -> list[Picture]:
    """The pictures of a split's figures."""
    labels, below = photos.labels(), split["unsure"]["below"]
    return [
        plots.picture(
            "report-confusion.png",
            "Confusion matrix",
            "Each row is a true class, each column a predicted one; the diagonal is correct. A "
            "darker cell is a larger share of its row.",
            lambda palette: plots.confusion(split["confusion"], photos.classes, palette),
        ),
        plots.picture(
            "report-reliability.png",
            "Reliability",
            f"How often answers with a given probability are right. On the dashed line, 80 % means "
            f"80 of 100. The mean distance from it is the calibration error, {split['ece']:.3f}.",
            lambda palette: plots.reliability(split["reliability"], palette),
        ),
        plots.picture(
            "report-recall.png",
            "Recall of each class",
            "The share of each class's photos that was classified correctly, with its 95 % "
            "interval. If two intervals overlap widely, the difference may be chance.",
            lambda palette: plots.recalls(split["per_class"], palette),
        ),
        plots.picture(
            "report-coverage.png",
            "Answers and accuracy by threshold",
            "With a higher threshold, fewer photos are answered and more of the answers are right.",
            lambda palette: plots.coverage(probabilities, labels, below, palette),
        ),
    ]
