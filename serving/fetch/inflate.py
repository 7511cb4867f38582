"""A body and its Content-Encoding in, the inflated body out, never more of it than allowed.

Servers, and people who upload to S3, also write there what is no encoding at all ("utf-8", "none",
"aws-chunked"), and "gzip" where nothing is compressed. So an unknown token is ignored, and a body
that does not begin as its encoding does is left as it is.
"""

import zlib

from serving.errors import TooLargeError

_GZIP_START = b"\x1f\x8b"
_MAX_LAYERS = 3
# Encodings whose bodies no part of the standard library reads. No request asks for them.
_UNREADABLE = frozenset({"br", "zstd", "compress", "x-compress", "dcb", "dcz"})


class InflateError(ValueError):
    """The body cannot be inflated; the text completes "The body is …"."""


def inflated(body: bytes, encoding: str, *, max_bytes: int) -> bytes:
    """Undo a Content-Encoding, such as "gzip", "deflate" or "gzip, aws-chunked".

    Raises:
        InflateError: the body is damaged, or of an encoding that is not read.
        TooLargeError: it inflates to more than `max_bytes`.
    """
    layers = [layer.strip().lower() for layer in encoding.split(",")]
    if len(layers) > _MAX_LAYERS:
        raise InflateError("compressed too often")
    for layer in reversed(layers):
        if layer in _UNREADABLE:
            raise InflateError(f"compressed with {layer}, which is not read")
        if layer in ("gzip", "x-gzip") and body.startswith(_GZIP_START):
            body = _inflate(body, zlib.MAX_WBITS | 16, max_bytes)
        elif layer == "deflate":
            body = _deflated(body, max_bytes)
    return body


def _deflated(body: bytes, max_bytes: int) -> bytes:
    """RFC 9110 means zlib's format by "deflate"; some servers send its bare inside."""
    if len(body) > 1 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0:
        return _inflate(body, zlib.MAX_WBITS, max_bytes)
    try:
        return _inflate(body, -zlib.MAX_WBITS, max_bytes)
    except InflateError:  # nothing marks the start of this one: the body may be plain
        return body


def _inflate(body: bytes, wbits: int, max_bytes: int) -> bytes:
    """All members of a stream; gzip may have several, and padding after the last."""
    members: list[bytes] = []
    left = max_bytes + 1  # one more than allowed tells that there is more
    rest = body
    while not members or rest.startswith(_GZIP_START):
        stream = zlib.decompressobj(wbits)
        try:
            members.append(stream.decompress(rest, left))
        except zlib.error as error:
            raise InflateError("damaged, and cannot be inflated") from error
        left -= len(members[-1])
        if left <= 0:
            raise TooLargeError(
                f"The body inflates to more than the limit of {max_bytes:,} bytes. "
                "Send a smaller image."
            )
        if not stream.eof:
            raise InflateError("compressed and cut short")
        rest = stream.unused_data
    return b"".join(members)
