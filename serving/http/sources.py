"""A request in, the images that it names and its options out; and from such a name to the bytes.

An image comes as a raw body, as a part of a form, or in JSON: {"url": URL}, {"image": BASE64},
{"s3": "s3://bucket/key"}, or {"images": [those, …]}. A body's first bytes decide which, its
Content-Type only where they do not. `Loader` gets the image file's bytes. A malformed request is
refused with an error that names the field.

To add a kind of input, add it to Kind, _KIND_BY_FIELD and SCHEMAS, and load it in Loader.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

from serving.errors import InvalidRequestError, RequestError, ServingError, TooLargeError
from serving.http import bodies, options
from serving.http.events import Request, Source
from serving.settings import Settings

if TYPE_CHECKING:
    from serving.http import form

_FORMS = '{"url": "https://…"}, {"image": "BASE64"} or {"s3": "s3://bucket/key"}'


class Kind(StrEnum):
    """Where an image's bytes come from."""

    BODY = "body"
    FORM = "form"
    BASE64 = "base64"
    URL = "url"
    S3 = "s3"

    @property
    def is_remote(self) -> bool:
        """Whether another server is asked; several such images are fetched at once."""
        return self in (Kind.URL, Kind.S3)


_KIND_BY_FIELD = {"url": Kind.URL, "image": Kind.BASE64, "s3": Kind.S3}

SCHEMAS: dict[str, dict[str, Any]] = {
    "url": {"type": "string", "format": "uri", "minLength": 1},
    "image": {"type": "string", "contentEncoding": "base64", "minLength": 1},
    "s3": {"type": "string", "pattern": "^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.+$"},
}
"""The JSON schema of each field that names an image, for /openapi.json."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One image as the request names it: its bytes, or the text to load them by."""

    kind: Kind
    value: str | bytes


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks for.

    Attributes:
        items: for each image its reference, or the error to answer for it.
        is_batch: whether the answer is a list.
        options: the options that the request's body sets, unchecked.
    """

    items: tuple[Reference | ServingError, ...]
    is_batch: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


class FetchUrl(Protocol):
    """Downloads an image; `serving.fetch.fetcher.Fetcher` is safe against hostile URLs."""

    def __call__(self, url: str, *, timeout_s: float) -> bytes: ...


class Loader:
    """Gets the bytes of the image file that a reference names. Threads may share it.

    Args:
        settings: the limits.
        fetch_url: downloads from a URL; None is `serving.fetch.fetcher.Fetcher`.
        fetch_s3: downloads from S3; None is `serving.fetch.s3.S3Fetcher`.
    """

    def __init__(
        self,
        settings: Settings,
        fetch_url: FetchUrl | None = None,
        fetch_s3: FetchUrl | None = None,
    ) -> None:
        self._settings = settings
        self._fetch_url = fetch_url
        self._fetch_s3 = fetch_s3
        self._making = Lock()  # one fetcher serves all images of a batch, which are loaded at once

    def __call__(self, reference: Reference, *, timeout_s: float) -> bytes:
        """The bytes of one image.

        Raises:
            InvalidRequestError: the reference is malformed.
            TooLargeError: the image is larger than the settings allow.
            ForbiddenUrlError, UnresolvableHostError, RemoteError: it cannot be fetched.
        """
        value = reference.value
        if isinstance(value, bytes):
            return value
        if reference.kind is Kind.URL:
            return self._url()(value, timeout_s=timeout_s)
        if reference.kind is Kind.S3:
            return self._s3()(value, timeout_s=timeout_s)
        return _decoded(value, max_bytes=self._settings.body_max_bytes)

    def _url(self) -> FetchUrl:
        with self._making:
            if self._fetch_url is None:
                from serving.fetch.fetcher import Fetcher  # imports http.client, email and ssl

                self._fetch_url = Fetcher(self._settings)
            return self._fetch_url

    def _s3(self) -> FetchUrl:
        with self._making:
            if self._fetch_s3 is None:
                from serving.fetch.s3 import S3Fetcher  # importing boto3 is slow

                self._fetch_s3 = S3Fetcher(self._settings)
            return self._fetch_s3


def read(request: Request, settings: Settings) -> Wanted:
    """What a request asks for.

    Raises:
        InvalidRequestError: the request names no image, or not in a supported way.
        TooLargeError: the body is larger, or holds more images, than the settings allow.
    """
    if request.source is Source.DIRECT:
        if not isinstance(request.event, Mapping):
            raise InvalidRequestError(
                f"The event is a JSON {type(request.event).__name__}; send an object: {_FORMS}."
            )
        return _from_json(request.event, settings)
    body = request.body(max_bytes=settings.body_max_bytes)
    if not body:
        raise InvalidRequestError(
            f"The request has no body. Send an image file, or JSON: {_FORMS}."
        )
    body, media_type = bodies.understood(body), request.media_type
    bodies.check_line_breaks(body, media_type)
    start = bodies.without_mark(body)
    if bodies.is_image(body) or not (
        start[:1] == b"{" or start[:2] == b"--" or bodies.is_text(body)
    ):
        return Wanted((Reference(Kind.BODY, body),))  # whatever its Content-Type
    # Many clients send JSON under another name.
    if media_type.endswith(("/json", "+json")) or start[:1] == b"{":
        return _from_json(_json_object(body), settings)
    if media_type.startswith("multipart/"):
        return _from_form(request, body, settings)
    is_fields = media_type == bodies.URL_ENCODED or re.match(rb"(url|image|s3)=", start)
    if is_fields and (fields := bodies.url_encoded(body)):
        return _from_fields(fields, [], settings)
    return Wanted((Reference(Kind.BODY, body),))


def _json_object(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"The request's body is not valid JSON: {error}.") from error
    if not isinstance(value, Mapping):
        raise InvalidRequestError(f"The request's JSON is not an object. Send {_FORMS}.")
    return value


def _from_json(value: Mapping[str, Any], settings: Settings) -> Wanted:
    chosen = {name: value[name] for name in options.NAMES if name in value}
    named = {name: value[name] for name in value if name not in options.NAMES}
    if "images" not in named:
        return Wanted((_reference(named, "The request"),), options=chosen)
    images = named.pop("images")
    if named or not isinstance(images, list):
        raise InvalidRequestError(
            "The field 'images' must be a list, and no other image may be named beside it."
        )
    _check_count(len(images), settings)
    items = tuple(_item(image, index) for index, image in enumerate(images))
    return Wanted(items, is_batch=True, options=chosen)


def _item(image: Any, index: int) -> Reference | RequestError:
    where = f"The item images[{index}]"
    if not isinstance(image, Mapping):
        return InvalidRequestError(f"{where} is not an object; send {_FORMS}.")
    try:
        return _reference(image, where)
    except RequestError as error:
        return error


def _reference(value: Mapping[str, Any], where: str) -> Reference:
    if len(value) != 1 or next(iter(value)) not in _KIND_BY_FIELD:
        found = ", ".join(repr(str(name)[:40]) for name in list(value)[:8]) or "none"
        raise InvalidRequestError(f"{where} must have one field of {_FORMS}; found: {found}.")
    name, content = next(iter(value.items()))
    if not isinstance(content, str) or not content:
        raise InvalidRequestError(
            f"{where}: the field '{name}' must be a string that is not empty."
        )
    return Reference(_KIND_BY_FIELD[name], content)


def _from_form(request: Request, body: bytes, settings: Settings) -> Wanted:
    from serving.http import form  # imports a parser that few requests need

    files: list[Reference | ServingError] = []
    texts: list[tuple[str, str]] = []
    for part in form.parts(request.headers["content-type"], body):
        if not part.is_file:
            texts.append((part.name, part.text()))
        elif part.content or part.is_named_file:  # an empty <input type="file"> has neither
            files.append(_file(part))
    return _from_fields(texts, files, settings)


def _file(part: "form.Part") -> Reference | ServingError:
    try:
        return Reference(Kind.FORM, bodies.understood(part.data()))
    except RequestError as error:
        return error


def _from_fields(
    texts: Iterable[tuple[str, str]], files: list[Reference | ServingError], settings: Settings
) -> Wanted:
    """A form's images and options. A browser sends all fields: empty ones, buttons and others
    beside an image say nothing.
    """
    items, chosen, unknown = list(files), {}, []
    for name, text in texts:
        if not text:
            continue
        if name in options.NAMES:
            chosen[name] = text
        elif name in _KIND_BY_FIELD:
            items.append(Reference(_KIND_BY_FIELD[name], text))
        else:
            unknown.append(name)
    if unknown and not items:
        found = ", ".join(repr(name[:40]) for name in unknown[:8])
        raise InvalidRequestError(
            "The form holds no image: send one as a file, or in a field 'url', 'image' or 's3'; "
            f"found: {found}."
        )
    _check_count(len(items), settings)
    return Wanted(tuple(items), is_batch=len(items) > 1, options=chosen)


def _check_count(count: int, settings: Settings) -> None:
    if not count:
        raise InvalidRequestError("The request holds no image. Send at least one.")
    if count > settings.batch_max_items:
        raise TooLargeError(
            f"The request holds {count} images; at most {settings.batch_max_items} are allowed. "
            "Send the others in another request."
        )


def _decoded(text: str, *, max_bytes: int) -> bytes:
    size = bodies.base64_size(text, max_bytes=max_bytes)
    if size > max_bytes:
        raise TooLargeError(
            f"The field 'image' holds about {size:,} bytes; the limit is {max_bytes:,}. "
            "Send a smaller image, or a URL."
        )
    return bodies.field_bytes(text)
