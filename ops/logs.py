"""`make logs FUNCTION=…`: prints the function's last requests, one line each."""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from ops import aws


def lines(functions: Any, logs: Any, function: str, since_ms: int) -> Iterator[str]:
    """The log's lines since a time in milliseconds of the epoch, oldest first."""
    settings = functions.get_function_configuration(FunctionName=function)
    group = settings.get("LoggingConfig", {}).get("LogGroup") or f"/aws/lambda/{function}"
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group, startTime=since_ms)
    for page in pages:
        for event in page["events"]:
            moment = datetime.fromtimestamp(event["timestamp"] / 1000, UTC)
            yield f"{moment:%H:%M:%S} {_short(event['message'])}"


def _short(message: str) -> str:
    """The main facts of a request's line; any other line unchanged."""
    try:
        line = json.loads(message)
    except ValueError:
        return message.strip()
    if not isinstance(line, dict) or line.get("message") != "request":
        return message.strip()
    facts = [str(line.get(name, "")) for name in ("status", "method", "path")]
    facts.append(f"{line.get('duration_ms', 0):.0f} ms")
    facts += [str(line[name]) for name in ("label", "code") if name in line]
    facts += ["cold start"] if line.get("cold_start") else []
    return " ".join([*facts, str(line.get("request_id", ""))])


def main(words: Sequence[str] | None = None) -> int:
    """Print the lines, and return the exit status."""
    parser = argparse.ArgumentParser("ops.logs", description=__doc__)
    parser.add_argument("function", help="the stack's output FunctionName")
    parser.add_argument("--minutes", type=int, default=60, help="how far back")
    arguments = parser.parse_args(words)

    def tool() -> int:
        since_ms = int((time.time() - arguments.minutes * 60) * 1000)
        for line in lines(aws.client("lambda"), aws.client("logs"), arguments.function, since_ms):
            print(line)
        return 0

    return aws.run(tool)


if __name__ == "__main__":
    sys.exit(main())
