"""How far the slowest requests are from the usual one: p99 / p50, ours and the workshop's.

    python -m benchmarks.tail [--requests 5000] [--quick]

Both answer the same small photos in the same run, in turns of 50 requests. Every fifth is for the
one of which the bundled model asks both of its networks: of the photos that it was tuned on, one
in five needed both. Five requests more come first in each turn and are not counted: caches, and on
some virtual machines memory as well, are cold after the other's turn.
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
from benchmarks.rounds import Seconds, Worker, workers

NAME, OURS, WORKSHOP = "tail", "ours", "workshop"
SIZE = "400x533"
ALL, BLOCKS = "p99/p50 of all requests", "p99/p50 of each tenth of them"
CYCLE = ((SIZE, 4), (photos.UNSURE, 1))  # how often each is asked for
_CYCLES = 10  # in a turn


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
    results = Results(NAME)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        setup = {"inputs": photos.write(folder, (SIZE, photos.UNSURE)), "models": models.prepare()}
        with workers((OURS, WORKSHOP), setup, folder) as (running, missing):
            if missing:
                reason = "; ".join(f"{who}: {why}" for who, why in missing.items())
                results.not_measured = {ALL: reason, BLOCKS: reason}
                return results
            seconds = turns(running, max(1, requests // _CYCLES // sum(n for _, n in CYCLE)))
    results.measured = {who: latency_ms(all_) for who, all_ in seconds.items()}
    ours, workshop = seconds[OURS], seconds[WORKSHOP]
    results.ratios[ALL] = Spread.of([p99_over_p50(ours) / p99_over_p50(workshop)])
    results.ratios[BLOCKS] = Spread.of(
        [p99_over_p50(ours[b]) / p99_over_p50(workshop[b]) for b in _tenths(len(ours))]
    )
    return results


def turns(running: Sequence[Worker], rounds: int) -> dict[str, Seconds]:
    """Each worker's seconds of each of its turns, which they take one after another."""
    seconds: dict[str, Seconds] = {worker.name: [] for worker in running}
    for number in range(rounds):
        for worker in running if number % 2 == 0 else reversed(running):
            cycles = [[worker.ask(*kind) for kind in CYCLE] for _ in range(_CYCLES + 1)]
            seconds[worker.name].append(
                [s for cycle in cycles[1:] for asked in cycle for s in asked]
            )
    return seconds


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
