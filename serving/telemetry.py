"""What the service tells of itself: for each request one line of JSON on standard output, which is
its log entry and its metrics at once.

Lambda sends standard output to CloudWatch Logs, and CloudWatch makes metrics of the line's `_aws`
member (CloudWatch embedded metric format). Never logged: an image, a URL, a header, a query.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from serving.http.events import Request, Response

NAMESPACE = "PhotoClassifier"
STAGES = ("fetch", "decode", "preprocess", "inference")
_TOLD = ("label", "code", "timings_ms")  # what the log repeats of an answer
_MAX_VALUES = 100  # of one metric in one line, by the format's specification

# By what every metric is told apart: two stacks may serve one model, or one stack two in turn.
_DIMENSIONS = ("function", "model")
# What makes CloudWatch count labels and errors one by one; everything else is by these two alone.
_BY_NAME = {"label": "predictions", "code": "errors"}


def _write_line(line: str) -> None:
    sys.stdout.write(line + "\n")  # looked up now: the runtime replaces it after our import
    sys.stdout.flush()


class Telemetry:
    """Writes the service's log. The first request that it sees was a cold start.

    Args:
        function: the Lambda function's name.
        model: the model's name.
        write: takes one line of text.
    """

    def __init__(
        self, function: str, model: str, write: Callable[[str], None] = _write_line
    ) -> None:
        self._of = dict(zip(_DIMENSIONS, (function, model), strict=True))
        self._write = write
        self._is_cold = True

    def log_request(
        self, request: Request, response: Response, request_id: str, duration_ms: float
    ) -> None:
        """Write the request's line: who asked, what was answered, how long it took."""
        outcomes = _outcomes(response)
        line: dict[str, Any] = {
            "level": "ERROR" if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "INFO",
            "message": "request",
            "request_id": request_id,
            "source": request.source,
            "method": request.method[:20],
            "path": request.path[:200],
            "status": response.status.value,
            **self._of,
            "cold_start": int(self._is_cold),
            "duration_ms": round(duration_ms, 2),
        }
        self._is_cold = False
        metrics = {"duration_ms": "Milliseconds", "cold_start": "Count"}
        if outcomes:
            line.update(_measured(outcomes, metrics))
            line["images"] = outcomes
        counts = {name: Counter(o[name] for o in outcomes if name in o) for name in _BY_NAME}
        if not outcomes and "code" in _object(response.content):
            counts["code"][response.content["code"]] = 1
        alone = {name: counted for name, counted in counts.items() if len(counted) == 1}
        for name, counted in alone.items():
            line[name], line[_BY_NAME[name]] = next(iter(counted.items()))
        self._write(_with_directives(line, metrics, alone))
        for name in counts.keys() - alone.keys():  # a dimension has one value in a line
            for value, count in counts[name].items():
                self._count(request_id, name, value, count)

    def log_failure(self, request_id: str) -> None:
        """Write the traceback of the exception that is being handled, for the log alone."""
        import traceback

        line = {
            "level": "ERROR",
            "message": "unexpected failure",
            "request_id": request_id,
            "traceback": traceback.format_exc(),
        }
        self._write(json.dumps(line))

    def _count(self, request_id: str, name: str, value: str, count: int) -> None:
        line = {
            "level": "INFO",
            "message": _BY_NAME[name],
            "request_id": request_id,
            **self._of,
            name: value,
            _BY_NAME[name]: count,
        }
        self._write(_with_directives(line, {}, [name]))


def _outcomes(response: Response) -> list[dict[str, Any]]:
    """For each image of a prediction: where it came from, and what became of it."""
    images: Sequence[Mapping[str, Any]] = response.log.get("images", ())
    content = _object(response.content)
    answers = content.get("results", [content])
    return [{**image, **_told(answer)} for image, answer in zip(images, answers, strict=False)]


def _told(answer: Mapping[str, Any]) -> dict[str, Any]:
    facts = {name: answer[name] for name in _TOLD if name in answer}
    if "predictions" in answer:
        facts["probability"] = answer["predictions"][0]["probability"]
    return facts


def _measured(outcomes: Sequence[Mapping[str, Any]], metrics: dict[str, str]) -> dict[str, Any]:
    """The members of the line that are metrics of its images; their units go into `metrics`."""
    members: dict[str, Any] = {
        "image_bytes": sum(outcome.get("bytes", 0) for outcome in outcomes),
    }
    metrics["image_bytes"] = "Bytes"
    by_image = {
        # One value for each image, so that their averages are a share and a mean.
        "unsure": ("Count", [int(o["unsure"]) for o in outcomes if "unsure" in o]),
        "confidence": ("None", [o["probability"] for o in outcomes if "probability" in o]),
    }
    for stage in STAGES:
        values = [o["timings_ms"][stage] for o in outcomes if stage in o.get("timings_ms", ())]
        by_image[f"{stage}_ms"] = ("Milliseconds", values)
    for name, (unit, values) in by_image.items():
        if values:
            members[name] = values[:_MAX_VALUES] if len(values) > 1 else values[0]
            metrics[name] = unit
    return members


def _with_directives(
    line: Mapping[str, Any], metrics: Mapping[str, str], counted: Iterable[str]
) -> str:
    """The line as JSON, and behind it which of its members are metrics."""
    directives = _directives(tuple(metrics.items()), tuple(counted))
    now_ms = time.time_ns() // 1_000_000
    aws = f'"_aws": {{"Timestamp": {now_ms}, "CloudWatchMetrics": {directives}}}'
    return f"{json.dumps(line)[:-1]}, {aws}}}"


@lru_cache(maxsize=32)  # they are most of the line, and nearly always the same
def _directives(metrics: tuple[tuple[str, str], ...], counted: tuple[str, ...]) -> str:
    """JSON, for the units of metrics by function and model, and the names that are counted."""
    directives = [
        {
            "Namespace": NAMESPACE,
            "Dimensions": [[*_DIMENSIONS, name]],
            "Metrics": [{"Name": _BY_NAME[name], "Unit": "Count"}],
        }
        for name in counted
    ]
    if metrics:
        named = [{"Name": name, "Unit": unit} for name, unit in metrics]
        directives.append({"Namespace": NAMESPACE, "Dimensions": [_DIMENSIONS], "Metrics": named})
    return json.dumps(directives)


def _object(content: Any) -> Mapping[str, Any]:
    return content if isinstance(content, Mapping) else {}
