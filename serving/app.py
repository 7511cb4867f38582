"""Events in, answers out: a table of (method, path), and the one place where an error becomes a
response.
"""

import json
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from serving import events, image, sources, telemetry
from serving.classifier import Classifier
from serving.errors import (
    InvalidRequestError,
    MethodNotAllowedError,
    NotFoundError,
    ServingError,
)
from serving.events import Request, Response, Source
from serving.preprocess import Preprocessor
from serving.settings import Settings

TOP_K_DEFAULT = 5
PROBLEM_MEDIA_TYPE = "application/problem+json"  # RFC 9457


class App:
    """The service: a loaded classifier, its limits, and how to fetch a URL."""

    def __init__(
        self, classifier: Classifier, settings: Settings, fetch_url: sources.FetchUrl
    ) -> None:
        self._classifier = classifier
        self._settings = settings
        self._fetch_url = fetch_url
        self._preprocess = Preprocessor(classifier.contract.preprocess)
        self._routes: dict[tuple[str, str], Callable[[Request], Response]] = {
            ("POST", "/predict"): self._predict,
            ("GET", "/health"): self._health,
            ("GET", "/model"): self._model,
        }

    def handle(self, event: Any, request_id: str) -> Any:
        """Answer one event. Never raises: what goes wrong becomes a problem document."""
        started = time.perf_counter()
        request = Request(Source.DIRECT, "POST", "/predict", {}, {}, {})
        try:
            request = events.read(event)
            response = self._route(request)
        except ServingError as error:
            response = _problem(error.status, error.code, error.detail, request_id, error.headers)
        except Exception:  # noqa: BLE001 - the one place where anything becomes a response
            telemetry.log_failure(request_id)
            response = _problem(
                HTTPStatus.INTERNAL_SERVER_ERROR,
                "internal_error",
                "The server failed. Its log tells why, under this request id.",
                request_id,
            )
        telemetry.log_request(request, response, request_id, time.perf_counter() - started)
        return events.write(response, request)

    def _route(self, request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        answer = self._routes.get((method, request.path))
        if answer is not None:
            return answer(request)
        allowed = sorted(known for known, path in self._routes if path == request.path)
        if not allowed:
            paths = ", ".join(f"{known} {path}" for known, path in self._routes)
            raise NotFoundError(f"There is nothing at this path. There is: {paths}.")
        if "GET" in allowed:
            allowed.append("HEAD")
        raise MethodNotAllowedError(
            f"{request.path} does not take {request.method}; use {' or '.join(allowed)}.",
            headers={"allow": ", ".join(allowed)},
        )

    def _health(self, request: Request) -> Response:
        return Response(HTTPStatus.OK, {"status": "ok", "model": self._identity()})

    def _model(self, request: Request) -> Response:
        contract = self._classifier.contract.to_json()
        return Response(HTTPStatus.OK, {**contract, "model": self._identity()})

    def _identity(self) -> dict[str, str]:
        return {"name": self._classifier.contract.name, "version": self._classifier.version}

    def _predict(self, request: Request) -> Response:
        k = self._top_k(request)
        timer = _StageTimer()
        data = sources.image_bytes(request, self._settings, self._fetch_url)
        timer.end("fetch")
        picture = image.decode(data, max_pixels=self._settings.image_max_pixels)
        timer.end("decode")
        batch = self._preprocess(picture)  # (1, 3, H, W)
        timer.end("preprocess")
        logits = self._classifier.logits(batch)  # (1, C)
        timer.end("inference")
        probabilities = self._classifier.probabilities(logits)[0]  # (C,)
        predictions = self._classifier.top_k(probabilities, k)
        return Response(
            HTTPStatus.OK,
            {
                "predictions": [
                    {"label": p.label, "probability": round(p.probability, 6)} for p in predictions
                ],
                "label": predictions[0].label,
                "unsure": predictions[0].probability < self._classifier.contract.unsure_below,
                "model": self._identity(),
                "timings_ms": timer.stages_ms,
            },
        )

    def _top_k(self, request: Request) -> int:
        """`?top_k=` of an HTTP request, the field `top_k` of a direct one."""
        value: Any = TOP_K_DEFAULT
        if request.source is Source.DIRECT:
            value = request.event.get("top_k", value)
        elif "top_k" in request.query:
            text = request.query["top_k"][-1]
            value = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else text
        largest = self._settings.top_k_max
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= largest:
            shown = json.dumps(value, ensure_ascii=False)[:40]
            raise InvalidRequestError(
                f"'top_k' is {shown}; it must be a whole number between 1 and {largest}."
            )
        return min(value, len(self._classifier.contract.classes))


class _StageTimer:
    """Milliseconds spent in each stage of one prediction."""

    def __init__(self) -> None:
        self.stages_ms: dict[str, float] = {}
        self._last = time.perf_counter()

    def end(self, stage: str) -> None:
        now = time.perf_counter()
        self.stages_ms[stage] = round((now - self._last) * 1000, 2)
        self._last = now


def _problem(
    status: HTTPStatus,
    code: str,
    detail: str,
    request_id: str,
    headers: Mapping[str, str] | None = None,
) -> Response:
    problem = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
        "code": code,
        "request_id": request_id,
    }
    return Response(status, problem, PROBLEM_MEDIA_TYPE, headers or {})
