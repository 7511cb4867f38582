"""The log: for each request one line of JSON on standard output, which also holds its metrics.

Lambda sends standard output to CloudWatch Logs, and CloudWatch makes metrics of the line's `_aws`
member (CloudWatch embedded metric format). Images, URLs, headers and queries are never logged.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from serving.errors import ServingError
from serving.http.events import Request, Response

NAMESPACE = "PhotoClassifier"
STAGES = ("fetch", "decode", "preprocess", "inference")
_MAX_VALUES = 100  # for one metric in one line, by the format's specification

# Every metric has both: two stacks may serve one model, or one stack two models in turn.
_DIMENSIONS = ("function", "model")
# Metrics that are counted by a field, and their dimensions. Internal errors are counted by version,
# so that an alarm on a new version leaves out what the old one does.
_BY_NAME = {"label": "predictions", "code": "errors", "version": "internal_errors"}
_DIMENSIONS_BY_NAME = {
    "label": (*_DIMENSIONS, "label"),
    "code": (*_DIMENSIONS, "code"),
    "version": ("function", "version"),
}


def _write_line(line: str) -> None:
    """Write to standard output; a closed or full one costs the line, never the answer."""
    with suppress(OSError, ValueError, AttributeError):  # None where there is no output
        sys.stdout.write(line + "\n")  # looked up here: the runtime replaces it after our import
        sys.stdout.flush()


class Telemetry:
    """Writes the service's log. Its first request counts as the cold start.

    Args:
        function: the Lambda function's name.
        model: the model's name.
        version: the Lambda function's version.
        counts_labels: whether each label is a metric.
        write: takes one line of text.
    """

    def __init__(
        self,
        function: str,
        model: str,
        *,
        version: str = "local",
        counts_labels: bool = True,
        write: Callable[[str], None] = _write_line,
    ) -> None:
        self._of = dict(zip(_DIMENSIONS, (function, model), strict=True))
        self._version = version
        self._not_counted = set() if counts_labels else {"label"}
        self._write = write
        self._is_cold = True

    def log_request(
        self, request: Request, response: Response, request_id: str, duration_ms: float
    ) -> None:
        """Write the request's line: its source, its answer, and how long it took."""
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
        images = response.images
        if images:
            line.update(_measured(images, metrics))
            line["images"] = images
        counts = {name: Counter(i[name] for i in images if name in i) for name in _BY_NAME}
        if not images and response.code is not None:
            counts["code"][response.code] = 1
        if internal := counts["code"][ServingError.code]:
            counts["version"][self._version] = internal
        single = {name: counted for name, counted in counts.items() if len(counted) == 1}
        for name, counted in single.items():
            line[name], line[_BY_NAME[name]] = next(iter(counted.items()))
        self._write(_with_directives(line, metrics, single.keys() - self._not_counted))
        # A dimension has one value in a line.
        for name in counts.keys() - single.keys() - self._not_counted:
            for value, count in counts[name].items():
                self._count(request_id, name, value, count)

    def log_message(self, request_id: str, error: ServingError) -> None:
        """Write what was wrong with an event that is raised instead of answered."""
        line = {
            "level": "ERROR",
            "message": "unserved message",
            "request_id": request_id,
            "code": error.code,
            "detail": error.detail,
        }
        self._write(json.dumps(line))

    def log_unkept(self, request_id: str, detail: str) -> None:
        """Write why a request's unsure photos were not kept, or not all of them."""
        line = {
            "level": "WARNING",
            "message": "not kept",
            "request_id": request_id,
            "detail": detail,
        }
        self._write(json.dumps(line))

    def log_failure(self, request_id: str, failure: Exception) -> None:
        """Write the traceback of an exception, which no answer shows."""
        import traceback

        line = {
            "level": "ERROR",
            "message": "unexpected failure",
            "request_id": request_id,
            "traceback": "".join(traceback.format_exception(failure)),
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


def _measured(images: Sequence[Mapping[str, Any]], metrics: dict[str, str]) -> dict[str, Any]:
    """The line's members that are metrics of its images; adds their units to `metrics`."""
    members: dict[str, Any] = {
        "image_bytes": sum(image.get("bytes", 0) for image in images),
    }
    metrics["image_bytes"] = "Bytes"
    by_image = {
        # One value for each image, so that averages are a share and a mean.
        "unsure": ("Count", [int(i["unsure"]) for i in images if "unsure" in i]),
        "unfamiliar": ("Count", [int(i["unfamiliar"]) for i in images if "unfamiliar" in i]),
        "confidence": ("None", [i["probability"] for i in images if "probability" in i]),
    }
    for stage in STAGES:
        values = [i["timings_ms"][stage] for i in images if stage in i.get("timings_ms", ())]
        by_image[f"{stage}_ms"] = ("Milliseconds", values)
    for name, (unit, values) in by_image.items():
        if values:
            members[name] = values[:_MAX_VALUES] if len(values) > 1 else values[0]
            metrics[name] = unit
    return members


def _with_directives(
    line: Mapping[str, Any], metrics: Mapping[str, str], counted: Iterable[str]
) -> str:
    """The line as JSON, followed by the list of its members that are metrics."""
    directives = _directives(tuple(metrics.items()), tuple(counted))
    now_ms = time.time_ns() // 1_000_000
    aws = f'"_aws": {{"Timestamp": {now_ms}, "CloudWatchMetrics": {directives}}}'
    return f"{json.dumps(line)[:-1]}, {aws}}}"


@lru_cache(maxsize=32)  # most of the line, and nearly always the same
def _directives(metrics: tuple[tuple[str, str], ...], counted: tuple[str, ...]) -> str:
    """The directives as JSON: metrics with their units, and the names that are counted."""
    directives = [
        {
            "Namespace": NAMESPACE,
            "Dimensions": [_DIMENSIONS_BY_NAME[name]],
            "Metrics": [{"Name": _BY_NAME[name], "Unit": "Count"}],
        }
        for name in counted
    ]
    if metrics:
        named = [{"Name": name, "Unit": unit} for name, unit in metrics]
        directives.append({"Namespace": NAMESPACE, "Dimensions": [_DIMENSIONS], "Metrics": named})
    return json.dumps(directives)
