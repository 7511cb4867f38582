"""Which setting is best, and by more than these photos can tell? Every setting saw the same ones.

What each setting got right in; figures with intervals, corrected p-values and a recommendation out.
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
    """Two-sided exact p-value of "neither of two classifiers is better", over the same photos.

    `differences` (N,) holds, for each photo, how many more of one's seeds than of the other's were
    right about it. Were the two equally good, each difference could as well have had the other
    sign: the p-value is the share of all 2^N choices of signs whose sum is at least as far from 0
    as the one found (Fisher's sign-flip test, counted whole, not drawn). With one seed this is
    McNemar's exact test.
    """
    magnitudes = np.abs(differences)
    distribution = np.ones(1)  # of the sum of what is flipped, in units of 1
    for size in range(1, int(magnitudes.max(initial=0)) + 1):
        photos = int((magnitudes == size).sum())
        if photos:
            flipped = np.zeros(photos * size + 1)
            flipped[::size] = [math.comb(photos, k) / 2**photos for k in range(photos + 1)]
            distribution = np.convolve(distribution, flipped)
    total = int(magnitudes.sum())
    sums = 2 * np.arange(total + 1) - total  # a sum s of flipped ones leaves 2s - total
    extreme = np.abs(sums) >= abs(int(differences.sum()))
    return min(1.0, float(distribution[extreme].sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979), in the order given.

    Whoever rejects those at most alpha wrongly rejects any at all with probability alpha at most.
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
    "Of the settings that are not significantly worse than the best: the fewest parameters, then "
    "the least dropout, then the highest accuracy."
)


def compare(results: Sequence[SettingResult], alpha: float) -> dict[str, Any]:
    """Compare every setting with the best over the same photos, as JSON values.

    The best has the highest mean accuracy over seeds (of equal ones, the first). A setting is tied
    with it unless its p-value, corrected for the number of comparisons, is below `alpha`. There is
    a winner only where nothing is tied with the best.
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
    """Mean over seeds, spread, interval and gap of one setting."""
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
        # Of the photos, not of photos x seeds: the seeds see the same ones.
        "accuracy_interval_95": list(wilson_interval(round(accuracy * photos), photos)),
        "loss": None if None in losses else float(np.mean(result.losses)),
        "train_accuracy": train_accuracy,
        "gap": train_accuracy - accuracy,
    }
