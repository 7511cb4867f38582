"""Held-out logits in, a temperature and a threshold out: how sure the model may say it is.

Both are fitted on photos that the network was not trained on. A network trained on all of train has
none left, so it takes them from a sibling: the same recipe, trained with a share held out.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from serving.classifier import softmax
from train import data, metrics
from train.data import Labels, Manifest
from train.errors import UsageError
from train.inference import TorchModel, contract_of, split_logits
from train.saved import Trained, TrainedCascade, load_model

# The rule for "unsure": of the answers that are not, this share is right.
SURE_ACCURACY = 0.95

# A network is off by a factor of a few at most; outside this the fit has gone wrong.
_TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was fitted, and what it does on the photos it was fitted on."""

    temperature: float
    unsure_below: float
    photos: int
    ece_before: float
    ece_after: float
    coverage: float
    sure_accuracy: float

    def figures(self) -> dict[str, Any]:
        """The figures as they stand in the contract's metrics."""
        return {
            "calibration_photos": self.photos,
            "calibration_ece_before": round(self.ece_before, 4),
            "calibration_ece_after": round(self.ece_after, 4),
            "calibration_coverage": round(self.coverage, 4),
            "calibration_sure_accuracy": round(self.sure_accuracy, 4),
        }


def calibrate(run: Path, cache: Path, input_px: int | None = None) -> Calibration:
    """Fit temperature and threshold on the share of train that a run held out.

    A cascade's temperatures were fitted with its rule, on the same photos: only the threshold is.
    `input_px` is the size that the network will be served at, None the one it was trained for.

    Raises:
        UsageError: the run held nothing out, or its photos are not the ones it was trained on.
    """
    trained = load_model(run)
    photos = held_out_photos(trained, run, cache)
    model = TorchModel(trained, contract_of(trained, input_px))
    logits = split_logits(model, photos, cache)
    if not isinstance(trained, TrainedCascade):
        return fit_calibration(logits, photos.labels())
    fitted = fit_calibration(logits, photos.labels(), model.contract.temperature)
    rule = replace(trained.rule, first_temperature=1.0, second_temperature=1.0)
    cold = replace(trained, rule=rule)
    before = split_logits(TorchModel(cold, contract_of(cold)), photos, cache)
    ece = metrics.expected_calibration_error(softmax(before.astype(np.float64)), photos.labels())
    return replace(fitted, ece_before=ece)


def held_out_photos(trained: Trained, run: Path, cache: Path) -> Manifest:
    """The photos that a run kept out of training, drawn again from its settings."""
    config = trained.config
    if config.data.choose_on != "holdout":
        raise UsageError(
            f"{run} held no photos out. Train the same recipe with --choose-on holdout and name "
            "that run."
        )
    scanned = data.scan(config.data.data, ("train",))
    manifest = data.without_unreadable(scanned, cache, strict=False)
    if manifest.sha256() != trained.manifest_sha256:
        raise UsageError(
            f"{config.data.data} has changed since {run} was trained: its held-out photos can no "
            "longer be told from the others."
        )
    return data.hold_out(manifest, config.data.holdout, config.data.holdout_seed)[1]


def fit_calibration(
    logits: NDArray[np.float32], labels: Labels, temperature: float | None = None
) -> Calibration:
    """Fit on (N, C) logits of photos that the network was not trained on.

    A temperature that is given is kept.
    """
    wide = logits.astype(np.float64)
    if temperature is None:
        temperature = fit_temperature(wide, labels)
    probabilities = softmax(wide / temperature)  # (N, C)
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    threshold = sure_threshold(confidence, right)
    sure = confidence >= threshold
    return Calibration(
        temperature=temperature,
        unsure_below=threshold,
        photos=len(labels),
        ece_before=metrics.expected_calibration_error(softmax(wide), labels),
        ece_after=metrics.expected_calibration_error(probabilities, labels),
        coverage=float(sure.mean()),
        sure_accuracy=float(right[sure].mean()) if sure.any() else 1.0,
    )


def fit_temperature(logits: NDArray[np.float64], labels: Labels) -> float:
    """The temperature whose probabilities have the least cross-entropy (Guo et al. 2017)."""
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
    """The lowest threshold at which the share `target` of the answers at or above it is right.

    Where no threshold reaches the target, every answer is unsure: just above 1 is not a
    probability, so the highest that a contract can hold, 1.
    """
    order = np.argsort(-confidence, kind="stable")
    sorted_confidence = confidence[order]
    share_right = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    # A threshold takes all answers of the same confidence or none.
    ends = np.append(sorted_confidence[1:] != sorted_confidence[:-1], True)
    reached = np.flatnonzero((share_right >= target) & ends)
    return float(sorted_confidence[reached[-1]]) if len(reached) else 1.0
