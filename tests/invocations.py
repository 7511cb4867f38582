"""Events of every kind, made from the documented ones under tests/events, and their answers."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

EVENTS = Path(__file__).parent / "events"
HTTP_KINDS = (
    *("http_api_v2", "http_api_v1", "rest_api_v1", "function_url", "alb", "alb_multi_value"),
)

# Headers of a request's body.
JPEG = {"content-type": "image/jpeg"}
JSON = {"content-type": "application/json"}


def as_json(value: Any) -> dict[str, Any]:
    """A request's body and headers."""
    return {"body": json.dumps(value).encode(), "headers": {"content-type": "application/json"}}


@dataclass(frozen=True)
class Answer:
    """What the client of an HTTP event gets to see."""

    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def load(kind: str) -> dict[str, Any]:
    event: dict[str, Any] = json.loads((EVENTS / f"{kind}.json").read_text(encoding="utf-8"))
    return event


def event(
    kind: str,
    method: str = "POST",
    path: str = "/predict",
    *,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    query: str = "",
    as_text: bool = False,
) -> dict[str, Any]:
    """An HTTP event of a kind; its body is base64 unless it goes `as_text`."""
    made = load(kind)
    context = made["requestContext"]
    if "http" in context:
        made["rawPath"] = context["http"]["path"] = path
        context["http"]["method"] = method
        made["rawQueryString"] = query
    else:
        made["path"], made["httpMethod"] = path, method
        if made.get("pathParameters"):
            made["pathParameters"] = {"proxy": path[1:]}
        _put_query(made, kind, query)
    for name, value in (headers or {}).items():
        if "headers" in made:
            made["headers"][name] = value
        if "multiValueHeaders" in made:
            made["multiValueHeaders"][name] = [value]
    if body:
        made["body"] = body.decode() if as_text else base64.b64encode(body).decode()
        made["isBase64Encoded"] = not as_text
    return made


def _put_query(made: dict[str, Any], kind: str, query: str) -> None:
    """A load balancer leaves the query's encoding as it was; a REST API undoes it."""
    if kind.startswith("alb"):
        pairs = [pair.partition("=") for pair in query.split("&") if pair]
        values: dict[str, list[str]] = {}
        for name, _, value in pairs:
            values.setdefault(name, []).append(value)
    else:
        values = parse_qs(query, keep_blank_values=True)
    if kind != "alb":
        made["multiValueQueryStringParameters"] = values or None
    if kind != "alb_multi_value":
        made["queryStringParameters"] = {name: v[-1] for name, v in values.items()} or None


def answer(event: Mapping[str, Any], result: Mapping[str, Any]) -> Answer:
    """Read a function's result as the event's sender would, holding it to that sender's rules."""
    assert set(result) <= {
        "statusCode",
        "statusDescription",
        "headers",
        "multiValueHeaders",
        "body",
        "isBase64Encoded",
    }
    assert type(result["statusCode"]) is int
    json.dumps(result)  # what cannot be JSON never leaves the function
    if "elb" in event["requestContext"]:
        assert result["statusDescription"].startswith(f"{result['statusCode']} ")
    else:
        assert "statusDescription" not in result
    headers = result["headers"]
    if "multiValueHeaders" in event:
        assert {name: [value] for name, value in headers.items()} == result["multiValueHeaders"]
    assert result["isBase64Encoded"] is False
    return Answer(result["statusCode"], headers, result["body"])
