"""The process of one contestant: prepares its requests, then times as many as it is asked for.

    python -m benchmarks.harness.worker NAME SETUP

SETUP is JSON: {"core": N, "inputs": {REQUEST: FILE}, "models": {…}}. Replies go to standard output;
what a contestant prints goes to the null device, for all alike.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.peers.contestants import BY_NAME

_WARM_UP = 3


def main() -> None:
    """Report that it is ready, or why it is not; then follow orders until the input ends."""
    name, setup = sys.argv[1], json.loads(sys.argv[2])
    pipe = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    if setup["core"] is not None:
        os.sched_setaffinity(0, {setup["core"]})
    try:
        contestant = BY_NAME[name](setup["models"])
        requests = {
            request: contestant.request_of(Path(file).read_bytes())
            for request, file in setup["inputs"].items()
        }
        for prepared in requests.values():
            for _ in range(_WARM_UP):
                contestant.answer(prepared)
        ready = contestant.facts()
    except Exception as error:  # noqa: BLE001 - becomes a row that says why
        _reply(pipe, {"unavailable": f"{type(error).__name__}: {str(error)[:200]}"})
        return
    _reply(pipe, ready)
    for line in sys.stdin:
        order = json.loads(line)
        if "files" in order:
            asked = (contestant.request_of(Path(file).read_bytes()) for file in order["files"])
        else:
            asked = (requests[order["request"]] for _ in range(order["count"]))
        _reply(pipe, {"seconds": [_timed(contestant.answer, request) for request in asked]})


def _timed(answer: Callable[[Any], Any], request: Any) -> float:
    started = time.perf_counter()
    answer(request)
    return time.perf_counter() - started


def _reply(pipe: Any, value: dict[str, Any]) -> None:
    print(json.dumps(value), file=pipe, flush=True)


if __name__ == "__main__":
    main()
