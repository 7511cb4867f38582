"""An error in, the problem document that a client gets out (RFC 9457)."""

from collections.abc import Mapping, Sequence
from typing import Any

from serving.errors import ServingError
from serving.http.events import Response

MEDIA_TYPE = "application/problem+json"
UNEXPECTED = "The server failed. Its log has the reason under this request id."
_TYPE = "about:blank"  # the status says what kind of problem it is


def document(error: ServingError) -> dict[str, Any]:
    """The document without its `request_id`, as a batch's results hold it."""
    return {
        "type": _TYPE,
        "title": error.status.phrase,
        "status": error.status.value,
        "detail": error.detail,
        "code": error.code,
    }


def response(
    error: ServingError,
    *,
    images: Sequence[Mapping[str, Any]] = (),
    failures: Sequence[Exception] = (),
) -> Response:
    """The response to a request that failed as a whole; the rest is for the log."""
    return Response(
        error.status,
        document(error),
        MEDIA_TYPE,
        headers=error.headers,
        code=error.code,
        images=images,
        failures=failures,
    )


def schema() -> dict[str, Any]:
    """The document's JSON schema, for /openapi.json."""
    text = {"type": "string"}
    fields = dict.fromkeys(("type", "title", "detail", "code", "request_id"), text)
    return {
        "type": "object",
        "properties": {**fields, "status": {"type": "integer"}},
        "required": [name for name in [*fields, "status"] if name != "request_id"],
        "additionalProperties": False,
    }
