"""A batch of 16 photos in one request against 16 requests, one at a time.

    python -m benchmarks.batch [--quick]

Both go through AWS's runtime emulator, where each request also pays for the runtime's round trip,
as on Lambda: once with one vCPU, once with two. The same process answers both in turn.
"""

import base64
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import IO, Any

import tyro

from benchmarks.harness import photos
from benchmarks.harness.results import FIGURES, Results, Spread, latency_ms, sides, table
from benchmarks.harness.rounds import ONE_THREAD, Seconds, UnavailableError, on_last_cores
from local import backends
from local.backends import Backend, FunctionConfig
from local.errors import LocalError
from local.gateway import HttpRequest, answer
from serving.settings import MEMORY_MB_PER_VCPU

NAME = "batch"
ROWS = {1: "one vCPU", 2: "two vCPUs"}
IMAGES = 16
SIZE = "400x533"
_JSON = (("Content-Type", "application/json"),)
_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Config:
    """Compare one request of 16 photos with 16 requests of one."""

    rounds: int = 30
    """Turns of each."""
    quick: bool = False
    """A trial of 2 rounds, whose figures mean little."""
    out: Path = FIGURES
    """Folder for the figures."""


def measure(config: Config) -> Results:
    """A ratio is the batch's photos per second divided by the single requests'."""
    rounds = 2 if config.quick else config.rounds
    results = Results(NAME)
    photo = photos.jpeg(SIZE)
    with tempfile.TemporaryDirectory() as name:
        for vcpus, row in ROWS.items():
            try:
                with (Path(name) / "log").open("w") as log, _emulator(log, vcpus) as backend:
                    _record(results, row, *_through(backend, photo, rounds))
            except (LocalError, UnavailableError) as error:
                results.not_measured[row] = str(error)
    return results


def batch_body(photo: bytes) -> bytes:
    """The JSON body of a request with the same photo IMAGES times."""
    item = {"image": base64.b64encode(photo).decode("ascii")}
    return json.dumps({"images": [item] * IMAGES}).encode()


def throughput(ones: Seconds, batches: Seconds) -> Spread:
    """Photos per second in a batch, divided by photos per second one by one; for each round.

    Args:
        ones: seconds of the IMAGES single requests of each round.
        batches: seconds of the one batch of each round.
    """
    return Spread.of([sum(o) / sum(b) for o, b in zip(ones, batches, strict=True)])


def _record(results: Results, row: str, ones: Seconds, batches: Seconds) -> None:
    results.ratios[row] = throughput(ones, batches)
    results.measured[row] = {"one": latency_ms(ones), "batch": latency_ms(batches)}
    results.sides[row] = sides(IMAGES / _median_s(batches), IMAGES / _median_s(ones), "photos/s", 0)


def _median_s(rounds: Seconds) -> float:
    """Median seconds for IMAGES photos."""
    return median(sum(one) for one in rounds)


@contextmanager
def _emulator(log: IO[Any], vcpus: int) -> Iterator[Backend]:
    """The function in the emulator, with one core for each vCPU."""
    with on_last_cores(vcpus):
        backend = backends.start("emulator", _config(log, vcpus))
        try:
            yield backend
        finally:
            backend.close()


def _config(log: IO[Any], vcpus: int) -> FunctionConfig:
    environ = {**os.environ, **ONE_THREAD}
    memory_mb = vcpus * MEMORY_MB_PER_VCPU
    # The timeout is long, so that a busy machine does not fail the benchmark.
    return FunctionConfig(environ, log, timeout_s=_TIMEOUT_S, memory_mb=memory_mb)


def _through(backend: Backend, photo: bytes, rounds: int) -> tuple[Seconds, Seconds]:
    one = HttpRequest("POST", "/predict", (("Content-Type", "image/jpeg"),), photo)
    batch = HttpRequest("POST", "/predict", _JSON, batch_body(photo))
    ones: Seconds = []
    batches: Seconds = []
    for number in range(rounds + 1):
        turn = ([_timed(one, backend) for _ in range(IMAGES)], [_timed(batch, backend)])
        if number:  # round 0 is a warm-up
            ones.append(turn[0])
            batches.append(turn[1])
    return ones, batches


def _timed(request: HttpRequest, backend: Backend) -> float:
    started = time.perf_counter()
    response = answer(request, backend)
    seconds = time.perf_counter() - started
    if response.status != 200:
        raise LocalError(f"The function answered with status {response.status} in the emulator.")
    return seconds


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write the JSON."""
    config = tyro.cli(Config, args=arguments, description=Config.__doc__)
    results = measure(config)
    print(f"Throughput of a batch of {IMAGES} divided by that of {IMAGES} single requests:")
    print(table(results))
    print(f"The figures are in {results.write(config.out)}.")


if __name__ == "__main__":
    main()
