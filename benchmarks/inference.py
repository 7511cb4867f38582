"""Inference alone: the bundled model's layers at its input size, in each runtime.

    python -m benchmarks.inference [--quick]

The bundled file as the function loads it, against OpenVINO, LiteRT and torch, one thread each.
OpenVINO's int8 row runs the bundled file too. Where the bundled model is float32, an int8 file is
quantised from it for that row.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks import models, photos
from benchmarks.contestants import RUNTIMES
from benchmarks.results import RESULTS, Results, latency_ms, ratio_of_medians, sides, table
from benchmarks.rounds import interleave, workers
from serving.model.classifier import Classifier

NAME, OURS = "inference", "ONNX Runtime"
_REQUEST = "one picture"


@dataclass(frozen=True, slots=True)
class Config:
    """Time one inference of one picture in each runtime."""

    rounds: int = 60
    """Turns of each runtime."""
    count: int = 20
    """Inferences in a turn."""
    quick: bool = False
    """A trial of 3 short rounds, whose figures mean little."""
    contestants: tuple[str, ...] = tuple(RUNTIMES)
    """Who takes part."""
    out: Path = RESULTS
    """Folder for the figures."""


def measure(config: Config) -> Results:
    """All runtimes in turn. A ratio is our time divided by theirs: below 1 we are faster."""
    rounds, count = (3, 3) if config.quick else (config.rounds, config.count)
    results = Results(NAME)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        batch = folder / "batch"
        batch.write_bytes(photos.pictures(Classifier.load(models.BUNDLED).contract, 1).tobytes())
        setup = {"inputs": {_REQUEST: str(batch)}, "models": models.prepare(runtimes=True)}
        with workers(config.contestants, setup, folder) as (running, missing):
            seconds = interleave(running, _REQUEST, rounds=rounds, count=count)
            results.measured["facts"] = {worker.name: worker.facts for worker in running}
    results.measured["bundled_is_int8"] = models.is_quantized(models.BUNDLED)
    latencies = {who: latency_ms(all_) for who, all_ in seconds.items()}
    results.measured["latency"] = latencies
    results.not_measured.update(missing)
    for who, theirs in seconds.items():
        if who != OURS and OURS in seconds:
            results.ratios[who] = ratio_of_medians(seconds[OURS], theirs)
            results.sides[who] = sides(latencies[OURS]["p50_ms"], latencies[who]["p50_ms"], "ms")
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write the JSON."""
    config = tyro.cli(Config, args=arguments, description=Config.__doc__)
    results = measure(config)
    print("Our time divided by each's; median (10th to 90th percentile of rounds)")
    print(table(results))
    print(f"The figures are in {results.write(config.out)}.")


if __name__ == "__main__":
    main()
