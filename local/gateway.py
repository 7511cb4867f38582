"""A small HTTP API in front of the function, in the place of API Gateway.

An HTTP request becomes an event of payload format 2.0, and the function's answer becomes the
response (API Gateway developer guide, "Create AWS Lambda proxy integrations for HTTP APIs"). Binary
bodies reach the function as base64, as behind the deployed API. API Gateway's own errors are JSON
documents with one field, `message`: here 400, 413, 501, 502 and 504.
"""

import base64
import binascii
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from uuid import uuid4

from local import wire
from local.backends import Backend
from local.errors import BackendError, FunctionFailedError, FunctionTimeoutError
from local.wire import MAX_EVENT_BYTES, RefusedError, too_large

_MAX_DRAINED_BYTES = 64_000_000
_SOCKET_TIMEOUT_S = 30.0
_WITHOUT_BODY = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
# API Gateway passes on bodies of these media types as text; all others as base64.
_TEXT_TYPES = frozenset({"application/json", "application/javascript", "application/xml"})


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A client's request; `headers` as received, one pair for each line."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    source_ip: str = "127.0.0.1"
    protocol: str = "HTTP/1.1"


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """The client's response."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


def event_of(request: HttpRequest) -> dict[str, Any]:
    """The event, in payload format 2.0, that API Gateway makes of a request."""
    raw_path, _, query = request.target.partition("?")
    path = unquote(raw_path) or "/"
    headers = _joined((name.lower(), value.strip()) for name, value in request.headers)
    if headers.pop("transfer-encoding", None):  # the API puts the chunks together
        headers["content-length"] = str(len(request.body))
    cookies = [part.strip() for part in headers.pop("cookie", "").split(";") if part.strip()]
    now = datetime.now(UTC)
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "local",
            "domainName": "localhost",
            "domainPrefix": "localhost",
            "http": {
                "method": request.method,
                "path": path,
                "protocol": request.protocol,
                "sourceIp": request.source_ip,
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": str(uuid4()),
            "routeKey": "$default",
            "stage": "$default",
            "time": now.strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "timeEpoch": int(now.timestamp() * 1000),
        },
        "isBase64Encoded": False,
    }
    if cookies:
        event["cookies"] = cookies
    if query:
        event["queryStringParameters"] = _joined(parse_qsl(query, keep_blank_values=True))
    if request.body:
        event["body"], event["isBase64Encoded"] = _body(request.body, headers)
    return event


def _joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Pairs as an object; the values of one name are joined by commas."""
    joined: dict[str, str] = {}
    for name, value in pairs:
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def _body(body: bytes, headers: Mapping[str, str]) -> tuple[str, bool]:
    """The body as text for the event, and whether that is base64."""
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if "content-encoding" not in headers and (
        media_type.startswith("text/") or media_type in _TEXT_TYPES
    ):
        try:
            return body.decode(), False
        except UnicodeDecodeError:
            pass
    return base64.b64encode(body).decode("ascii"), True


def response_of(answer: bytes) -> HttpResponse:
    """The response that API Gateway makes of a function's answer.

    Raises:
        RefusedError: 502, API Gateway does not understand the answer.
    """
    value = json.loads(answer)
    if not isinstance(value, dict) or "statusCode" not in value:  # payload format 2.0 infers it
        return HttpResponse(HTTPStatus.OK, (("content-type", "application/json"),), answer)
    try:
        status = int(value["statusCode"])
        headers = [(str(n).lower(), str(v)) for n, v in (value.get("headers") or {}).items()]
        headers += [("set-cookie", str(cookie)) for cookie in value.get("cookies") or ()]
        body = str(value.get("body") or "").encode()
        if value.get("isBase64Encoded"):
            body = base64.b64decode(body, validate=True)
    except (TypeError, ValueError, AttributeError, binascii.Error) as error:
        raise _bad_gateway() from error
    if not 200 <= status <= 599 or any("\n" in v or "\r" in v for _, v in headers):
        raise _bad_gateway()
    if all(name != "content-type" for name, _ in headers):
        headers.append(("content-type", "application/json"))
    return HttpResponse(status, tuple(headers), body)


def _bad_gateway() -> RefusedError:
    return RefusedError(HTTPStatus.BAD_GATEWAY, "Internal Server Error")


def _refusal(error: RefusedError) -> HttpResponse:
    return HttpResponse(error.status, (("content-type", "application/json"),), error.body())


def answer(request: HttpRequest, backend: Backend) -> HttpResponse:
    """Send a request to the function; failures become 413, 502 or 504."""
    try:
        event = json.dumps(event_of(request), separators=(",", ":")).encode()
        if len(event) > MAX_EVENT_BYTES:
            raise too_large()
        return response_of(backend.invoke(event))
    except RefusedError as error:
        return _refusal(error)
    except FunctionTimeoutError:
        return _refusal(RefusedError(HTTPStatus.GATEWAY_TIMEOUT, "Endpoint request timed out"))
    except (FunctionFailedError, BackendError):
        return _refusal(_bad_gateway())


Report = Callable[[str, str, HttpResponse, float], None]


class Gateway(ThreadingHTTPServer):
    """The HTTP server; its backend takes one invocation at a time.

    `report` is told of each request: its method and path, the response, and how many milliseconds
    that took.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self, host: str, port: int, backend: Backend, report: Report | None = None
    ) -> None:
        self.backend = backend
        self.report = report
        super().__init__((host, port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that went away; any other error is a fault of this file."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        """The URL for clients."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"


class _Handler(BaseHTTPRequestHandler):
    server: Gateway
    protocol_version = "HTTP/1.1"
    server_version = "local-gateway"
    timeout = _SOCKET_TIMEOUT_S
    disable_nagle_algorithm = True  # a small answer would wait 40 ms for the client's ACK

    def handle_one_request(self) -> None:
        """Answer the connection's next request."""
        self._started, self.command, self.path = time.perf_counter(), "", ""
        super().handle_one_request()

    def parse_request(self) -> bool:
        """Read the head strictly; the base class then takes it apart."""
        self._started = time.perf_counter()  # a connection may have been idle until now
        head, self._is_well_formed = wire.read_head(self.rfile)
        stream, self.rfile = self.rfile, BytesIO(head)
        try:
            return super().parse_request()
        finally:
            self.rfile = stream

    def _answer(self) -> None:
        try:
            if not self._is_well_formed:
                raise RefusedError(HTTPStatus.BAD_REQUEST, "Bad Request")
            request = HttpRequest(
                method=self.command,
                target=_origin_form(self.path),
                headers=tuple(self.headers.items()),
                body=wire.read_body(self.headers, self.rfile),
                source_ip=self.client_address[0],
                protocol=self.request_version,
            )
        except RefusedError as refusal:
            self._refuse(refusal)
        else:
            self._send(answer(request, self.server.backend))

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815
    do_OPTIONS = do_TRACE = do_QUERY = _answer  # noqa: N815

    def handle_expect_100(self) -> bool:
        """Refuse before the client sends a body that would be refused."""
        try:
            wire.content_length(self.headers)
        except RefusedError as refusal:
            self.close_connection = True
            self._send(_refusal(refusal))
            return False
        return super().handle_expect_100()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what the base class does not take, such as an unknown method."""
        self.close_connection = True
        self._send(_refusal(RefusedError(HTTPStatus(code), HTTPStatus(code).phrase)))

    def _refuse(self, refusal: RefusedError) -> None:
        """Answer, then read the rest of the request: a reset would lose the client the answer."""
        self.close_connection = True
        self._send(_refusal(refusal))
        deadline = time.monotonic() + _SOCKET_TIMEOUT_S
        left = _MAX_DRAINED_BYTES
        while left > 0 and time.monotonic() < deadline:
            chunk = self.rfile.read1(min(left, 65_536))
            if not chunk:
                return
            left -= len(chunk)

    def _send(self, response: HttpResponse) -> None:
        self.send_response(response.status)
        for name, value in response.headers:
            if name not in ("content-length", "connection", "transfer-encoding"):
                self.send_header(name, value)
        has_body = self.command != "HEAD" and response.status not in _WITHOUT_BODY
        if has_body:
            self.send_header("content-length", str(len(response.body)))
        if self.close_connection:
            self.send_header("connection", "close")
        self.end_headers()
        if has_body:
            self.wfile.write(response.body)
        if self.server.report is not None:
            duration_ms = (time.perf_counter() - self._started) * 1000
            path = urlsplit(_origin_form(self.path)).path
            self.server.report(self.command or "?", path, response, duration_ms)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Write nothing: `report` and the function's own log tell of each request."""


def _origin_form(target: str) -> str:
    """A request's target without scheme and host, which clients behind a proxy include."""
    return re.sub("^https?://[^/?]*", "", target, flags=re.IGNORECASE)
