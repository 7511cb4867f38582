"""A process from its start to its first answer: time and peak memory, ours and the workshop's.

    python -m benchmarks.start [--rounds 30]

Both run in a folder like the image's /var/task, with compiled bytecode
(benchmarks/harness/task_folders.py). They take turns, are pinned to one core, and fetch the same
photo from a server on loopback. ONNX Runtime's telemetry is off on both sides. Ratios are ours
divided by the workshop's: below 1 is better.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any

import tyro

from benchmarks.harness import photos
from benchmarks.harness.results import Results, Spread, sides, table
from benchmarks.harness.task_folders import built

FIRST_ANSWER = Path(__file__).parent / "harness" / "first_answer.py"
_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Config:
    """Time a process from its start to its first answer, against the workshop's."""

    rounds: int = 30
    """Starts of each; the first round, which warms the file cache, is not counted."""
    quick: bool = False
    """A trial of 2 rounds, whose figures mean little."""
    python: Path = Path(sys.executable)
    """The interpreter that runs both; the image's is 3.13."""
    workshop_model: Path | None = None
    """The workshop's MobileNetV2 with a float32 input of 224; one is exported if not given."""


@dataclass(frozen=True, slots=True)
class Start:
    """One process: milliseconds to the answer, and the peak of its resident memory in megabytes."""

    time_ms: float
    peak_mb: float


@contextmanager
def photo_server(data: bytes) -> Iterator[str]:
    """The URL of a photo on a loopback server."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/photo.jpg"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def start(python: Path, folder: Path, url: str) -> Start:
    """Start a process in a function's folder and have it classify one photo.

    Raises:
        RuntimeError: the process failed; the message holds its standard error.
    """
    core = max(os.sched_getaffinity(0))
    started_s = time.clock_gettime(time.CLOCK_MONOTONIC)
    process = subprocess.Popen(
        [str(python), "-I", str(FIRST_ANSWER)],
        cwd=folder,
        env={"FETCH_PORTS": "", "ORT_DISABLE_TELEMETRY": "1", "PATH": os.environ["PATH"]},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.sched_setaffinity(process.pid, {core})
    output, errors = process.communicate(json.dumps({"url": url}), timeout=_TIMEOUT_S)
    if process.returncode:
        raise RuntimeError(f"The process in {folder} failed:\n{errors}")
    found = json.loads(output)
    return Start((found["answered_s"] - started_s) * 1e3, found["peak_kb"] / 1e3)


def measure(config: Config) -> Results:
    """All rounds, and the ratios within each."""
    folders = built(config.python, config.workshop_model)
    starts: dict[Path, list[Start]] = {folders.ours: [], folders.workshop: []}
    with photo_server(photos.jpeg("400x533")) as url:
        for number in range((2 if config.quick else config.rounds) + 1):
            # Each goes first in turn, so that what the other leaves in caches evens out.
            for folder in list(starts) if number % 2 == 0 else reversed(starts):
                found = start(config.python, folder, url)
                if number:
                    starts[folder].append(found)
    return results(starts[folders.ours], starts[folders.workshop])


def results(ours: list[Start], workshop: list[Start]) -> Results:
    """Ratios of ours to the workshop's, formed within each round."""
    made = Results("start")
    for row, field, unit in (("time", "time_ms", "ms"), ("peak memory", "peak_mb", "MB")):
        mine, theirs = ([float(getattr(one, field)) for one in of] for of in (ours, workshop))
        made.ratios[row] = Spread.of([m / t for m, t in zip(mine, theirs, strict=True)])
        made.sides[row] = sides(median(mine), median(theirs), unit, 0)
        made.measured[field] = {
            "ours": Spread.of(mine).to_json(),
            "workshop": Spread.of(theirs).to_json(),
        }
    return made


def main() -> None:
    """Measure, print, and write start.json."""
    config = tyro.cli(Config, description=Config.__doc__)
    found = measure(config)
    print("Ours divided by the workshop's, from the start to the first answer:")
    print(table(found))
    print(f"The figures are in {found.write()}.")


if __name__ == "__main__":
    main()
