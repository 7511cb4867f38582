"""Logits of photos that were not trained on in; the temperature out."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from serving.model.classifier import softmax
from train.evaluate import metrics
from train.photos.manifest import Labels

# Networks are off by a small factor; a temperature outside this range means a failed fit.
_TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was fitted, and its effect on the photos that it was fitted on.

    `faultless`: every answer was right, so nothing could be fitted.
    """

    temperature: float
    photos: int
    ece_before: float
    ece_after: float
    faultless: bool = False

    def figures(self) -> dict[str, Any]:
        """The figures for the contract's metrics."""
        return {
            "calibration_photos": self.photos,
            "calibration_ece_before": round(self.ece_before, 4),
            "calibration_ece_after": round(self.ece_after, 4),
        }


def fit_calibration(logits: NDArray[np.float32], labels: Labels) -> Calibration:
    """Fit on (N, C) logits of photos that the network was not trained on."""
    wide = logits.astype(np.float64)
    temperature = fit_temperature(wide, labels)
    return Calibration(
        temperature=temperature,
        photos=len(labels),
        ece_before=metrics.expected_calibration_error(softmax(wide), labels),
        ece_after=metrics.expected_calibration_error(softmax(wide / temperature), labels),
        faultless=bool((wide.argmax(axis=1) == labels).all()),
    )


def fit_temperature(logits: NDArray[np.float64], labels: Labels) -> float:
    """The temperature whose probabilities have the least cross-entropy (Guo et al. 2017).

    If no answer is wrong, it is 1, which changes nothing: the least cross-entropy would be at the
    lowest temperature, and the network would claim to be certain.
    """
    if (logits.argmax(axis=1) == labels).all():
        return 1.0
    low, high = np.log(_TEMPERATURES)
    found = minimize_scalar(
        lambda log_t: metrics.cross_entropy(logits / np.exp(log_t), labels),
        bounds=(low, high),
        method="bounded",
    )
    return float(np.exp(found.x))
