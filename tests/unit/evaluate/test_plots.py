"""The pictures of a report: what they show, and that odd names and sizes do not break them."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from serving.model.classifier import Inference
from tests.tiny_model import FAMILIARITY
from train.evaluate import metrics
from train.evaluate.report import plots
from train.evaluate.report.pictures import sets_of_distances
from train.sweep import report as sweep_report

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
EPOCHS = [
    {"epoch": 1, "train_loss": 1.2, "train_accuracy": 0.5, "validation_loss": 1.1}
    | {"validation_accuracy": 0.55},
    {"epoch": 2, "train_loss": 0.8, "train_accuracy": 0.7, "validation_loss": 0.9}
    | {"validation_accuracy": 0.65},
]


def answers(classes: int = 3, photos: int = 50):
    """Probabilities (N, C), mostly right, and labels (N,)."""
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, photos)
    weights = random.random((photos, classes)) + 2 * np.eye(classes)[labels]
    return weights / weights.sum(axis=1, keepdims=True), labels


def rows_of(names: tuple[str, ...]):
    probabilities, labels = answers(len(names))
    return metrics.per_class(probabilities.argmax(axis=1), labels, names)


def axes_of(figure: Figure) -> list[Any]:
    return list(figure.axes)


def names_on(axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


@pytest.mark.parametrize(("quantity", "values"), [("loss", [1.1, 0.9]), ("accuracy", [0.55, 0.65])])
def test_a_learning_curve_has_lines_for_train_and_validation(quantity, values):
    figure = plots.learning_curve(EPOCHS, quantity, "holdout", plots.LIGHT)
    (axes,) = axes_of(figure)
    assert [line.get_label() for line in axes.lines] == ["train", "holdout"]
    assert list(axes.lines[1].get_ydata()) == values
    assert (axes.get_xlabel(), axes.get_ylabel()[: len(quantity)]) == ("epoch", quantity)
    assert plots.png(figure).startswith(PNG_MAGIC)


def test_a_learning_curve_without_a_set_to_choose_on_shows_train_alone():
    epochs = [{"epoch": 1, "train_loss": 1.0, "train_accuracy": 0.5}]
    figure = plots.learning_curve(epochs, "loss", "nothing", plots.LIGHT)
    assert [line.get_label() for line in axes_of(figure)[0].lines] == ["train"]


def test_the_confusion_matrix_names_and_counts_each_class():
    figure = plots.confusion([[3, 0], [2, 5]], ("hat", "shoe"), plots.LIGHT)
    (axes,) = axes_of(figure)
    assert names_on(axes.xaxis) == names_on(axes.yaxis) == ["hat", "shoe"]
    assert sorted(text.get_text() for text in axes.texts) == ["2", "3", "5"]
    assert axes.get_ylabel() == "true"


def test_the_reliability_diagram_has_a_point_for_each_bin():
    bins = metrics.reliability_bins(*answers())
    figure = plots.reliability(bins, plots.LIGHT)
    curve, histogram = axes_of(figure)
    assert len(curve.lines[1].get_xdata()) == len(bins)
    assert [bar.get_height() for bar in histogram.patches] == [row["photos"] for row in bins]


def test_the_recalls_begin_with_the_weakest_class():
    rows = rows_of(("a", "b", "c"))
    figure = plots.recalls(rows, plots.LIGHT)
    weakest = min(rows, key=lambda label: rows[label]["recall"])
    assert names_on(axes_of(figure)[0].yaxis)[0] == f"{weakest} ({rows[weakest]['photos']})"


def test_the_coverage_falls_from_all_photos_as_the_threshold_rises():
    probabilities, labels = answers()
    figure = plots.coverage(probabilities, labels, 0.5, plots.LIGHT)
    covered = np.array(axes_of(figure)[0].lines[0].get_ydata())
    assert covered[0] == 1
    assert (np.diff(covered) <= 0).all()
    assert "threshold in use" in [line.get_label() for line in axes_of(figure)[0].lines]


def test_a_threshold_of_nothing_is_not_drawn():
    probabilities, labels = answers()
    figure = plots.coverage(probabilities, labels, 0.0, plots.LIGHT)
    assert len(axes_of(figure)[0].lines) == 2


def at_distances(photos: int) -> Inference:
    distances = np.random.default_rng(photos).random(photos).astype(np.float32)
    return Inference(np.zeros((photos, 3), np.float32), distances)


def test_the_distances_of_each_set_of_photos_are_shown_together():
    splits = {"validation": at_distances(9), "test": at_distances(8)}
    shown = sets_of_distances(FAMILIARITY, splits, at_distances(5))
    (axes,) = axes_of(plots.distances(shown, 1.0, plots.LIGHT))
    labels = axes.get_legend_handles_labels()[1]
    assert sorted(labels) == ["other photos (5)", "test (8)", "threshold in use", "validation (9)"]
    looks = {(patch.get_edgecolor(), patch.get_linestyle()) for patch in axes.patches}
    assert len(looks) == 3


def test_the_contracts_distances_stand_for_a_validation_that_is_not_there():
    shown = sets_of_distances(FAMILIARITY, {"test": at_distances(8)}, None)
    assert list(shown) == ["compared with", "test"]


@pytest.mark.parametrize("name", [r"$\frac{1}{", "鞋子", "👟", "x" * 200, "a_b^c", "\\"])
def test_a_class_may_be_called_anything(name):
    figures = [
        plots.confusion([[3, 1], [0, 5]], (name, "shoe"), plots.LIGHT),
        plots.recalls(rows_of((name, "shoe")), plots.LIGHT),
    ]
    for figure in figures:
        assert plots.png(figure).startswith(PNG_MAGIC)


def test_two_hundred_classes_are_drawn_without_their_names():
    names = tuple(f"class {number}" for number in range(200))
    figure = plots.confusion(np.eye(200, dtype=int).tolist(), names, plots.LIGHT)
    assert not axes_of(figure)[0].texts
    assert max(figure.get_size_inches()) <= 12


def test_a_picture_is_drawn_for_light_and_for_dark_pages():
    drawn = plots.picture(
        "a.png", "A", "What it shows.", lambda p: plots.recalls(rows_of(("a", "b")), p)
    )
    assert drawn.light.startswith(PNG_MAGIC)
    assert drawn.dark.startswith(PNG_MAGIC)
    assert drawn.light != drawn.dark


def test_a_sweep_is_drawn_though_a_mean_is_rounded_past_equal_seeds():
    rows = [
        {"lr": lr, "inner": 0, "dropout": 0.0, "accuracy": mean, "gap": 0.1}
        | {"accuracy_of_seeds": [0.7, 0.7, 0.7], "accuracy_interval_95": [0.5, 0.8]}
        for lr, mean in ((1e-3, np.nextafter(0.7, 0)), (1e-2, np.nextafter(0.7, 1)))
    ]
    picture = BytesIO()
    sweep_report.draw({"settings": rows, "best": 0}, picture)
    assert picture.getvalue().startswith(PNG_MAGIC)
