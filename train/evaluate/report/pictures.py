"""A report's figures in, its pictures with titles and captions out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.images.decode import decode
from serving.model.classifier import Inference
from serving.model.contract import Contract
from serving.model.explanation import drawn_over, in_grey
from serving.model.familiarity import Familiarity
from serving.model.preprocess import normalize
from train.evaluate.inference import ExplainingModel
from train.evaluate.report import plots
from train.evaluate.report.gallery import ANY_PIXELS, Mistake, data_uri
from train.evaluate.report.plots import Picture
from train.files import read_json
from train.photos.manifest import Manifest
from train.photos.pixels import file_pixels
from train.runs.folder import RECORD
from train.runs.photos import VALIDATION


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


def sets_of_distances(
    known: Familiarity, splits: Mapping[str, Inference], others: Inference | None
) -> dict[str, NDArray[Any]]:
    """(N,) distances by the name of their photos.

    Without the split `validation`, the distances that the contract compares with stand for it.
    """
    shown: dict[str, NDArray[Any]] = {}
    if VALIDATION not in splits:
        shown["compared with"] = np.array(known.distances)
    for name, inferred in {**splits, "other photos": others}.items():
        if inferred is not None and inferred.distances is not None:
            shown[name] = inferred.distances
    return shown


def draw_familiarity(
    contract: Contract, splits: Mapping[str, Inference], others: Inference | None
) -> list[Picture]:
    """The histogram of the splits' distances and of other photos'; empty without familiarity."""
    known = contract.familiarity
    if known is None:
        return []
    shown = sets_of_distances(known, splits, others)
    limit = known.distance_at(known.unsure_below)
    return [
        plots.picture(
            "report-familiarity.png",
            "Distance to the training photos",
            "The further to the right, the less familiar. Answers beyond the dotted line are "
            "unsure because the photo is unfamiliar.",
            lambda palette: plots.distances(shown, limit, palette),
        )
    ]


def with_maps(model: ExplainingModel, mistakes: Sequence[Mistake]) -> tuple[Mistake, ...]:
    """The mistakes with maps of which parts spoke for the predictions, if the model has exact ones.

    Raises:
        RequestError: a photo cannot be decoded.
    """
    spec = model.contract.preprocess
    drawn: list[Mistake] = []
    for mistake in mistakes:
        content = mistake.photo.read_bytes()
        pixels = file_pixels(content, spec, ANY_PIXELS)  # (H, W, 3)
        _, maps = model.explain(normalize(pixels[None], spec))
        if maps is None:
            return tuple(mistakes)
        photo = decode(content, max_pixels=ANY_PIXELS, levels=spec.levels)
        drawn.append(
            replace(mistake, map_uri=data_uri("image/png", drawn_over(in_grey(photo), maps[0])))
        )
    return tuple(drawn)
