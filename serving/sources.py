"""A request's image reference in, the image file's bytes out.

A reference is a raw body, or JSON that names one image: {"image": BASE64} or {"url": URL}. Anything
else is refused with an InvalidRequestError that names the field.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, Protocol

from serving.errors import InvalidRequestError, TooLargeError
from serving.events import Request, Source
from serving.settings import Settings

_FORMS = '{"url": "https://…"} or {"image": "BASE64"}'


class FetchUrl(Protocol):
    """Downloads an image; `serving.fetch` holds the one that guards against hostile URLs."""

    def __call__(self, url: str, *, timeout_s: float) -> bytes: ...


def image_bytes(request: Request, settings: Settings, fetch_url: FetchUrl) -> bytes:
    """The bytes of the image that a request refers to.

    Raises:
        InvalidRequestError: the request holds no image reference, or a malformed one.
        TooLargeError: the body is larger than the settings allow.
        RemoteError, ForbiddenUrlError, UnresolvableHostError: the URL cannot be fetched.
    """
    if request.source is Source.DIRECT:
        return _referenced(request.event, settings, fetch_url)
    body = request.body(max_bytes=settings.body_max_bytes)
    if not body:
        raise InvalidRequestError(
            f"The request has no body. Send an image file, or JSON: {_FORMS}."
        )
    if request.media_type == "application/json" or request.media_type.endswith("+json"):
        return _referenced(_json_object(body), settings, fetch_url)
    return body


def _json_object(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"The request's body is not valid JSON: {error}.") from error
    if not isinstance(value, Mapping):
        raise InvalidRequestError(f"The request's JSON is no object. Send {_FORMS}.")
    return value


def _referenced(reference: Mapping[str, Any], settings: Settings, fetch_url: FetchUrl) -> bytes:
    named = [name for name in ("url", "image") if name in reference]
    if len(named) != 1:
        found = ", ".join(repr(str(name)) for name in reference) or "none"
        raise InvalidRequestError(f"The request must have one field of {_FORMS}; found: {found}.")
    value = reference[named[0]]
    if not isinstance(value, str) or not value:
        raise InvalidRequestError(f"The field '{named[0]}' must be a string that is not empty.")
    if named[0] == "url":
        return fetch_url(value, timeout_s=settings.fetch_timeout_s)
    return _decoded(value, max_bytes=settings.body_max_bytes)


def _decoded(text: str, *, max_bytes: int) -> bytes:
    if text.startswith("data:"):  # RFC 2397: data:image/jpeg;base64,…
        text = text.partition(",")[2]
    size = len(text) * 3 // 4
    if size > max_bytes:
        raise TooLargeError(
            f"The field 'image' holds about {size:,} bytes; at most {max_bytes:,} are taken."
        )
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequestError("The field 'image' is not valid base64.") from error
