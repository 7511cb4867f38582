"""Figures against numbers worked out in another way."""

import numpy as np
import pytest

from serving.contract import Contract
from serving.preprocess import PreprocessSpec
from train import metrics


def test_the_wilson_interval_is_newcombes_published_one():
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
    assert metrics.wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert metrics.wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert metrics.wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert metrics.wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


@pytest.mark.parametrize(("successes", "trials"), [(1, 0), (0, 0), (5, 4), (-1, 4)])
def test_what_is_no_proportion_has_no_interval(successes: int, trials: int):
    with pytest.raises(ValueError, match="no proportion"):
        metrics.wilson_interval(successes, trials)


def test_cross_entropy_is_the_mean_log_of_one_over_the_labels_probability():
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.25, 0.5, 0.25]])) + 1000
    labels = np.array([0, 2])
    expected = (np.log(1 / 0.7) + np.log(1 / 0.25)) / 2
    assert metrics.cross_entropy(logits, labels) == pytest.approx(expected)


def test_calibration_error_is_the_gap_weighted_by_how_many_fall_in_each_bin():
    # Three answers at 0.95, two of them right; one at 0.55, wrong.
    probabilities = np.array([[0.95, 0.05], [0.95, 0.05], [0.05, 0.95], [0.55, 0.45]])
    labels = np.array([0, 1, 1, 1])
    expected = 3 / 4 * abs(0.95 - 2 / 3) + 1 / 4 * abs(0.55 - 0)
    assert metrics.expected_calibration_error(probabilities, labels) == pytest.approx(expected)


def test_the_figures_count_each_class_by_hand():
    logits = np.array([[3, 0], [3, 0], [0, 3], [3, 0]], np.float32)
    labels = np.array([0, 0, 1, 1])
    contract = Contract(name="m", classes=("cat", "dog"), preprocess=PreprocessSpec())
    figures = metrics.figures(logits, labels, contract)
    assert (figures["correct"], figures["photos"], figures["accuracy"]) == (3, 4, 0.75)
    assert figures["confusion"] == [[2, 0], [1, 1]]
    cat, dog = figures["per_class"]["cat"], figures["per_class"]["dog"]
    assert (cat["precision"], cat["recall"]) == (pytest.approx(2 / 3), 1.0)
    assert (dog["precision"], dog["recall"], dog["f1"]) == (1.0, 0.5, pytest.approx(2 / 3))
