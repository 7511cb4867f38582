"""Figures of a classifier on one split, with intervals that say what the split's size allows."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def proportion(successes: int, trials: int) -> dict[str, Any]:
    """A proportion with its count and 95 % interval, as JSON values."""
    low, high = wilson_interval(successes, trials)
    return {
        "value": successes / trials,
        "successes": successes,
        "trials": trials,
        "interval_95": [low, high],
    }


def cross_entropy(logits: NDArray[np.floating[Any]], labels: NDArray[np.int64]) -> float:
    """Mean negative log-likelihood in nats of (N, C) logits for (N,) labels."""
    wide = logits.astype(np.float64)
    shifted = wide - wide.max(axis=1, keepdims=True)
    log_total = np.log(np.exp(shifted).sum(axis=1))
    return float((log_total - shifted[np.arange(len(labels)), labels]).mean())


def accuracy(logits: NDArray[np.floating[Any]], labels: NDArray[np.int64]) -> float:
    """Share of the rows whose largest logit is the label's."""
    return float((logits.argmax(axis=1) == labels).mean())
