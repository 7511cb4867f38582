"""Input sizes compared: losses photo by photo, the one-standard-error rule, time in turns."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from train.errors import UsageError
from train.evaluate.metrics import photo_losses
from train.export.input_size import FrontierConfig, Point, chosen, compare, table


def drawn_logits(sharpness: float, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, 200)
    logits = random.normal(size=(200, 4)) + sharpness * np.eye(4)[labels]
    return logits.astype(np.float32), labels


def test_the_loss_of_a_photo_is_the_cross_entropy_of_its_label():
    losses = photo_losses(np.log([[0.5, 0.5], [0.9, 0.1]]), np.array([0, 1]))
    np.testing.assert_allclose(losses, [np.log(2), np.log(10)])


def test_a_certain_mistake_costs_much_and_not_everything():
    assert np.isfinite(photo_losses(np.array([[0.0, 1e6]]), np.array([0]))).all()


def test_each_size_is_compared_with_the_lowest_loss_photo_by_photo():
    (weak, labels), (strong, _) = drawn_logits(0.5), drawn_logits(3.0)
    points = compare({224: strong, 160: weak}, labels, {160: 0.5, 224: 1.0})
    small, large = points
    assert (small.input_px, large.input_px) == (160, 224)
    assert large.behind == 0
    assert small.behind == pytest.approx(small.loss - large.loss)
    assert small.behind > 3 * small.behind_error > 0
    assert small.correct == (weak.argmax(axis=1) == labels).sum()
    assert small.time_ratio == 0.5


def test_scaling_the_logits_changes_nothing_but_the_temperature():
    logits, labels = drawn_logits(1.0)
    one, other = compare({160: logits, 224: 4 * logits}, labels, {160: 1.0, 224: 1.0})
    assert other.loss == pytest.approx(one.loss, abs=1e-6)
    assert other.temperature == pytest.approx(4 * one.temperature, rel=1e-3)


POINT = Point(224, 100, 90, 1.0, loss=0.2, behind=0.0, behind_error=0.0, time_ratio=1.0)


@pytest.mark.parametrize(
    ("behind", "error", "size_px"), [(0.02, 0.03, 160), (0.03, 0.03, 160), (0.04, 0.03, 224)]
)
def test_the_smallest_within_one_standard_error_is_chosen(behind, error, size_px):
    small = replace(POINT, input_px=160, behind=behind, behind_error=error)
    large = replace(POINT, input_px=256, behind=0.001, behind_error=0.5)
    assert chosen([small, POINT, large]).input_px == size_px


def test_the_table_shows_how_far_each_size_is_from_the_lowest():
    small = replace(POINT, input_px=160, loss=0.25, behind=0.05, behind_error=0.02, time_ratio=0.51)
    assert table([small, POINT]).splitlines()[2:] == [
        "| 160 | 90 of 100 | 0.250 | 0.050 (0.020) | 0.51 |",
        "| 224 | 90 of 100 | 0.200 | lowest | 1.00 |",
    ]


@pytest.mark.parametrize("sizes", [(), (16,), (224, 224)])
def test_sizes_that_cannot_be_compared_are_refused(sizes: tuple[int, ...]):
    with pytest.raises(UsageError, match="--sizes"):
        FrontierConfig(run=Path("run"), sizes=sizes)


def test_one_photo_has_no_standard_error_and_the_lowest_loss_is_chosen():
    logits = {160: np.array([[0.0, 2.0]], np.float32), 224: np.array([[0.0, 1.0]], np.float32)}
    points = compare(logits, np.array([0]), {160: 0.5, 224: 1.0})
    assert [point.behind_error for point in points] == [0.0, 0.0]
    lowest = min(points, key=lambda point: point.loss)
    assert chosen(points) is lowest
    assert chosen([replace(lowest, behind_error=float("nan"))]).behind == 0
