"""What each setting got right, in; intervals, corrected p-values and a recommendation out.

Every setting is measured on the same photos, so the tests are paired.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.evaluate.metrics import wilson_interval
from train.sweep.heads import Setting


def paired_p_value(differences: NDArray[np.integer]) -> float:
    """Two-sided exact p-value that two classifiers are equally good, on the same photos.

    `differences` (N,) is, for each photo, how many more seeds of one classifier than of the other
    were right. If the two were equally good, each difference could have either sign: the p-value is
    the share of all 2^N choices of signs whose sum is at least as far from 0 as the observed one
    (Fisher's sign-flip test, computed exactly). With one seed this is McNemar's exact test.
    """
    magnitudes = np.abs(differences)
    distribution = np.ones(1)  # of the sum of the flipped magnitudes
    for size in range(1, int(magnitudes.max(initial=0)) + 1):
        photos = int((magnitudes == size).sum())
        if photos:
            flipped = np.zeros(photos * size + 1)
            flipped[::size] = [math.comb(photos, k) / 2**photos for k in range(photos + 1)]
            distribution = np.convolve(distribution, flipped)
    total = int(magnitudes.sum())
    sums = 2 * np.arange(total + 1) - total  # magnitudes of sum s have the sign +, the rest -
    extreme = np.abs(sums) >= abs(int(differences.sum()))
    return min(1.0, float(distribution[extreme].sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for multiple comparisons (Holm 1979), in the order given.

    Rejecting those of at most alpha makes any false rejection with probability at most alpha.
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


@dataclass(frozen=True, slots=True)
class SettingResult:
    """One setting of a sweep, measured with each of K seeds on the same N photos."""

    setting: Setting
    parameters: int
    right: NDArray[np.bool_]  # (K, N)
    losses: Sequence[float]  # (K,) in nats
    train_accuracies: Sequence[float]  # (K,)


RULE = (
    "of the settings that are not significantly worse than the best, the one with the fewest "
    "parameters, then the least dropout, then the highest accuracy."
)


def compare(results: Sequence[SettingResult], alpha: float) -> dict[str, Any]:
    """Compare every setting with the best on the same photos, as JSON values.

    The best has the highest mean accuracy over seeds; among equals, it is the first. A setting is
    tied with it unless its corrected p-value is below `alpha`. There is a significant winner only
    if no setting is tied with the best.
    """
    counts = [int(result.right.sum()) for result in results]
    best = counts.index(max(counts))
    others = [i for i in range(len(results)) if i != best]
    best_right = results[best].right.sum(axis=0, dtype=np.int64)  # (N,) of K seeds
    p_values = [
        paired_p_value(best_right - results[i].right.sum(axis=0, dtype=np.int64)) for i in others
    ]
    rows = [_figures(result) for result in results]
    for i, p_value, corrected in zip(others, p_values, holm(p_values), strict=True):
        rows[i] |= {"p_value": p_value, "p_value_holm": corrected, "tied": corrected >= alpha}
    rows[best] |= {"p_value": None, "p_value_holm": None, "tied": True}
    tied = [i for i, row in enumerate(rows) if row["tied"]]
    simplest = min(
        tied,
        key=lambda i: (results[i].parameters, results[i].setting.dropout, -counts[i]),
    )
    return {
        "settings": rows,
        "best": best,
        "tied_with_best": tied,
        "recommended": simplest,
        "rule": RULE,
        "significant_winner": len(tied) == 1 and len(results) > 1,
        "comparisons": len(others),
    }


def _figures(result: SettingResult) -> dict[str, Any]:
    """Mean over seeds, spread, interval and train-validation gap of one setting."""
    seeds, photos = result.right.shape
    accuracies = result.right.mean(axis=1)  # (K,)
    accuracy = float(accuracies.mean())
    train_accuracy = float(np.mean(result.train_accuracies))
    losses = [loss if math.isfinite(loss) else None for loss in map(float, result.losses)]
    return {
        **asdict(result.setting),
        "parameters": result.parameters,
        "accuracy": accuracy,
        "accuracy_of_seeds": accuracies.tolist(),
        "accuracy_sd": float(accuracies.std(ddof=1)) if seeds > 1 else None,
        # Counted in photos, not photos x seeds, because all seeds see the same photos.
        "accuracy_interval_95": list(wilson_interval(round(accuracy * photos), photos)),
        "loss": None if None in losses else float(np.mean(result.losses)),
        "train_accuracy": train_accuracy,
        "gap": train_accuracy - accuracy,
    }
