"""A multipart/form-data body in, its parts out (RFC 7578), parsed by python-multipart.

Imported by the first form that arrives.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from serving.errors import InvalidRequestError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

# Limits what parsing costs; no request may hold nearly as many images.
_MAX_PARTS = 300


@dataclass(slots=True)
class Part:
    """One field of a form.

    Attributes:
        name: the field's name.
        filename: a file's name, which may be empty; None for a field that is not a file.
        data: the content as sent.
    """

    name: str = ""
    filename: str | None = None
    data: bytes = b""

    def text(self) -> str:
        """The content of a field that is not a file; InvalidRequestError if it is not UTF-8."""
        try:
            return self.data.decode()
        except UnicodeDecodeError as error:
            raise InvalidRequestError(
                f"The form's field '{self.name[:40]}' is not UTF-8. "
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
        self._name = b""
        self._value = b""
        self._chunks: list[bytes] = []

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._whole,
        }

    def _begin(self) -> None:
        if len(self.parts) >= _MAX_PARTS:
            raise InvalidRequestError(f"The form has more than {_MAX_PARTS} fields.")
        self.parts.append(Part())

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header(self) -> None:
        if self._name.lower() == b"content-disposition":
            options = parse_options_header(self._value)[1]
            part = self.parts[-1]
            part.name = options.get(b"name", b"").decode(errors="replace")
            if b"filename" in options:
                part.filename = options[b"filename"].decode(errors="replace")
        self._name = self._value = b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._chunks.append(data[start:end])

    def _end(self) -> None:
        self.parts[-1].data = b"".join(self._chunks)
        self._chunks.clear()

    def _whole(self) -> None:
        self.is_whole = True
