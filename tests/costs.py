"""What a file costs the service: its CPU time, its memory, its lines on stderr and its answers.

Each file is measured in a process of its own, with the child processes that it starts.
"""

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from local.backends import MALLOC
from serving.app import App
from serving.model.classifier import Classifier
from serving.settings import Settings
from tests.drawn import encoded, picture

ROOT = Path(__file__).parents[1]
_POLL_S = 0.002
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cost:
    """What one file cost, in a process that had answered ordinary photos before.

    Attributes:
        status, code: of the answer to the file alone.
        batch: the statuses of the batch [good, it, good].
        cpu_s: of the process and its children, for the file alone; the start of a child included.
        times: cpu_s as a multiple of the ordinary photo's, 12 megapixels of JPEG.
        memory_mb: the most over idle, of the process and its children together.
        kept_mb: what of it was still there afterwards, in the process.
        stderr_bytes: what was written to stderr, by whatever code.
    """

    status: int
    code: str
    batch: tuple[int, ...]
    cpu_s: float
    times: float
    memory_mb: float
    kept_mb: float
    stderr_bytes: int


def cost_of(file: Path, *, model: Path = ROOT / "model" / "classifier.onnx") -> Cost:
    """Measure one file in a new process, with the image's settings of its memory."""
    command = [sys.executable, "-m", "tests.costs", str(file), str(model)]
    environment = {**os.environ, **MALLOC, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, check=False, timeout=300
    )
    if done.returncode:
        raise AssertionError(f"{file.name}: the process ended with {done.returncode}")
    values = json.loads(done.stdout.splitlines()[-1])
    return Cost(**{**values, "batch": tuple(values["batch"])}, stderr_bytes=len(done.stderr))


def _measure(file: Path, model: Path) -> dict[str, Any]:
    ordinary = encoded(picture(width_px=4_000, height_px=3_000))

    def fetch(url: str, *, timeout_s: float) -> bytes:
        return ordinary if url == "good" else file.read_bytes()

    app = App(Classifier.load(model, threads=1), Settings(), fetch)

    def answer(event: dict[str, Any]) -> dict[str, Any]:
        with redirect_stdout(StringIO()):
            found: dict[str, Any] = app.handle(event, "request-1")
        return found

    for _ in range(2):
        answer({"url": "good"})
    started_s = _cpu_s()
    answer({"url": "good"})
    ordinary_s = _cpu_s() - started_s
    peak = _Peak()
    started_s = _cpu_s()
    alone = answer({"url": "it"})
    cpu_s = _cpu_s() - started_s
    memory_mb, kept_mb = peak.stop()
    together = answer({"images": [{"url": url} for url in ("good", "it", "good")]})
    return {
        "status": int(alone.get("status", 200)),
        "code": str(alone.get("code", "")),
        "batch": [int(one.get("status", 200)) for one in together.get("results", [])],
        "cpu_s": round(cpu_s, 3),
        "times": round(cpu_s / ordinary_s, 2),
        "memory_mb": round(memory_mb, 1),
        "kept_mb": round(kept_mb, 1),
    }


class _Peak:
    """The most memory of this process and its children over what is used now."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is what is in use now
        self._idle_mb = _memory_mb("self", "VmRSS")
        self._children_mb: dict[int, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._poll)
        self._thread.start()

    def _poll(self) -> None:
        while not self._over.wait(_POLL_S):
            for child in _children():
                peak_mb = _memory_mb(child, "VmHWM")
                self._children_mb[child] = max(peak_mb, self._children_mb.get(child, 0.0))

    def stop(self) -> tuple[float, float]:
        self._over.set()
        self._thread.join()
        own_mb = _memory_mb("self", "VmHWM") - self._idle_mb
        kept_mb = _memory_mb("self", "VmRSS") - self._idle_mb
        return own_mb + max(self._children_mb.values(), default=0.0), kept_mb


def _children() -> list[int]:
    listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return [int(child) for child in listed.split()]


def _memory_mb(process: int | str, name: str) -> float:
    """A figure of a process's memory (proc(5)); 0 when it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(name)), 0.0)


def _cpu_s() -> float:
    """Of this process and its children, the living and the dead."""
    own = os.times()
    living = 0
    for child in _children():
        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        living += int(fields[11]) + int(fields[12])  # utime and stime
    return time.process_time() + own.children_user + own.children_system + living * _TICK_S


if __name__ == "__main__":
    print(json.dumps(_measure(Path(sys.argv[1]), Path(sys.argv[2]))))
