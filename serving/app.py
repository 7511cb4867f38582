"""An event in, an answer out: the table of (method, path), and the one place where an error
becomes a response.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving import telemetry
from serving.answers import accept, problems
from serving.errors import (
    InvalidRequestError,
    MethodNotAllowedError,
    NotAcceptableError,
    NotFoundError,
    RemoteError,
    RequestError,
    ServingError,
    UnservedMessageError,
)
from serving.http import events
from serving.http.events import Request, Response, Source
from serving.http.sources import FetchUrl, Loader
from serving.model.classifier import Classifier
from serving.predict import Predictor, identity
from serving.settings import Settings

if TYPE_CHECKING:
    from serving.keep import Keeper

JSON, TEXT, HTML = "application/json", "text/plain", "text/html"
_PAGE = Path(__file__).with_name("page.html")

# An HTTP API answers preflight requests itself. The others leave CORS to the function, also a REST
# API, which passes its headers on (API Gateway developer guide, "CORS for REST APIs").
_CORS_SOURCES = frozenset({Source.REST_API, Source.FUNCTION_URL, Source.ALB})
_PREFLIGHT_MAX_AGE_S = 600


@dataclass(frozen=True, slots=True)
class Route:
    """How one method of one path is answered, and in which media types, the preferred one first."""

    answer: Callable[[Request, float], Response]
    offered: tuple[str, ...] = (JSON,)


class App:
    """The service: a loaded classifier, its limits, and how to fetch what a request refers to.

    `function` and `version` are the Lambda function's, used as metrics dimensions.
    """

    def __init__(
        self,
        classifier: Classifier,
        settings: Settings,
        fetch_url: FetchUrl | None = None,
        fetch_s3: FetchUrl | None = None,
        *,
        function: str = "local",
        version: str = "local",
    ) -> None:
        self._classifier = classifier
        self._settings = settings
        self._keeper = _keeper(settings)
        loader = Loader(settings, fetch_url, fetch_s3)
        self._predictor = Predictor(classifier, settings, loader, self._keeper)
        self._telemetry = telemetry.Telemetry(
            function,
            classifier.contract.name,
            version=version,
            counts_labels=settings.label_metrics,
        )
        self._routes: dict[tuple[str, str], Route] = {
            ("POST", "/predict"): Route(self._predict, (JSON, TEXT)),
            ("GET", "/"): Route(self._page, (HTML,)),
            ("GET", "/health"): Route(self._health),
            ("GET", "/model"): Route(self._model),
            ("GET", "/openapi.json"): Route(self._openapi),
        }

    def handle(self, event: Any, request_id: str, *, remaining_s: float = math.inf) -> Any:
        """Answer one event; an error becomes a problem document.

        Args:
            event: of any kind that `serving.http.events` knows, or anything else.
            request_id: the invocation's id, repeated in problems and in the log.
            remaining_s: seconds until Lambda ends the invocation.

        Raises:
            UnservedMessageError: a queue or a notification sent it, and an answer would lose it.
        """
        started = time.perf_counter()
        try:
            request = self._with_known_path(events.read(event))
        except UnservedMessageError as error:
            self._telemetry.log_message(request_id, error)
            raise
        try:
            response = self._route(request, remaining_s)
        except (RequestError, RemoteError) as error:
            response = problems.response(error)
        except Exception as error:  # noqa: BLE001 - the one place where anything becomes a response
            response = problems.response(ServingError(problems.UNEXPECTED), failures=[error])
        for failure in response.failures:
            self._telemetry.log_failure(request_id, failure)
        if response.media_type == problems.MEDIA_TYPE:
            response = replace(response, content={**response.content, "request_id": request_id})
            if accept.choose(request.accept, (JSON, TEXT)) == TEXT:
                response = _as_text(response)
        duration_ms = (time.perf_counter() - started) * 1000
        self._telemetry.log_request(request, response, request_id, duration_ms)
        answer = events.write(self._with_headers(response, request), request)
        self._keep_unsure(request_id, remaining_s - (time.perf_counter() - started))
        return answer

    def _keep_unsure(self, request_id: str, remaining_s: float) -> None:
        reason = self._keeper.write(remaining_s) if self._keeper is not None else ""
        if reason:
            self._telemetry.log_unkept(request_id, reason)

    def _with_known_path(self, request: Request) -> Request:
        """The request with the first of its possible paths that there is."""
        there_are = {path for _, path in self._routes}
        known = tuple(path for path in request.paths if path in there_are)
        return replace(request, paths=known[:1] or request.paths)

    def _route(self, request: Request, remaining_s: float) -> Response:
        if request.refusal:
            raise InvalidRequestError(request.refusal)
        allowed = self._allowed(request.path)
        if request.method == "OPTIONS":
            return Response(HTTPStatus.NO_CONTENT, None, headers={"allow": ", ".join(allowed)})
        method = "GET" if request.method == "HEAD" else request.method
        route = self._routes.get((method, request.path))
        if route is None:
            raise MethodNotAllowedError(
                f"{request.path} does not support this method; use {' or '.join(allowed)}.",
                headers={"allow": ", ".join(allowed)},
            )
        chosen = accept.choose(request.accept, route.offered)
        if chosen is None:
            raise NotAcceptableError(
                f"{request.path} answers with {' or '.join(route.offered)}, "
                "none of which the header Accept allows."
            )
        response = route.answer(request, remaining_s)
        return _as_text(response) if chosen == TEXT and response.media_type == JSON else response

    def _allowed(self, path: str) -> list[str]:
        """The methods of a path; raises NotFoundError for an unknown path."""
        allowed = [method for method, known in self._routes if known == path]
        if not allowed:
            there_is = ", ".join(f"{method} {known}" for method, known in self._routes)
            raise NotFoundError(f"There is nothing at this path. Use one of: {there_is}.")
        return [*allowed, *(["HEAD"] if "GET" in allowed else []), "OPTIONS"]

    def _with_headers(self, response: Response, request: Request) -> Response:
        """The response with the headers that browsers and caches need."""
        headers = {"x-content-type-options": "nosniff", "vary": "accept", **response.headers}
        if request.source in _CORS_SOURCES:
            headers.update(self._cors(request))
        return replace(response, headers=headers)

    def _cors(self, request: Request) -> dict[str, str]:
        origin = request.headers.get("origin", "")
        allowed = self._settings.cors_origins
        if "*" in allowed:  # one answer for every page, which caches may keep
            headers = {"access-control-allow-origin": "*"}
        elif origin and origin.lower() in allowed:
            headers = {"vary": "accept, origin", "access-control-allow-origin": origin}
        else:
            return {"vary": "accept, origin"} if allowed else {}
        if request.method == "OPTIONS":
            headers["access-control-allow-methods"] = "GET, HEAD, POST, OPTIONS"
            headers["access-control-allow-headers"] = "content-type, accept"
            headers["access-control-max-age"] = str(_PREFLIGHT_MAX_AGE_S)
        return headers

    def _predict(self, request: Request, remaining_s: float) -> Response:
        return self._predictor(request, remaining_s=remaining_s)

    def _health(self, request: Request, remaining_s: float) -> Response:
        return Response(HTTPStatus.OK, {"status": "ok", "model": identity(self._classifier)})

    def _model(self, request: Request, remaining_s: float) -> Response:
        contract = self._classifier.contract.to_json()
        return Response(HTTPStatus.OK, {**contract, "model": identity(self._classifier)})

    def _openapi(self, request: Request, remaining_s: float) -> Response:
        from serving.answers import openapi  # seldom asked for, by tools

        document = openapi.describe(self._settings, self._classifier)
        return Response(HTTPStatus.OK, document)

    def _page(self, request: Request, remaining_s: float) -> Response:
        from serving.answers import page

        return page.response(_PAGE.read_text(encoding="utf-8"))


def _keeper(settings: Settings) -> "Keeper | None":
    if not settings.keep_unsure:
        return None
    from serving.keep import Keeper  # most services keep nothing

    return Keeper(settings)


def _as_text(response: Response) -> Response:
    from serving.answers import plain  # only people at a terminal ask for it

    return replace(response, content=plain.render(response.content), media_type=TEXT)
