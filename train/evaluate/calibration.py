"""Logits of photos that were not trained on in; temperature and threshold of `unsure` out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from serving.model.classifier import softmax
from train.evaluate import metrics
from train.evaluate.inference import contract_of, split_logits
from train.networks.torch_model import TorchModel
from train.photos.manifest import Labels, Manifest
from train.runs.model import TrainedModel

# The threshold of `unsure` is set so that this share of the other answers is right.
SURE_ACCURACY = 0.95

# Networks are off by a small factor; a temperature outside this range means a failed fit.
_TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was fitted, and its effect on the photos that it was fitted on.

    `faultless`: every answer was right, so nothing could be fitted.
    """

    temperature: float
    unsure_below: float
    photos: int
    ece_before: float
    ece_after: float
    coverage: float
    sure_accuracy: float
    faultless: bool = False

    def figures(self) -> dict[str, Any]:
        """The figures for the contract's metrics."""
        return {
            "calibration_photos": self.photos,
            "calibration_ece_before": round(self.ece_before, 4),
            "calibration_ece_after": round(self.ece_after, 4),
            "calibration_coverage": round(self.coverage, 4),
            "calibration_sure_accuracy": round(self.sure_accuracy, 4),
        }


def calibrate(
    trained: TrainedModel, photos: Manifest, cache: Path, input_px: int | None = None
) -> Calibration:
    """Fit temperature and threshold on photos that the network was not trained on.

    `input_px` is the input size that will be served; None is the run's own.
    """
    model = TorchModel(trained.network, contract_of(trained, input_px))
    return fit_calibration(split_logits(model, photos, cache), photos.labels())


def fit_calibration(logits: NDArray[np.float32], labels: Labels) -> Calibration:
    """Fit on (N, C) logits of photos that the network was not trained on.

    If no answer is wrong, there is no threshold: the lowest confidence among a few right answers
    says nothing about answers below it.
    """
    wide = logits.astype(np.float64)
    temperature = fit_temperature(wide, labels)
    probabilities = softmax(wide / temperature)  # (N, C)
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    faultless = bool(right.all())
    threshold = 0.0 if faultless else sure_threshold(confidence, right)
    sure = confidence >= threshold
    return Calibration(
        temperature=temperature,
        unsure_below=threshold,
        photos=len(labels),
        ece_before=metrics.expected_calibration_error(softmax(wide), labels),
        ece_after=metrics.expected_calibration_error(probabilities, labels),
        coverage=float(sure.mean()),
        sure_accuracy=float(right[sure].mean()) if sure.any() else 1.0,
        faultless=faultless,
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


def sure_threshold(
    confidence: NDArray[np.float64],
    right: NDArray[np.bool_],
    target: float = SURE_ACCURACY,
) -> float:
    """The lowest threshold such that the share `target` of the answers at or above it is right.

    If no threshold reaches the target, 1, the highest value of a contract: every answer is then
    unsure.

    Args:
        confidence: (N,), how sure each answer is.
        right: (N,), whether each answer is right.
        target: the share, 0..1.
    """
    order = np.argsort(-confidence, kind="stable")
    sorted_confidence = confidence[order]
    share_right = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    # A threshold includes all answers of the same confidence or none.
    ends = np.append(sorted_confidence[1:] != sorted_confidence[:-1], True)
    reached = np.flatnonzero((share_right >= target) & ends)
    return float(sorted_confidence[reached[-1]]) if len(reached) else 1.0
