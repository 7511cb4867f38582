"""How far the slowest requests are from the usual one: p99 / p50, ours and the workshop's.

    python -m benchmarks.tail [--requests 5000] [--quick]

Both answer the same small photos in the same run, in turns of 50 requests. In every fifth turn it
is the one for which the bundled model asks both of its networks: of the photos that it was tuned
on, one in five needed both.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import tyro

from benchmarks import models, photos
from benchmarks.results import RESULTS, Results, Spread, latency_ms, table
from benchmarks.rounds import Seconds, interleave, workers

NAME, OURS, WORKSHOP = "tail", "ours", "workshop"
SIZE = "400x533"
ALL, BLOCKS = "p99/p50 of all requests", "p99/p50 of each tenth of them"
_TURN = 50
KINDS = (*4 * [SIZE], photos.UNSURE)  # of five turns


@dataclass(frozen=True, slots=True)
class Config:
    """Compare p99 / p50 of our handler and the workshop's."""

    requests: int = 5_000
    """Requests of each."""
    quick: bool = False
    """A trial of 100 requests, whose figures mean little."""
    out: Path = RESULTS
    """Folder for the figures."""


def measure(config: Config) -> Results:
    """A ratio is our p99/p50 divided by the workshop's: below 1 ours is the steadier."""
    requests = 100 if config.quick else config.requests
    turn = min(_TURN, max(1, requests // 10))
    results = Results(NAME)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        setup = {"inputs": photos.write(folder, (SIZE, photos.UNSURE)), "models": models.prepare()}
        with workers((OURS, WORKSHOP), setup, folder) as (running, missing):
            if missing:
                reason = "; ".join(f"{who}: {why}" for who, why in missing.items())
                results.not_measured = {ALL: reason, BLOCKS: reason}
                return results
            rounds = max(1, requests // turn // len(KINDS)) * len(KINDS)
            seconds = interleave(running, *KINDS, rounds=rounds, count=turn)
    results.measured = {who: latency_ms(all_) for who, all_ in seconds.items()}
    ours, workshop = seconds[OURS], seconds[WORKSHOP]
    results.ratios[ALL] = Spread.of([p99_over_p50(ours) / p99_over_p50(workshop)])
    results.ratios[BLOCKS] = Spread.of(
        [p99_over_p50(ours[b]) / p99_over_p50(workshop[b]) for b in _tenths(len(ours))]
    )
    return results


def p99_over_p50(rounds: Seconds) -> float:
    """The 99th percentile of the requests of all rounds, in medians."""
    seconds = np.concatenate([np.asarray(one) for one in rounds])
    p50, p99 = np.percentile(seconds, (50, 99))
    return float(p99 / p50)


def _tenths(rounds: int) -> list[slice]:
    edges = np.linspace(0, rounds, min(10, rounds) + 1).astype(int)
    return [slice(start, end) for start, end in pairwise(edges)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write the JSON."""
    config = tyro.cli(Config, args=arguments, description=Config.__doc__)
    results = measure(config)
    print("Our p99/p50 divided by the workshop's; median (10th to 90th percentile)")
    print(table(results))
    print(f"The figures are in {results.write(config.out)}.")


if __name__ == "__main__":
    main()
