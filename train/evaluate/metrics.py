"""Figures of a classifier on one split, with 95 % intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support, roc_auc_score

from serving.model.classifier import Inference, calibrated, softmax
from serving.model.contract import Contract

# Bins of the calibration error: Guo et al. 2017, "On Calibration of Modern Neural Networks".
ECE_BINS = 15


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % interval of a proportion (Wilson 1927): holds for few trials and near 0 or 1."""
    found = binomtest(successes, trials).proportion_ci(confidence_level=0.95, method="wilson")
    return float(found.low), float(found.high)


def cross_entropy(logits: NDArray[np.floating[Any]], labels: NDArray[np.int64]) -> float:
    """Mean negative log-likelihood in nats of (N, C) logits."""
    return float(photo_losses(logits.astype(np.float64), labels).mean())


def photo_losses(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """(N,): the cross-entropy of each photo in nats."""
    logs: NDArray[np.float64] = log_softmax(logits, axis=1)
    losses: NDArray[np.float64] = -logs[np.arange(len(logs)), labels]
    return losses


def accuracy(logits: NDArray[np.floating[Any]], labels: NDArray[np.int64]) -> float:
    """Share of the rows whose largest logit is the label's."""
    return float((logits.argmax(axis=1) == labels).mean())


def figures(inferred: Inference, labels: NDArray[np.int64], contract: Contract) -> dict[str, Any]:
    """All figures of a report for what was inferred of N photos and (N,) labels, as JSON values."""
    logits = inferred.logits
    wide = logits.astype(np.float64)
    probabilities = calibrated(logits, contract)  # (N, C)
    predicted = logits.argmax(axis=1)
    correct = int((predicted == labels).sum())
    rows = per_class(predicted, labels, contract.classes)
    return {
        "photos": len(labels),
        "correct": correct,
        "accuracy": correct / len(labels),
        "accuracy_interval_95": list(wilson_interval(correct, len(labels))),
        "macro_f1": float(np.mean([row["f1"] for row in rows.values() if row["photos"]])),
        "loss": cross_entropy(wide / contract.temperature, labels),
        "temperature": contract.temperature,
        "ece": expected_calibration_error(probabilities, labels),
        "ece_uncalibrated": expected_calibration_error(softmax(wide), labels),
        "ece_by_chance_95": ece_by_chance(probabilities),
        "unsure": unsure(inferred, labels, contract),
        **familiarity(inferred, contract),
        "reliability": reliability_bins(probabilities, labels),
        "per_class": rows,
        "confusion": confusion_matrix(
            labels, predicted, labels=range(len(contract.classes))
        ).tolist(),
    }


def per_class(
    predicted: NDArray[np.int64], labels: NDArray[np.int64], classes: tuple[str, ...]
) -> dict[str, Any]:
    """Precision, recall and F1 of each class, with intervals; 0 where nothing was predicted."""
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=range(len(classes)), zero_division=0
    )
    rows = {}
    for index, label in enumerate(classes):
        found = int(((predicted == index) & (labels == index)).sum())
        named, photos = int((predicted == index).sum()), int(support[index])
        rows[label] = {
            "photos": photos,
            "precision": float(precision[index]),
            "precision_interval_95": _interval_or_all(found, named),
            "recall": float(recall[index]),
            "recall_interval_95": _interval_or_all(found, photos),
            "f1": float(f1[index]),
            "f1_interval_95": f1_interval(found, named + photos - found),
        }
    return rows


def _interval_or_all(successes: int, trials: int) -> list[float]:
    """0 to 1 if there are no trials."""
    return list(wilson_interval(successes, trials)) if trials else [0.0, 1.0]


def f1_interval(found: int, union: int) -> list[float]:
    """An interval of F1 = 2 J / (1 + J), where J = found / union is a proportion.

    Args:
        found: photos of the class that were predicted as it.
        union: photos of the class, and others predicted as it, each counted once.
    """
    return [2 * share / (1 + share) for share in _interval_or_all(found, union)]


def reliability_bins(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64]
) -> list[dict[str, Any]]:
    """Confidence and accuracy in bins of equal width of the top probability, without empty bins.

    Args:
        probabilities: (N, C), each row summing to 1.
        labels: (N,).
    """
    confidence = probabilities.max(axis=1)  # (N,)
    right = probabilities.argmax(axis=1) == labels
    which = _bins(confidence)
    rows = []
    for index in range(ECE_BINS):
        members = which == index
        if members.any():
            rows.append(
                {
                    "from": index / ECE_BINS,
                    "to": (index + 1) / ECE_BINS,
                    "photos": int(members.sum()),
                    "confidence": float(confidence[members].mean()),
                    "accuracy": float(right[members].mean()),
                    "accuracy_interval_95": list(
                        wilson_interval(int(right[members].sum()), int(members.sum()))
                    ),
                }
            )
    return rows


def _bins(confidence: NDArray[np.float64]) -> NDArray[np.int64]:
    """(N,): the bin of each top probability; 1 is in the last one."""
    return np.minimum((confidence * ECE_BINS).astype(np.int64), ECE_BINS - 1)


def expected_calibration_error(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64]
) -> float:
    """Mean gap between confidence and accuracy over the bins, weighted by their photos."""
    confidence = probabilities.max(axis=1)  # (N,)
    right = probabilities.argmax(axis=1) == labels
    gaps = np.bincount(_bins(confidence), right - confidence, ECE_BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def ece_by_chance(probabilities: NDArray[np.float64], draws: int = 400) -> float:
    """The 95 % quantile of the ECE of a perfectly calibrated model with this confidence.

    It is above 0 because there are few photos. Simulated by drawing each answer as right with its
    top probability (Broecker and Smith 2007, "Increasing the Reliability of Reliability Diagrams").
    """
    confidence = probabilities.max(axis=1)  # (N,)
    which = _bins(confidence)
    expected = np.bincount(which, confidence, ECE_BINS)
    random = np.random.default_rng(0)
    errors = []
    for _ in range(draws):
        right = random.random(len(confidence)) < confidence
        errors.append(np.abs(np.bincount(which, right, ECE_BINS) - expected).sum())
    return float(np.quantile(errors, 0.95) / len(confidence))


def is_unfamiliar(inferred: Inference, contract: Contract) -> NDArray[np.bool_]:
    """(N,): the photos that are less familiar than the contract's threshold."""
    known = contract.familiarity
    if known is None or inferred.distances is None:
        return np.zeros(len(inferred.logits), dtype=bool)
    return np.array([known.of(d) < known.unsure_below for d in inferred.distances.tolist()], bool)


def is_unsure(inferred: Inference, contract: Contract) -> NDArray[np.bool_]:
    """(N,): the photos whose answers are `unsure`, for either reason."""
    confidence = calibrated(inferred.logits, contract).max(axis=1)
    unsure: NDArray[np.bool_] = is_unfamiliar(inferred, contract) | (
        confidence < contract.unsure_below
    )
    return unsure


def familiarity(inferred: Inference, contract: Contract) -> dict[str, Any]:
    """The share of unfamiliar photos under the name `unfamiliar`; empty without distances."""
    if contract.familiarity is None or inferred.distances is None:
        return {}
    found = int(is_unfamiliar(inferred, contract).sum())
    compared = {"compared_with_photos": contract.familiarity.photos}
    return {"unfamiliar": share(found, len(inferred.logits)) | compared}


def other_photos(inferred: Inference, others: Inference, contract: Contract) -> dict[str, Any]:
    """How well photos of other things are told from a split's: counts, shares and AUROC."""
    unsure, unfamiliar = is_unsure(others, contract), is_unfamiliar(others, contract)
    distances = np.concatenate([inferred.distances, others.distances])
    is_other = np.arange(len(distances)) >= len(inferred.logits)
    return {
        "photos": len(unsure),
        "unsure": share(int(unsure.sum()), len(unsure)),
        "unfamiliar": share(int(unfamiliar.sum()), len(unsure)),
        "auroc": float(roc_auc_score(is_other, distances)),
    }


def share(successes: int, trials: int) -> dict[str, Any]:
    """A count, its share and the share's 95 % interval, as JSON values."""
    return {
        "photos": successes,
        "share": successes / trials,
        "share_interval_95": list(wilson_interval(successes, trials)),
    }


def unsure(inferred: Inference, labels: NDArray[np.int64], contract: Contract) -> dict[str, Any]:
    """Coverage and accuracy of the answers that are not `unsure`; accuracy is None without any."""
    answered = ~is_unsure(inferred, contract)  # (N,)
    photos = int(answered.sum())
    correct = int((answered & (inferred.logits.argmax(axis=1) == labels)).sum())
    return {
        "below": contract.unsure_below,
        "answered": photos,
        "correct": correct,
        "coverage": photos / len(labels),
        "coverage_interval_95": list(wilson_interval(photos, len(labels))),
        "accuracy": correct / photos if photos else None,
        "accuracy_interval_95": _interval_or_all(correct, photos),
    }


def confused_pairs(
    confusion: Sequence[Sequence[int]], classes: Sequence[str], most: int
) -> list[tuple[str, str, int]]:
    """(true class, predicted class, photos) of the most frequent mistakes, in that order."""
    pairs = [
        (classes[row], classes[column], count)
        for row, counts in enumerate(confusion)
        for column, count in enumerate(counts)
        if row != column and count
    ]
    return sorted(pairs, key=lambda pair: -pair[2])[:most]
