"""Held-out logits in, a temperature and a threshold out: how sure the model may say it is.

Both are fitted on photos that the network was not trained on. A network trained on all of train has
none left, so it takes them from a sibling: the same recipe, trained with a share held out. Where a
calibrated model taught it, that model's answers to photos new to both can stand in for labels.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from serving.classifier import Classifier, softmax
from train import metrics
from train.data import Manifest
from train.errors import UsageError
from train.inference import TorchModel, contract_of, split_logits
from train.metrics import Targets
from train.run_photos import held_out_photos
from train.saved import Trained, TrainedCascade, load_model

# The rule for "unsure": of the answers that are not, this share is right.
SURE_ACCURACY = 0.95

# A network is off by a factor of a few at most; outside this the fit has gone wrong.
_TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was fitted, and what it does on the photos it was fitted on.

    `like` is the version of the model whose answers stood in for labels, empty where labels did.
    `faultless` is whether no photo was answered wrongly, so that nothing could be fitted.
    """

    temperature: float
    unsure_below: float
    photos: int
    ece_before: float
    ece_after: float
    coverage: float
    sure_accuracy: float
    like: str = ""
    faultless: bool = False

    def figures(self) -> dict[str, Any]:
        """The figures as they stand in the contract's metrics."""
        return ({"calibration_like": self.like} if self.like else {}) | {
            "calibration_photos": self.photos,
            "calibration_ece_before": round(self.ece_before, 4),
            "calibration_ece_after": round(self.ece_after, 4),
            "calibration_coverage": round(self.coverage, 4),
            "calibration_sure_accuracy": round(self.sure_accuracy, 4),
        }


def calibrate(
    run: Path, cache: Path, *, input_px: int | None = None, root: Path | None = None
) -> Calibration:
    """Fit temperature and threshold on the share of train that a run held out.

    `input_px` is the size that the network will be served at, None the one it was trained for.
    `root` is where the photos lie now, if they were moved.

    Raises:
        UsageError: the run held nothing out, or its photos are not the ones it was trained on.
    """
    trained = load_model(run)
    photos = held_out_photos(trained, run, cache, root)
    return _calibrated(trained, photos, photos.labels(), cache, input_px)


def calibrate_like(
    file: Path, trained: Trained, photos: Manifest, cache: Path, input_px: int | None = None
) -> Calibration:
    """Fit them so that a run answers as surely as the model of an ONNX file; labels are not used.

    Raises:
        UsageError: the model has other classes.
        ContractError: the file holds no contract that serving can honour.
    """
    answers, version = answers_of(file, photos, cache)
    return replace(_calibrated(trained, photos, answers, cache, input_px), like=version)


def answers_of(file: Path, photos: Manifest, cache: Path) -> tuple[NDArray[np.float64], str]:
    """A model's calibrated probabilities of photos, (N, C), to stand in for labels; its version.

    Raises:
        UsageError: it has other classes than the photos.
        ContractError: the file holds no contract that serving can honour.
    """
    model = Classifier.load(file)
    if model.contract.classes != photos.classes:
        raise UsageError(f"{file} has other classes than the photos in {photos.root}.")
    return model.probabilities(split_logits(model, photos, cache)), model.version


def _calibrated(
    trained: Trained, photos: Manifest, targets: Targets, cache: Path, input_px: int | None
) -> Calibration:
    """A cascade's temperatures were fitted with its rule: only the threshold is."""
    model = TorchModel(trained, contract_of(trained, input_px))
    logits = split_logits(model, photos, cache)
    if not isinstance(trained, TrainedCascade):
        return fit_calibration(logits, targets)
    fitted = fit_calibration(logits, targets, model.contract.temperature)
    rule = replace(trained.rule, first_temperature=1.0, second_temperature=1.0)
    cold = replace(trained, rule=rule)
    before = split_logits(TorchModel(cold, contract_of(cold)), photos, cache)
    ece = metrics.expected_calibration_error(softmax(before.astype(np.float64)), targets)
    return replace(fitted, ece_before=ece)


def fit_calibration(
    logits: NDArray[np.float32], targets: Targets, temperature: float | None = None
) -> Calibration:
    """Fit on (N, C) logits of photos that the network was not trained on.

    A temperature that is given is kept. Where no answer is wrong, no threshold is found: the least
    confidence of a few right answers is no reason to doubt one below it.
    """
    wide = logits.astype(np.float64)
    if temperature is None:
        temperature = fit_temperature(wide, targets)
    probabilities = softmax(wide / temperature)  # (N, C)
    confidence = probabilities.max(axis=1)
    right = metrics.share_right(probabilities, targets)
    faultless = bool((right == 1).all())
    threshold = 0.0 if faultless else sure_threshold(confidence, right)
    sure = confidence >= threshold
    return Calibration(
        temperature=temperature,
        unsure_below=threshold,
        photos=len(targets),
        ece_before=metrics.expected_calibration_error(softmax(wide), targets),
        ece_after=metrics.expected_calibration_error(probabilities, targets),
        coverage=float(sure.mean()),
        sure_accuracy=float(right[sure].mean()) if sure.any() else 1.0,
        faultless=faultless,
    )


def fit_temperature(logits: NDArray[np.float64], targets: Targets) -> float:
    """The temperature whose probabilities have the least cross-entropy (Guo et al. 2017).

    Where no answer is wrong, the lowest there is would have: a few photos would make the network
    claim to be certain. Then it is 1, the network's own.
    """
    if (metrics.share_right(logits, targets) == 1).all():
        return 1.0
    low, high = np.log(_TEMPERATURES)
    found = minimize_scalar(
        lambda log_t: metrics.cross_entropy(logits / np.exp(log_t), targets),
        bounds=(low, high),
        method="bounded",
    )
    return float(np.exp(found.x))


def faultless_note(photos: str) -> str:
    """What to tell of photos, such as `all 9 photos`, of which none was answered wrongly."""
    return (
        f"{photos} are answered rightly: so few mistakes cannot calibrate, and the network's own "
        "probabilities are kept. Hold more photos out (fit --holdout)."
    )


def sure_threshold(
    confidence: NDArray[np.float64],
    right: NDArray[np.float64],
    target: float = SURE_ACCURACY,
) -> float:
    """The lowest threshold at which the share `target` of the answers at or above it is right.

    Where no threshold reaches the target, every answer is unsure: just above 1 is not a
    probability, so the highest that a contract can hold, 1.

    Args:
        confidence: (N,), how sure each answer is.
        right: (N,), 1 for an answer that is right and 0 for another, or how likely it is right.
        target: the share, 0..1.
    """
    order = np.argsort(-confidence, kind="stable")
    sorted_confidence = confidence[order]
    share_right = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    # A threshold takes all answers of the same confidence or none.
    ends = np.append(sorted_confidence[1:] != sorted_confidence[:-1], True)
    reached = np.flatnonzero((share_right >= target) & ends)
    return float(sorted_confidence[reached[-1]]) if len(reached) else 1.0
