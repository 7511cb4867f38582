"""The slowest requests: p99 of mixed photos, ours and the workshop's.

    python -m benchmarks.tail [--requests 5000] [--quick]

Both answer the same photos of benchmarks/harness/mixture.py in the same run, in turns of 50. Each
turn's photos are drawn before it and replaced after it. The first five photos of a turn are sent
twice, and the first time is not counted: after the other's turn the caches are cold.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.harness import mixture
from benchmarks.harness.results import FIGURES, Results, Spread, latency_ms, sides, table
from benchmarks.harness.rounds import Seconds, Worker, workers
from benchmarks.peers import models

NAME, OURS, WORKSHOP = "tail", "ours", "workshop"
ROW = "p99"
_TURN, _WARM_UP = 50, 5


@dataclass(frozen=True, slots=True)
class Config:
    """Compare the p99 of our handler and the workshop's on mixed photos."""

    requests: int = 5_000
    """Photos that each answers."""
    quick: bool = False
    """A trial of 100 photos, whose figures mean little."""
    out: Path = FIGURES
    """Folder for the figures."""


def measure(config: Config) -> Results:
    """The ratio is our p99 divided by the workshop's: below 1 ours is faster."""
    turns = max(1, (100 if config.quick else config.requests) // _TURN)
    results = Results(NAME)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        setup = {"inputs": {}, "models": models.prepare()}
        with workers((OURS, WORKSHOP), setup, folder) as (running, missing):
            if missing:
                reason = "; ".join(f"{who}: {why}" for who, why in missing.items())
                results.not_measured[ROW] = reason
                return results
            seconds = ask(running, turns, folder)
    ours, workshop = (latency_ms(seconds[who]) for who in (OURS, WORKSHOP))
    results.measured = {OURS: ours, WORKSHOP: workshop}
    results.ratios[ROW] = Spread.of([ours["p99_ms"] / workshop["p99_ms"]])
    results.sides[ROW] = sides(ours["p99_ms"], workshop["p99_ms"], "ms")
    return results


def ask(running: Sequence[Worker], turns: int, folder: Path) -> dict[str, Seconds]:
    """The seconds of each worker's requests, by turn."""
    seconds: dict[str, Seconds] = {worker.name: [] for worker in running}
    files = [folder / f"photo-{number}" for number in range(_TURN)]
    for turn in range(turns):
        for number, file in enumerate(files):
            file.write_bytes(mixture.photo(turn * _TURN + number))
        for worker in running if turn % 2 == 0 else reversed(running):
            worker.ask_files(files[:_WARM_UP])
            seconds[worker.name].append(worker.ask_files(files))
    return seconds


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write the JSON."""
    config = tyro.cli(Config, args=arguments, description=Config.__doc__)
    results = measure(config)
    print("Our p99 divided by the workshop's, on the same mixed photos:")
    print(table(results))
    print(f"The figures are in {results.write(config.out)}.")


if __name__ == "__main__":
    main()
