"""An event of any kind in, one Request out; and a Response in, what the event's sender expects out.

API Gateway REST (payload 1.0), HTTP API and function URL (payload 2.0), Application Load Balancer
and direct invocation are recognised by their shape. The only thing refused here is a body that is
not what the event says; limits and meaning are up to the caller.
"""

import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from pybase64 import b64decode

from serving.errors import InvalidRequestError, TooLargeError

Event = Mapping[str, Any]


class Source(StrEnum):
    """Who sent the event."""

    REST_API = "rest-api"
    HTTP_API = "http-api"
    FUNCTION_URL = "function-url"
    ALB = "alb"
    DIRECT = "direct"


@dataclass(frozen=True, slots=True)
class Request:
    """One request, from any source.

    Attributes:
        headers: names in lower case.
        query: every value of each parameter, in order, URL-decoded.
        event: the event itself; for a direct invocation that is the request's JSON.
    """

    source: Source
    method: str
    path: str
    headers: Mapping[str, str]
    query: Mapping[str, list[str]]
    event: Any

    @property
    def accept(self) -> str:
        """The Accept header; empty when there is none."""
        return self.headers.get("accept", "")

    @property
    def media_type(self) -> str:
        """The Content-Type without its parameters, in lower case; empty when there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def body(self, *, max_bytes: int) -> bytes:
        """The body as the client sent it; not for direct invocations.

        Raises:
            TooLargeError: it is larger than `max_bytes`, which is checked before copying it.
            InvalidRequestError: the event says it is base64 and it is not.
        """
        text = self.event.get("body") or ""
        if not isinstance(text, str):
            raise InvalidRequestError("The event's field 'body' must be a string.")
        encoded = bool(self.event.get("isBase64Encoded"))
        size = len(text) * 3 // 4 - text.count("=", -2) if encoded else len(text)
        if size > max_bytes:
            raise _too_large(size, max_bytes)
        if not encoded:
            body = text.encode(errors="surrogatepass")
            if len(body) > max_bytes:
                raise _too_large(len(body), max_bytes)
            return body
        try:
            return b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidRequestError("The request's body is not valid base64.") from error


def _too_large(size: int, max_bytes: int) -> TooLargeError:
    return TooLargeError(
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
    """Make a Request of any JSON value; what is not an HTTP event is a direct invocation."""
    context = event.get("requestContext") if isinstance(event, Mapping) else None
    if not isinstance(context, Mapping):
        return Request(Source.DIRECT, "POST", "/predict", {}, {}, event)
    if isinstance(context.get("http"), Mapping):
        return _read_payload_2(event, context)
    return _read_payload_1(event, context)


def _read_payload_2(event: Event, context: Mapping[str, Any]) -> Request:
    domain = str(context.get("domainName", ""))
    path = str(event.get("rawPath") or "/")
    stage = context.get("stage")
    if stage and stage != "$default":  # a named stage is part of the path
        path = path.removeprefix(f"/{stage}") or "/"
    return Request(
        source=Source.FUNCTION_URL if ".lambda-url." in domain else Source.HTTP_API,
        method=str(context["http"].get("method", "GET")).upper(),
        path=path,
        headers=_lower(_object(event, "headers")),
        query=parse_qs(str(event.get("rawQueryString") or ""), keep_blank_values=True),
        event=event,
    )


def _read_payload_1(event: Event, context: Mapping[str, Any]) -> Request:
    """For REST APIs and load balancers; both send single values, lists of values, or both."""
    many_headers = event.get("multiValueHeaders")
    headers = (
        {name: ",".join(_texts(values)) for name, values in many_headers.items()}
        if isinstance(many_headers, Mapping)
        else _object(event, "headers")
    )
    many_values = event.get("multiValueQueryStringParameters")
    query = (
        {name: _texts(values) for name, values in many_values.items()}
        if isinstance(many_values, Mapping)
        else {name: [str(v)] for name, v in _object(event, "queryStringParameters").items()}
    )
    is_alb = "elb" in context
    if is_alb:  # a load balancer passes the query on still URL-encoded
        pairs = "&".join(f"{name}={value}" for name, values in query.items() for value in values)
        query = parse_qs(pairs, keep_blank_values=True)
    return Request(
        source=Source.ALB if is_alb else Source.REST_API,
        method=str(event.get("httpMethod", "GET")).upper(),
        path=str(event.get("path") or "/"),
        headers=_lower(headers),
        query=query,
        event=event,
    )


def _texts(values: Any) -> list[str]:
    return [str(value) for value in values] if isinstance(values, list) else []


def _object(event: Event, name: str) -> Mapping[str, Any]:
    value = event.get(name)
    return value if isinstance(value, Mapping) else {}


def _lower(headers: Mapping[str, Any]) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in headers.items()}


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
