"""A multipart/form-data body in, its parts out (RFC 7578), parsed by python-multipart.

What that leaves to its caller is here: which parts are files, and how a part is encoded. Imported
by the first form that arrives.
"""

import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from serving.errors import InvalidRequestError
from serving.http import bodies

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

# Limits what parsing costs; no request may hold nearly as many images.
_MAX_PARTS = 300


@dataclass(slots=True)
class Part:
    """One field of a form: its headers, names in lower case, and its content as sent."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    content: bytes = b""

    def _options(self) -> dict[bytes, bytes]:
        return parse_options_header(self.headers.get(b"content-disposition"))[1]

    @property
    def name(self) -> str:
        """The field's name."""
        return self._options().get(b"name", b"").decode(errors="replace")

    @property
    def is_named_file(self) -> bool:
        """Whether a file's name comes with it. An <input type="file"> left empty has an empty one;
        some clients send `filename*` alone, which RFC 7578 does not allow.
        """
        disposition = self.headers.get(b"content-disposition", b"").lower()
        return bool(self._options().get(b"filename")) or b"filename*=" in disposition

    @property
    def is_file(self) -> bool:
        """Whether it is an image rather than a text field: by its name, its type or its bytes."""
        media_type = self.headers.get(b"content-type", b"").lower()
        is_typed = media_type.startswith((b"image/", b"application/octet-stream"))
        return self.is_named_file or is_typed or bodies.is_image(self.content)

    def data(self) -> bytes:
        """The content, decoded from its Content-Transfer-Encoding (RFC 2045).

        Raises:
            InvalidRequestError: it is not base64 although its header says so.
        """
        encoding = self.headers.get(b"content-transfer-encoding", b"").strip().lower()
        if encoding == b"quoted-printable" and self.content.isascii():
            return binascii.a2b_qp(self.content)
        if encoding == b"base64" and not bodies.is_image(self.content):
            try:
                return bodies.base64_bytes(self.content.decode("ascii"))
            except ValueError as error:
                raise InvalidRequestError(
                    f"The form's field '{self.name[:40]}' is not valid base64, "
                    "although its Content-Transfer-Encoding says so."
                ) from error
        return self.content

    def text(self) -> str:
        """The content of a text field; InvalidRequestError if it is not UTF-8."""
        try:
            return self.data().decode("utf-8-sig").strip()
        except UnicodeDecodeError as error:
            raise InvalidRequestError(
                f"The form's field '{self.name[:40]}' is neither an image nor UTF-8. "
                "Send an image as a file, with a filename."
            ) from error


def parts(content_type: str, body: bytes) -> list[Part]:
    """The parts of a form, in order.

    Raises:
        InvalidRequestError: the Content-Type names no boundary, or the form is not complete.
    """
    collector = _Collector()
    try:
        parser = MultipartParser(_boundary(content_type), collector.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise InvalidRequestError("The body is not valid multipart/form-data.") from error
    if not collector.is_whole:
        raise InvalidRequestError("The body's multipart/form-data is cut short.")
    return collector.parts


def _boundary(content_type: str) -> bytes:
    try:
        boundary = parse_options_header(content_type.encode("latin-1"))[1].get(b"boundary")
    except UnicodeEncodeError:  # such a header cannot come over HTTP
        boundary = None
    if not boundary:
        raise InvalidRequestError(
            "The Content-Type multipart/form-data names no boundary; let the HTTP client set it."
        )
    return boundary


class _Collector:
    """Collects the parts; the parser calls it as it goes along."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.is_whole = False
        self._name, self._value, self._content = bytearray(), bytearray(), bytearray()

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header,
            "on_part_data": lambda data, start, end: self._content.extend(data[start:end]),
            "on_part_end": self._end,
            "on_end": self._whole,
        }

    def _begin(self) -> None:
        if len(self.parts) >= _MAX_PARTS:
            raise InvalidRequestError(f"The form has more than {_MAX_PARTS} fields.")
        self.parts.append(Part())

    def _header(self) -> None:
        self.parts[-1].headers[bytes(self._name).lower()] = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _end(self) -> None:
        self.parts[-1].content = bytes(self._content)
        self._content.clear()

    def _whole(self) -> None:
        self.is_whole = True
