"""Figures of a classifier on one split, with intervals that say what the split's size allows."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from serving.classifier import softmax
from serving.contract import Contract

# Two-sided 95 %: the standard normal's 97.5 % quantile.
Z_95 = 1.959964


def wilson_interval(successes: int, trials: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927): holds for few trials and near 0 or 1.

    Raises:
        ValueError: no trials, or more successes than trials.
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"{successes} successes in {trials} trials is no proportion")
    share = successes / trials
    scale = 1 + z * z / trials
    middle = (share + z * z / (2 * trials)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return max(0.0, middle - half), min(1.0, middle + half)


def cross_entropy(logits: NDArray[np.floating[Any]], labels: NDArray[np.int64]) -> float:
    """Mean negative log-likelihood in nats of (N, C) logits for (N,) labels."""
    wide = logits.astype(np.float64)
    shifted = wide - wide.max(axis=1, keepdims=True)
    log_total = np.log(np.exp(shifted).sum(axis=1))
    return float((log_total - shifted[np.arange(len(labels)), labels]).mean())


def accuracy(logits: NDArray[np.floating[Any]], labels: NDArray[np.int64]) -> float:
    """Share of the rows whose largest logit is the label's."""
    return float((logits.argmax(axis=1) == labels).mean())


def figures(
    logits: NDArray[np.floating[Any]], labels: NDArray[np.int64], contract: Contract
) -> dict[str, Any]:
    """Everything that a report says of (N, C) logits for (N,) labels, as JSON values."""
    scaled = logits.astype(np.float64) / contract.temperature
    probabilities = softmax(scaled)  # (N, C)
    predicted = logits.argmax(axis=1)
    correct = int((predicted == labels).sum())
    return {
        "photos": len(labels),
        "correct": correct,
        "accuracy": correct / len(labels),
        "accuracy_interval_95": list(wilson_interval(correct, len(labels))),
        "loss": cross_entropy(scaled, labels),
        "ece": expected_calibration_error(probabilities, labels),
        "per_class": per_class(predicted, labels, contract.classes),
        "confusion": confusion_matrix(
            labels, predicted, labels=range(len(contract.classes))
        ).tolist(),
    }


def per_class(
    predicted: NDArray[np.int64], labels: NDArray[np.int64], classes: tuple[str, ...]
) -> dict[str, Any]:
    """Precision, recall with its interval, and F1 of each class; 0 where nothing was predicted."""
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=range(len(classes)), zero_division=0
    )
    rows = {}
    for index, label in enumerate(classes):
        photos = int(support[index])
        found = round(float(recall[index]) * photos)
        rows[label] = {
            "photos": photos,
            "precision": float(precision[index]),
            "recall": float(recall[index]),
            "recall_interval_95": list(wilson_interval(found, photos)) if photos else [0.0, 1.0],
            "f1": float(f1[index]),
        }
    return rows


def expected_calibration_error(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], bins: int = 15
) -> float:
    """Mean gap between confidence and accuracy over bins of equal width of the top probability.

    Fifteen bins, as in Guo et al. 2017, "On Calibration of Modern Neural Networks".
    """
    confidence = probabilities.max(axis=1)  # (N,)
    right = probabilities.argmax(axis=1) == labels
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gap = 0.0
    for index in range(bins):
        members = which == index
        if members.any():
            gap += members.mean() * abs(confidence[members].mean() - right[members].mean())
    return float(gap)
