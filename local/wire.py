"""A request's head and body as they come over the socket, held to RFC 9112, or the refusal.

The standard library's server takes what two servers could read differently: two lengths, a space
before a header's colon, a line without one, a head that just ends.
"""

import json
import re
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from io import BufferedIOBase

# Lambda's limit for a synchronous event, 6 MB, as its emulator states it. The emulator truncates a
# longer event without an error.
MAX_EVENT_BYTES = 6_291_556
_MAX_HEAD_BYTES = 65_536
_MAX_LINE_BYTES = 8_192
_HEADER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*\r?\n")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(;.*)?\r?\n")


@dataclass(slots=True)
class RefusedError(Exception):
    """The request is refused without calling the function."""

    status: HTTPStatus
    message: str

    def body(self) -> bytes:
        """The refusal as API Gateway words it."""
        return json.dumps({"message": self.message}).encode()


def too_large() -> RefusedError:
    """The event would be larger than Lambda takes."""
    return RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Request Entity Too Large")


def _bad_request() -> RefusedError:
    return RefusedError(HTTPStatus.BAD_REQUEST, "Bad Request")


def read_head(source: BufferedIOBase) -> tuple[bytes, bool]:
    """The header lines as far as the empty one, and whether all of them are well formed."""
    lines: list[bytes] = []
    while sum(map(len, lines)) < _MAX_HEAD_BYTES:
        line = source.readline(_MAX_HEAD_BYTES)
        lines.append(line)
        if line in (b"\r\n", b"\n"):
            return b"".join(lines), all(_HEADER.fullmatch(one) for one in lines[:-1])
        if not line.endswith(b"\n"):  # the head ended early
            break
    return b"".join([*lines, b"\r\n\r\n"]), False


def content_length(headers: Message) -> int:
    """The length of the body, 0 without one; chunks have none.

    Raises:
        RefusedError: 400 for a length that is no number, or two different ones; 413.
    """
    values = ",".join(headers.get_all("content-length", ["0"])).split(",")
    lengths = {value.strip() for value in values}
    text = lengths.pop()
    if lengths or not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise _bad_request()
    if int(text) > MAX_EVENT_BYTES:
        raise too_large()
    return int(text)


def read_body(headers: Message, source: BufferedIOBase) -> bytes:
    """The body, whether its length is said or it comes in chunks.

    Raises:
        RefusedError: 400 for a body that is cut short or whose length is unclear, 413, 501.
    """
    coding = headers.get("transfer-encoding")
    if coding is None:
        length = content_length(headers)
        body = source.read(length)
        if len(body) < length:
            raise _bad_request()
        return body
    if "content-length" in headers:  # which of the two holds is what attacks play with
        raise _bad_request()
    if coding.strip().lower() != "chunked":
        raise RefusedError(HTTPStatus.NOT_IMPLEMENTED, "Not Implemented")
    return _read_chunks(source)


def _read_chunks(source: BufferedIOBase) -> bytes:
    body = bytearray()
    while True:
        match = _CHUNK_SIZE.fullmatch(source.readline(_MAX_LINE_BYTES))
        if match is None:
            raise _bad_request()
        size = int(match[1], 16)
        if len(body) + size > MAX_EVENT_BYTES:
            raise too_large()
        if size == 0:
            if not read_head(source)[1]:  # trailers, which are dropped
                raise _bad_request()
            return bytes(body)
        chunk = source.read(size)
        if len(chunk) < size or source.readline(2) not in (b"\r\n", b"\n"):
            raise _bad_request()
        body += chunk
