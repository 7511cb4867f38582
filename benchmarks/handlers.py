"""From a JPEG to the answer: our handler against the workshop's and torch's.

    python -m benchmarks.handlers [--quick]

Two photos, 400x533 and 12 megapixels, drawn by benchmarks/harness/photos.py. Each contestant runs
in its own process on the same core with one thread, and they take turns.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.harness import photos
from benchmarks.harness.results import FIGURES, Results, latency_ms, ratio_of_medians, sides, table
from benchmarks.harness.rounds import Seconds, interleave, workers
from benchmarks.peers import models
from benchmarks.peers.contestants import HANDLERS

NAME, OURS = "handlers", "ours"


@dataclass(frozen=True, slots=True)
class Config:
    """Time handlers from a JPEG's bytes to the answer."""

    rounds: int = 40
    """Turns of each contestant with each photo."""
    count: int = 10
    """Requests in a turn with the small photo; the large one gets a third as many."""
    quick: bool = False
    """A trial of 3 short rounds, whose figures mean little."""
    out: Path = FIGURES
    """Folder for the figures."""


def measure(config: Config) -> Results:
    """Each contestant with each photo."""
    rounds, count = (3, 2) if config.quick else (config.rounds, config.count)
    results = Results(NAME)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs = photos.write(folder)
        setup = {"inputs": inputs, "models": models.prepare()}
        results.measured["photos_bytes"] = {s: Path(f).stat().st_size for s, f in inputs.items()}
        with workers(tuple(HANDLERS), setup, folder) as (running, missing):
            for size in photos.SIZES_PX:
                each = max(1, count // 3) if size == "12mp" else count
                seconds = interleave(running, size, rounds=rounds, count=each)
                compare(results, seconds, size)
                results.not_measured |= {f"{who}, {size}": why for who, why in missing.items()}
    return results


def compare(results: Results, seconds: dict[str, Seconds], size: str) -> None:
    """Add the ratios for one photo: each contestant's time divided by ours."""
    latencies = {who: latency_ms(all_) for who, all_ in seconds.items()}
    results.measured[size] = latencies
    for who, theirs in seconds.items():
        if OURS in seconds and who != OURS:
            row = f"{who}, {size}"
            results.ratios[row] = ratio_of_medians(theirs, seconds[OURS])
            results.sides[row] = sides(latencies[OURS]["p50_ms"], latencies[who]["p50_ms"], "ms")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write the JSON."""
    config = tyro.cli(Config, args=arguments, description=Config.__doc__)
    results = measure(config)
    print("Each one's time divided by ours; median (10th to 90th percentile of rounds):")
    print(table(results))
    print(f"The figures are in {results.write(config.out)}.")


if __name__ == "__main__":
    main()
