"""An event of any kind in, one Request out; and a Response in, what the event's sender expects out.

REST API (payload 1.0), HTTP API (payload 1.0 or 2.0), function URL (payload 2.0), Application Load
Balancer and direct invocation are recognised by their shape. Reading raises only for messages of
queues and notifications (`triggers`); a body is refused that is not what the event says. Limits and
meaning are up to the caller.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from serving.errors import InvalidRequestError, TooLargeError
from serving.http import bodies, paths, triggers

Event = Mapping[str, Any]


class Source(StrEnum):
    """Who sent the event."""

    REST_API = "rest-api"
    HTTP_API = "http-api"
    FUNCTION_URL = "function-url"
    ALB = "alb"
    DIRECT = "direct"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Request:
    """One request, from any source.

    Attributes:
        paths: the paths that it may mean, the likeliest first (`serving.http.paths`).
        headers: names in lower case.
        query: every value of each parameter, in order, URL-decoded.
        event: the event itself; for a direct invocation that is the request's JSON.
        refusal: why such an event is not served; empty for all others.
    """

    source: Source
    method: str
    paths: tuple[str, ...]
    headers: Mapping[str, str]
    query: Mapping[str, list[str]]
    event: Any
    refusal: str = ""

    @property
    def path(self) -> str:
        """The likeliest path."""
        return self.paths[0]

    @property
    def accept(self) -> str:
        """The Accept header; empty when there is none."""
        return self.headers.get("accept", "")

    @property
    def media_type(self) -> str:
        """The Content-Type without its parameters, in lower case; empty when there is none."""
        return re.split("[;,]", self.headers.get("content-type", ""))[0].strip().lower()

    def body(self, *, max_bytes: int) -> bytes:
        """The body as the client meant it: bytes, inflated; not for direct invocations.

        Raises:
            TooLargeError: it is larger than `max_bytes`, which is checked before copying it.
            InvalidRequestError: the event says that it is base64 or gzip, and it is not.
            UnsupportedImageError: it is compressed in a way that is not read.
        """
        text = self.event.get("body") or ""
        if not isinstance(text, str):
            raise InvalidRequestError("The event's field 'body' must be a string.")
        encoded = str(self.event.get("isBase64Encoded")).lower() in ("true", "1")
        size = bodies.base64_size(text, max_bytes=max_bytes) if encoded else len(text)
        _check_size(size, max_bytes)
        if not encoded:
            body = text.encode(errors="surrogatepass")
        else:
            try:
                body = bodies.base64_bytes(text)
            except ValueError as error:
                raise InvalidRequestError("The request's body is not valid base64.") from error
        _check_size(len(body), max_bytes)
        encoding = self.headers.get("content-encoding", "")
        return bodies.inflated(body, encoding, max_bytes=max_bytes)


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise TooLargeError(
            f"The request's body has {size:,} bytes; the limit is {max_bytes:,}. "
            "Send a smaller image, or a URL."
        )


@dataclass(frozen=True, slots=True)
class Response:
    """One answer: a JSON value, or text when `media_type` is not JSON.

    Attributes:
        code: the stable code of a problem, for the log.
        images: for each image of a prediction, its facts for the log.
        failures: what nobody expected, whose tracebacks go to the log.
    """

    status: HTTPStatus
    content: Any
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    code: str | None = None
    images: Sequence[Mapping[str, Any]] = ()
    failures: Sequence[Exception] = ()

    def text(self) -> str:
        """The body as it is sent."""
        if self.media_type.endswith("json"):
            return json.dumps(self.content, ensure_ascii=False, separators=(",", ":"))
        return str(self.content)


def read(event: Any) -> Request:
    """Make a Request of any JSON value; what is not an HTTP event is a direct invocation.

    Raises:
        UnservedMessageError: a queue or a notification service sent it.
    """
    if triggers.is_ping(event):
        return Request(Source.DIRECT, "GET", ("/health",), {}, {}, event)
    triggers.raise_message(event)
    context = event.get("requestContext") if isinstance(event, Mapping) else None
    refusal = triggers.refusal(event) or ""
    if isinstance(context, Mapping):
        if refusal:
            return _unserved(event, refusal)
        if isinstance(context.get("http"), Mapping):
            return _read_payload_2(event, context)
        if "elb" in context or event.get("httpMethod") or context.get("httpMethod"):
            return _read_payload_1(event, context)
        return _unserved(event, triggers.unknown_api(context))
    if isinstance(event, Mapping) and event.get("httpMethod") and event.get("path"):
        return _read_payload_1(event, {})  # as people write test events
    return Request(Source.DIRECT, "POST", ("/predict",), {}, {}, event, refusal)


def _unserved(event: Event, refusal: str) -> Request:
    return Request(Source.UNKNOWN, "POST", ("/predict",), {}, {}, event, refusal)


def _read_payload_2(event: Event, context: Mapping[str, Any]) -> Request:
    domain = str(context.get("domainName", ""))
    path = str(event.get("rawPath") or "/")
    raw_query = event.get("rawQueryString")
    if raw_query is None:  # as people write test events
        query = _values(event.get("queryStringParameters"))
    else:
        query = parse_qs(str(raw_query), keep_blank_values=True)
    return Request(
        source=Source.FUNCTION_URL if ".lambda-url." in domain else Source.HTTP_API,
        method=str(context["http"].get("method", "GET")).upper(),
        paths=paths.candidates(path, event, context, has_stage=True),
        headers=_headers(event),
        query=query,
        event=event,
    )


def _read_payload_1(event: Event, context: Mapping[str, Any]) -> Request:
    """For REST APIs, load balancers, and HTTP APIs that are set to it."""
    query = _values(event.get("queryStringParameters"))
    query |= _values(event.get("multiValueQueryStringParameters"))
    source = Source.REST_API
    if "elb" in context:  # a load balancer passes the query on still URL-encoded
        source = Source.ALB
        pairs = "&".join(f"{name}={value}" for name, values in query.items() for value in values)
        query = parse_qs(pairs, keep_blank_values=True)
    elif event.get("version") is not None:
        source = Source.HTTP_API
    method = event.get("httpMethod") or context.get("httpMethod") or "GET"
    path = str(event.get("path") or "/")
    return Request(
        source=source,
        method=str(method).upper(),
        paths=paths.candidates(path, event, context, has_stage=source is Source.HTTP_API),
        headers=_headers(event),
        query=query,
        event=event,
    )


def _headers(event: Event) -> dict[str, str]:
    """Names in lower case; single values, lists of values, or both, in either field."""
    values = _values(event.get("headers")) | _values(event.get("multiValueHeaders"))
    return {name.lower(): ",".join(each) for name, each in values.items()}


def _values(members: Any) -> dict[str, list[str]]:
    """{"a": "b", "c": ["d", 1]} -> {"a": ["b"], "c": ["d", "1"]}; empty for what is no object."""
    if not isinstance(members, Mapping):
        return {}
    return {
        str(name): [str(one) for one in (value if isinstance(value, list) else [value])]
        for name, value in members.items()
        if value is not None
    }


def write(response: Response, request: Request) -> Any:
    """Turn a Response into what the sender of the Request's event expects."""
    if request.source is Source.DIRECT:
        return response.content
    headers = dict(response.headers)
    if response.content is not None:
        headers["content-type"] = _with_charset(response.media_type)
    without_body = request.method == "HEAD" or response.status == HTTPStatus.NO_CONTENT
    answer: dict[str, Any] = {
        "statusCode": response.status.value,
        "headers": headers,
        "body": "" if without_body else response.text(),
        "isBase64Encoded": False,
    }
    if request.source is Source.ALB:
        answer["statusDescription"] = f"{response.status.value} {response.status.phrase}"
    if isinstance(request.event.get("multiValueHeaders"), Mapping):
        answer["multiValueHeaders"] = {name: [value] for name, value in headers.items()}
    return answer


def _with_charset(media_type: str) -> str:
    return f"{media_type}; charset=utf-8" if media_type.startswith("text/") else media_type
