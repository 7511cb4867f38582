"""A whole process from its start to its first answer: ours with everything on against the
workshop's handler, in turns, pinned to one core.

Both are run in a folder like the image's /var/task, bytecode compiled (benchmarks/task_folders.py).
Ours is asked twice over: with the same URL of a server on loopback as the workshop's, and with the
same photo in base64. ONNX Runtime's telemetry is off on both sides; it is on by default, and a
benchmark has nothing to tell. Ratios are ours divided by the workshop's: below 1 is better.

    python -m benchmarks.start [--rounds 30]
"""

import base64
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

from benchmarks import photos
from benchmarks.results import Results, Spread, sides, table
from benchmarks.task_folders import built

FIRST_ANSWER = Path(__file__).with_name("first_answer.py")
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
    """One process: seconds to the answer, and kilobytes of memory."""

    wall_s: float
    cpu_s: float
    init_s: float
    memory_kb: dict[str, int]

    def figure(self, name: str) -> float:
        """A figure that a row compares."""
        private = self.memory_kb["Private_Clean"] + self.memory_kb["Private_Dirty"]
        return {
            "time": self.wall_s,
            "CPU time": self.cpu_s,
            "init time": self.init_s,
            "peak memory": float(self.memory_kb["VmHWM"]),
            "private memory": float(private),
        }[name]


ROWS = ("time", "CPU time", "init time", "peak memory", "private memory")


@contextmanager
def photo_server(data: bytes) -> Iterator[str]:
    """The URL at which a server on loopback gives out a photo."""

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


def start(python: Path, folder: Path, event: Any, *flags: str) -> tuple[Start, dict[str, Any]]:
    """Start a process in a function's folder and have it answer one event.

    Raises:
        RuntimeError: it failed; its own output tells why.
    """
    core = max(os.sched_getaffinity(0))
    started_s = time.clock_gettime(time.CLOCK_MONOTONIC)
    process = subprocess.Popen(
        [str(python), "-I", str(FIRST_ANSWER), *flags],
        cwd=folder,
        env={"FETCH_PORTS": "", "ORT_DISABLE_TELEMETRY": "1", "PATH": os.environ["PATH"]},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.sched_setaffinity(process.pid, {core})
    output, errors = process.communicate(json.dumps(event), timeout=_TIMEOUT_S)
    if process.returncode:
        raise RuntimeError(f"The process in {folder} failed:\n{errors}")
    found = json.loads(output)
    wall_s = found["answered_s"] - started_s
    return Start(wall_s, found["cpu_s"], found["init_s"], found["memory_kb"]), found


def measure(config: Config) -> Results:
    """All rounds, and the ratios within each."""
    folders = built(config.python, config.workshop_model)
    photo = photos.jpeg("400x533")
    encoded = {"image": base64.b64encode(photo).decode()}
    starts: dict[str, list[Start]] = {"workshop": [], "URL": [], "base64": []}
    with photo_server(photo) as url:
        asked = {
            "workshop": (folders.workshop, {"url": url}),
            "URL": (folders.ours, {"url": url}),
            "base64": (folders.ours, encoded),
        }
        for number in range((2 if config.quick else config.rounds) + 1):
            # Each goes first in turn, so that what the one before leaves in caches evens out.
            names = list(asked)
            for name in names[number % 3 :] + names[: number % 3]:
                found, _ = start(config.python, *asked[name])
                if number:
                    starts[name].append(found)
    return results(starts)


def results(starts: dict[str, list[Start]]) -> Results:
    """Ratios of ours to the workshop's, formed within each round."""
    made = Results("start")
    for name in ("URL", "base64"):
        pairs = list(zip(starts[name], starts["workshop"], strict=True))
        for row in ROWS:
            ratios = [ours.figure(row) / theirs.figure(row) for ours, theirs in pairs]
            made.ratios[f"{row}, {name}"] = Spread.of(ratios)
            made.sides[f"{row}, {name}"] = _sides(row, starts[name], starts["workshop"])
    made.measured = {
        name: {row: Spread.of([one.figure(row) for one in of]).to_json() for row in ROWS}
        for name, of in starts.items()
    }
    return made


def _sides(row: str, ours: list[Start], workshop: list[Start]) -> str:
    """The medians of a figure."""
    scale, unit = (1e-3, "MB") if "memory" in row else (1e3, "ms")
    mine, theirs = (median(one.figure(row) for one in of) * scale for of in (ours, workshop))
    return sides(mine, theirs, unit, 0)


def main() -> None:
    """Measure, print, and write benchmarks/results/start.json."""
    config = tyro.cli(Config, description=Config.__doc__)
    found = measure(config)
    print("Ours divided by the workshop's, from exec to the first answer:")
    print(table(found))
    print(f"The figures are in {found.write()}.")


if __name__ == "__main__":
    main()
