"""One process from its start to its first answer, run by `benchmarks.start` in a function's folder.

In: the event's JSON on standard input. Out: JSON on standard output with the time of the answer and
the peak memory; the function's log on standard error. It imports as little as it can, because both
sides pay for its imports.
"""

import json
import os
import sys
import time


class _Context:
    aws_request_id = "00000000-0000-0000-0000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        return 29_000


def _allow_loopback() -> None:
    """Let our fetcher reach the photo's server, which is on loopback."""
    from serving.fetch.fetcher import Fetcher

    Fetcher.__init__.__kwdefaults__["policy"] = lambda address: True  # type: ignore[index]


def _peak_kb() -> int:
    """The peak of this process's resident memory: VmHWM of proc(5)."""
    with open("/proc/self/status", encoding="utf-8") as file:  # noqa: PTH123 - no pathlib import
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))


def main() -> None:
    """Answer one event."""
    event = json.load(sys.stdin)
    answers_to, sys.stdout = sys.stdout, sys.stderr
    sys.path.insert(0, os.getcwd())  # noqa: PTH109
    if os.path.isdir("serving"):  # noqa: PTH112
        _allow_loopback()
    import lambda_function

    answer = lambda_function.lambda_handler(event, _Context())
    answered_s = time.clock_gettime(time.CLOCK_MONOTONIC)
    if "detail" in answer:  # a problem document
        sys.exit(answer["detail"])
    print(json.dumps({"answered_s": answered_s, "peak_kb": _peak_kb()}), file=answers_to)


if __name__ == "__main__":
    main()
