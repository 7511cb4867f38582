"""Contestants in their own processes, which take turns: n requests by A, n by B, and again.

A disturbance of the machine affects all contestants of the same round, so ratios are formed within
a round. All workers are pinned to one core and use one thread in every library. The driver sleeps
while a worker works, so it does not compete for the core.

A worker reads and writes lines of JSON: {"request": NAME, "count": N} or {"files": [FILE, …]} in,
{"seconds": […]} out.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_END_TIMEOUT_S = 20.0

# One thread in each library that reads it from a variable. The others are given it as an argument
# (benchmarks/peers/contestants.py).
_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TBB_NUM_THREADS")
ONE_THREAD = dict.fromkeys((*_VARIABLES, "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")
ONE_THREAD["ORT_DISABLE_TELEMETRY"] = "1"  # serving turns it off, so the others do too
Seconds = list[list[float]]  # of each request, by round


class UnavailableError(Exception):
    """A contestant cannot take part; `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Worker:
    """One contestant in its own process."""

    def __init__(self, name: str, setup: Mapping[str, Any], log: Path) -> None:
        self.name = name
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.harness.worker", name, json.dumps(dict(setup))],
                cwd=ROOT,
                env={**os.environ, **ONE_THREAD},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._log = log
        try:
            self.facts: dict[str, Any] = self._read()
        except UnavailableError:
            self.close()
            raise

    def ask(self, request: str, count: int) -> list[float]:
        """Seconds of each of `count` requests of one kind."""
        return self._order({"request": request, "count": count})

    def ask_files(self, files: Sequence[Path]) -> list[float]:
        """Seconds of a request with each of these photos; reading the file is not timed."""
        return self._order({"files": [str(file) for file in files]})

    def _order(self, order: Mapping[str, Any]) -> list[float]:
        assert self._process.stdin is not None
        print(json.dumps(order), file=self._process.stdin, flush=True)
        seconds: list[float] = self._read()["seconds"]
        return seconds

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            said = self._log.read_text(errors="replace").strip().splitlines()
            raise UnavailableError(f"its process died: {said[-1] if said else 'it wrote no error'}")
        reply: dict[str, Any] = json.loads(line)
        if "unavailable" in reply:
            raise UnavailableError(reply["unavailable"])
        return reply

    def close(self) -> None:
        """End the process by closing its input; kill it if it stays."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def workers(
    names: Sequence[str], setup: Mapping[str, Any], folder: Path
) -> Iterator[tuple[list[Worker], dict[str, str]]]:
    """Start contestants; yields those that run, and why the others do not, by name."""
    missing: dict[str, str] = {}
    with ExitStack() as ending:
        running = []
        for name in names:
            try:
                worker = Worker(name, {"core": last_core(), **setup}, folder / f"{name}.log")
            except UnavailableError as error:
                missing[name] = error.reason
            else:
                ending.callback(worker.close)
                running.append(worker)
        yield running, missing


def interleave(
    running: Sequence[Worker], request: str, *, rounds: int, count: int
) -> dict[str, Seconds]:
    """Ask each worker in turn for `count` requests, `rounds` times, after a warm-up turn.

    The order is reversed in every other round, so that none always follows the same one.
    """
    seconds: dict[str, Seconds] = {worker.name: [] for worker in running}
    for worker in running:
        worker.ask(request, count)
    for number in range(rounds):
        for worker in running if number % 2 == 0 else reversed(running):
            seconds[worker.name].append(worker.ask(request, count))
    return seconds


@contextmanager
def on_last_cores(count: int = 1) -> Iterator[None]:
    """Pin this process, and those that it starts meanwhile, to the last `count` cores.

    Raises:
        UnavailableError: this process may not use that many cores.
    """
    if not hasattr(os, "sched_getaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    if len(before) < count:
        raise UnavailableError(
            f"it needs {count} cores, but this process may use only {len(before)}"
        )
    os.sched_setaffinity(0, sorted(before)[-count:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def last_core() -> int | None:
    """The core for the workers: the last that this process may use, or None if unknown."""
    return max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
