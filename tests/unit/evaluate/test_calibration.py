"""The temperature, on logits whose right answer is known."""

import numpy as np
import pytest

from serving.model.classifier import softmax
from train.evaluate.calibration import fit_calibration, fit_temperature


def sampled(temperature: float, photos: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from the softmax of logits / temperature."""
    random = np.random.default_rng(11)
    logits = random.normal(0, 4, (photos, 5))
    cumulative = softmax(logits / temperature).cumsum(axis=1)
    labels = (random.random((photos, 1)) > cumulative).sum(axis=1)
    return logits, labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_drew_the_labels_is_found_again(temperature: float):
    logits, labels = sampled(temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.05)


def test_calibration_lowers_the_error_of_an_overconfident_network():
    logits, labels = sampled(2.5)
    fitted = fit_calibration(logits.astype(np.float32), labels)
    assert fitted.ece_before > 0.1
    assert fitted.ece_after < 0.02


def all_right(photos: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """Logits that name every photo rightly, some of them only just."""
    random = np.random.default_rng(5)
    labels = random.integers(0, 3, photos)
    logits = 0.2 * random.random((photos, 3)) + np.eye(3)[labels]
    return logits.astype(np.float32), labels


def test_without_mistakes_nothing_is_calibrated():
    logits, labels = all_right()
    assert fit_temperature(logits.astype(np.float64), labels) == 1.0
    fitted = fit_calibration(logits, labels)
    assert fitted.temperature == 1.0
    assert fitted.faultless


def test_one_mistake_is_enough_to_fit_the_temperature():
    logits, labels = all_right(40)
    labels[0] = (labels[0] + 1) % 3
    fitted = fit_calibration(logits, labels)
    assert not fitted.faultless
    assert fitted.temperature < 1  # 39 of 40 are right, and it was about half sure of each
