"""Inference only: the bundled model in ONNX Runtime, as the function loads it, and in OpenVINO.

    python -m benchmarks.inference [--quick]

One picture, one thread each, in turns. The goal is for int8: if the bundled model is float32, its
row is unmeasured and the ratio stands in a row of its own.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.harness import photos
from benchmarks.harness.results import FIGURES, Results, latency_ms, ratio_of_medians, sides, table
from benchmarks.harness.rounds import interleave, workers
from benchmarks.peers import models
from benchmarks.peers.contestants import RUNTIMES
from serving.model.classifier import Classifier

NAME, OURS, PEER = "inference", "ONNX Runtime", "OpenVINO"
INT8_ROW, FLOAT32_ROW = "OpenVINO int8", "OpenVINO float32"
_REQUEST = "one picture"


@dataclass(frozen=True, slots=True)
class Config:
    """Time the inference of one picture in ONNX Runtime and in OpenVINO."""

    rounds: int = 60
    """Turns of each runtime."""
    count: int = 20
    """Inferences in a turn."""
    quick: bool = False
    """A trial of 3 short rounds, whose figures mean little."""
    out: Path = FIGURES
    """Folder for the figures."""


def measure(config: Config) -> Results:
    """Both runtimes in turn. The ratio is our time divided by OpenVINO's: below 1 we are faster."""
    rounds, count = (3, 3) if config.quick else (config.rounds, config.count)
    results = Results(NAME)
    row = INT8_ROW
    if not models.is_quantized(models.BUNDLED):
        row = FLOAT32_ROW
        results.not_measured[INT8_ROW] = "the bundled model is float32"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        batch = folder / "batch"
        batch.write_bytes(photos.pictures(Classifier.load(models.BUNDLED).contract, 1).tobytes())
        setup = {"inputs": {_REQUEST: str(batch)}, "models": models.prepare()}
        with workers(tuple(RUNTIMES), setup, folder) as (running, missing):
            if missing:
                results.not_measured[row] = "; ".join(missing.values())
                return results
            seconds = interleave(running, _REQUEST, rounds=rounds, count=count)
            results.measured["facts"] = {worker.name: worker.facts for worker in running}
    latencies = {who: latency_ms(all_) for who, all_ in seconds.items()}
    results.measured["latency"] = latencies
    results.ratios[row] = ratio_of_medians(seconds[OURS], seconds[PEER])
    results.sides[row] = sides(latencies[OURS]["p50_ms"], latencies[PEER]["p50_ms"], "ms")
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write the JSON."""
    config = tyro.cli(Config, args=arguments, description=Config.__doc__)
    results = measure(config)
    print("Our time divided by OpenVINO's; median (10th to 90th percentile of rounds):")
    print(table(results))
    print(f"The figures are in {results.write(config.out)}.")


if __name__ == "__main__":
    main()
