"""Figures against values that were worked out by hand, or found in a second way."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.model.classifier import Inference
from serving.model.familiarity import Familiarity
from tests.tiny_model import CONTRACT
from train.evaluate import metrics

# Four photos of two classes: sure and right, sure and wrong, unsure and right, unsure and right.
PROBABILITIES = np.array([[0.95, 0.05], [0.95, 0.05], [0.42, 0.58], [0.42, 0.58]])
LABELS = np.array([0, 1, 1, 1])


def test_the_calibration_error_weighs_each_bins_gap_by_its_photos():
    # Two photos at 0.95, half of them right; two at 0.58, all right.
    expected = 0.5 * abs(0.95 - 0.5) + 0.5 * abs(0.58 - 1.0)
    found = metrics.expected_calibration_error(PROBABILITIES, LABELS)
    assert found == pytest.approx(expected)


def test_reliability_bins_count_photos_and_skip_empty_bins():
    rows = metrics.reliability_bins(PROBABILITIES, LABELS)
    assert [row["photos"] for row in rows] == [2, 2]
    assert [row["accuracy"] for row in rows] == [1.0, 0.5]
    assert all(row["from"] <= row["confidence"] <= row["to"] for row in rows)


def test_a_probability_of_one_lies_in_the_last_bin():
    (row,) = metrics.reliability_bins(np.array([[0.0, 1.0]]), np.array([1]))
    assert row["to"] == 1


def test_the_ece_by_chance_in_one_bin_is_the_binomials():
    even = np.full((400, 2), 0.5)
    by_normal_approximation = 1.96 * math.sqrt(0.25 / 400)
    assert metrics.ece_by_chance(even) == pytest.approx(by_normal_approximation, rel=0.15)


def unsure(below: float, *, distances: NDArray[np.float32] | None = None) -> dict[str, Any]:
    """The figures of PROBABILITIES, as the softmax of their logarithms, with a threshold."""
    inferred = Inference(np.log(PROBABILITIES).astype(np.float32), distances)
    known = Familiarity(9, tuple(map(float, range(9))), 0.25)
    classes = CONTRACT.classes[: PROBABILITIES.shape[1]]
    contract = replace(CONTRACT, classes=classes, unsure_below=below, familiarity=known)
    return metrics.unsure(inferred, LABELS, contract)


def test_unfamiliar_photos_are_unsure_however_probable_their_class_is():
    far = np.full(len(LABELS), 100, np.float32)
    far[0] = 1
    assert unsure(0, distances=far)["answered"] == 1


def test_unsure_answers_are_left_out_of_coverage_and_accuracy():
    found = unsure(0.6)
    assert (found["answered"], found["correct"]) == (2, 1)
    assert (found["coverage"], found["accuracy"]) == (0.5, 0.5)


def test_a_probability_at_the_threshold_is_an_answer():
    assert unsure(0.95)["answered"] == 2


def test_without_an_answer_there_is_no_accuracy():
    found = unsure(0.99)
    assert found["accuracy"] is None
    assert found["accuracy_interval_95"] == [0.0, 1.0]


def test_precision_recall_and_f1_are_those_counted_by_hand():
    # a: 3 photos, 2 found, named once more wrongly. b: 2 photos, 1 found.
    rows = metrics.per_class(np.array([0, 0, 1, 0, 1]), np.array([0, 0, 0, 1, 1]), ("a", "b"))
    assert rows["a"]["precision"] == pytest.approx(2 / 3)
    assert rows["a"]["recall"] == pytest.approx(2 / 3)
    assert rows["b"]["precision"] == rows["b"]["recall"] == rows["b"]["f1"] == 0.5
    assert rows["a"]["precision_interval_95"] == list(metrics.wilson_interval(2, 3))
    assert rows["b"]["recall_interval_95"] == list(metrics.wilson_interval(1, 2))


def test_nothing_is_known_of_a_class_without_photos_or_predictions():
    rows = metrics.per_class(np.array([0]), np.array([0]), ("a", "absent"))
    for name in ("precision", "recall", "f1"):
        assert rows["absent"][f"{name}_interval_95"] == [0.0, 1.0]


def test_the_interval_of_f1_agrees_with_resampling_the_photos():
    random = np.random.default_rng(1)
    labels = random.integers(0, 2, 400)
    predicted = np.where(random.random(400) < 0.8, labels, 1 - labels)
    drawn = []
    for _ in range(2_000):
        chosen = random.integers(0, 400, 400)
        p, t = predicted[chosen] == 1, labels[chosen] == 1
        drawn.append(2 * (p & t).sum() / (p.sum() + t.sum()))
    found = metrics.per_class(predicted, labels, ("no", "yes"))["yes"]["f1_interval_95"]
    assert found == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.015)


def test_the_temperature_changes_calibration_and_loss_but_no_answer():
    random = np.random.default_rng(2)
    logits, labels = random.normal(size=(60, 3)) * 4, random.integers(0, 3, 60)
    inferred = Inference(logits.astype(np.float32))
    plain = metrics.figures(inferred, labels, CONTRACT)
    warm = metrics.figures(inferred, labels, replace(CONTRACT, temperature=3.0))
    assert warm["accuracy"] == plain["accuracy"]
    assert warm["confusion"] == plain["confusion"]
    assert warm["ece"] < plain["ece"]
    assert warm["loss"] < plain["loss"]
    assert warm["ece_uncalibrated"] == plain["ece"]
    assert plain["ece_uncalibrated"] == plain["ece"]


def test_the_confusion_has_a_row_for_each_true_class():
    logits = np.array([[9.0, 0, 0], [0, 9.0, 0], [0, 9.0, 0]])
    found = metrics.figures(Inference(logits), np.array([0, 0, 1]), CONTRACT)
    assert found["confusion"] == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_the_commonest_confusions_come_first_and_right_answers_are_none():
    confusion = [[5, 1, 0], [3, 4, 2], [0, 0, 9]]
    pairs = metrics.confused_pairs(confusion, ("a", "b", "c"), most=2)
    assert pairs == [("b", "a", 3), ("b", "c", 2)]


def test_the_wilson_interval_is_newcombes_published_one():
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
    assert metrics.wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert metrics.wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert metrics.wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert metrics.wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_cross_entropy_is_the_mean_negative_log_probability():
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.25, 0.5, 0.25]])) + 1000
    labels = np.array([0, 2])
    expected = (np.log(1 / 0.7) + np.log(1 / 0.25)) / 2
    assert metrics.cross_entropy(logits, labels) == pytest.approx(expected)
