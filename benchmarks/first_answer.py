"""One process from its start to its first answer: the event's JSON on standard input; on standard
output what the answer took, and on standard error what the function logs.

It imports next to nothing, because every import of it is on both sides' bill. Run by
`benchmarks.start` and `benchmarks.cold_reads` in a function's own folder.
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
    """Our guard forbids the address of the server that this measurement fetches from."""
    from serving.fetch.fetcher import Fetcher

    Fetcher.__init__.__kwdefaults__["policy"] = lambda address: True  # type: ignore[index]


def _memory_kb() -> dict[str, int]:
    """Of this process: its peak, and its share of what is in memory now (proc(5))."""
    found: dict[str, int] = {}
    for path in ("/proc/self/status", "/proc/self/smaps_rollup"):
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib is no one's need here
            fields = dict(line.split(":", 1) for line in file if ":" in line)
        for name in ("VmHWM", "RssAnon", "RssFile", "Pss", "Private_Clean", "Private_Dirty"):
            if name in fields:
                found[name] = int(fields[name].split()[0])
    return found


def resident_kb() -> dict[str, int]:
    """Of each mapped file, how much of it is in this process's memory."""
    resident: dict[str, int] = {}
    name = ""
    with open("/proc/self/smaps", encoding="utf-8") as file:  # noqa: PTH123
        for line in file:
            words = line.split()
            if not words[0].endswith(":"):
                name = words[5] if len(words) > 5 else ""
            elif words[0] == "Rss:" and name.startswith("/"):
                resident[name] = resident.get(name, 0) + int(words[1])
    return resident


def main() -> None:
    """Answer one event."""
    event = json.load(sys.stdin)
    answers_to, sys.stdout = sys.stdout, sys.stderr
    started_s = time.clock_gettime(time.CLOCK_MONOTONIC)
    sys.path.insert(0, os.getcwd())  # noqa: PTH109
    if os.path.isdir("serving") and "url" in event:  # noqa: PTH112
        _allow_loopback()
    import lambda_function

    loaded_s = time.clock_gettime(time.CLOCK_MONOTONIC)
    answer = lambda_function.lambda_handler(event, _Context())
    answered_s, cpu_s = time.clock_gettime(time.CLOCK_MONOTONIC), time.process_time()
    figures = {
        "answer": answer,
        "answered_s": answered_s,
        "init_s": loaded_s - started_s,
        "cpu_s": cpu_s,
        "memory_kb": _memory_kb(),
        "resident_kb": resident_kb() if "--resident" in sys.argv else {},
    }
    print(json.dumps(figures), file=answers_to)


if __name__ == "__main__":
    main()
