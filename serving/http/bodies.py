"""A body or a text field as it arrived in, the image's bytes that its sender meant out.

What clients, proxies and APIs do to an image on its way is undone where nothing is lost: base64 in
every spelling, gzip, bytes that were taken for text. Bytes that became text for good are refused
with what to do about it, since that is the commonest mistake of all.
"""

import re
from urllib.parse import parse_qsl, unquote

from pybase64 import b64decode

from serving.errors import InvalidRequestError, UndecodableImageError, UnsupportedImageError
from serving.images import formats

URL_ENCODED = "application/x-www-form-urlencoded"
_MAX_FIELDS = 300
_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")  # UTF-8 and UTF-16
_BASE64_HEAD = re.compile(rb"[A-Za-z0-9+/_-]{24,64}={0,2}")
_AROUND_BASE64 = b" \t\r\n\"'"
_LINE_BREAK = re.compile(r"([ \t]{2,}|\t)?[\r\n]+([ \t]{2,}|\t)?")  # one space may be a plus sign
_WIDTHS = frozenset({60, 64, 72, 76})  # of the groups into which tools break base64
_URL_SAFE = str.maketrans("-_", "+/", "\t")  # RFC 4648, section 5
_NEVER_TEXT = b"\xff\xd8"  # a JPEG's first bytes, which UTF-8 does not use
_REPLACEMENT = "\ufffd".encode()  # what decoders put where bytes are no UTF-8
_NOT_TEXT = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f\xc0\xc1\xf5-\xff]")
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")  # every image has some, no text has any
_BECAME_TEXT = (
    "The photo's bytes were turned into text on the way, which destroys them. In a REST API, set "
    "the binary media types to */* (BinaryMediaTypes in SAM) and deploy its stage again; a client "
    'must read the file as bytes, not as text. Or send base64 in JSON: {"image": "BASE64"}.'
)


def is_image(data: bytes) -> bool:
    """Whether the first bytes are those of a format that is read."""
    if not _NOT_TEXT.search(data[:64]):  # a BMP begins with two letters, as a word can
        return False
    try:
        formats.recognise(data)
    except UnsupportedImageError:
        return False
    return True


def understood(data: bytes) -> bytes:
    """An image that arrived as text, as bytes again; anything else as it is.

    Raises:
        UnsupportedImageError: it was an image whose bytes were lost.
        InvalidRequestError: it is an image in base64 that is damaged.
    """
    if data.startswith(_NEVER_TEXT):
        return data
    data = _restored(data)
    return data if is_image(data) else _from_base64(data)


def _restored(data: bytes) -> bytes:
    """Undo a decoder that kept each byte, as Latin-1 or lone surrogates; refuse what is lost."""
    if data.isascii():
        return data
    try:
        text = data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data  # as every image does, within its first bytes
    ways = [_as_latin_1]
    if b"\xed\xb2" in data or b"\xed\xb3" in data:  # lone surrogates, each for a byte
        ways.append(_as_surrogates)
    for undo in ways:
        try:
            if is_image(undo(text[:64])):
                return undo(text)
        except UnicodeEncodeError:
            continue
    if _REPLACEMENT in data and _CONTROLS.search(text):
        raise UnsupportedImageError(_BECAME_TEXT)
    return data


def _as_latin_1(text: str) -> bytes:
    # Windows-1252 is what browsers mean by Latin-1: the characters of its bytes 128 to 159.
    codes = range(128, 160)
    byte_of = {ord(bytes([code]).decode("cp1252", "ignore") or chr(code)): code for code in codes}
    return text.translate(byte_of).encode("latin-1")


def _as_surrogates(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _from_base64(data: bytes) -> bytes:
    """An image in base64, also quoted or as a data: URL; anything else as it is."""
    text = data.strip(_AROUND_BASE64)
    if text[:5].lower() == b"data:":
        text = text.partition(b",")[2]
    head = text[:120].translate(None, b"\r\n\t").replace(b" ", b"+")[:64]
    if not _BASE64_HEAD.fullmatch(head) or not is_image(base64_bytes(head.decode())):
        return data
    try:
        return base64_bytes(text.decode())
    except ValueError as error:
        raise InvalidRequestError(
            "The body looks like an image in base64, but it is not valid. Encode all bytes of the "
            "file, or send them as they are."
        ) from error


def without_mark(body: bytes) -> bytes:
    """A body's first characters, without a byte-order mark and white space in front."""
    start = body[:1_000]
    for mark in _BYTE_ORDER_MARKS:
        start = start.removeprefix(mark)
    return start.lstrip(b" \t\r\n\0")


def is_text(body: bytes) -> bool:
    """Whether a body is UTF-8 throughout."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def url_encoded(body: bytes) -> list[tuple[str, str]]:
    """The fields of a form; empty for a body that is none, whatever its Content-Type says."""
    try:
        return parse_qsl(body.decode("ascii").strip(), max_num_fields=_MAX_FIELDS)
    except ValueError:
        return []


def check_line_breaks(body: bytes, media_type: str) -> None:
    """Refuse an image from which curl's -d has removed all line breaks and zeros.

    Raises:
        UndecodableImageError: the body is one.
    """
    is_stripped = len(body) > 500 and not any(code in body for code in b"\r\n\0")
    was_image = body.startswith((b"\xff\xd8\xff", b"\x89PNG\x1a"))
    if media_type == URL_ENCODED and is_stripped and was_image:
        raise UndecodableImageError(
            "The image has lost its line breaks. Send it with curl's --data-binary instead of -d."
        )


def base64_size(text: str, *, max_bytes: int) -> int:
    """How many bytes a base64 text holds, from its length.

    Line breaks hold none, but they are only counted where more than `max_bytes` depend on it: that
    takes longer than decoding.
    """
    padding = text.count("=", -4)
    size = len(text) * 3 // 4 - padding
    if size <= max_bytes:
        return size
    return (len(text) - text.count("\n") - text.count("\r")) * 3 // 4 - padding


def base64_bytes(text: str) -> bytes:
    """Decode base64 in either alphabet, with or without padding or line breaks (RFC 4648).

    Forms turn its plus signs into spaces, which are plus signs again.

    Raises:
        ValueError: it is no base64 in any of these spellings.
    """
    try:
        return b64decode(text, validate=True)
    except ValueError:  # only what plain base64 does not allow is copied
        text = _LINE_BREAK.sub("", text).lstrip()
        without_end = text.rstrip()
        if without_end.endswith("=") or len(without_end) % 4 == 0:
            text = without_end
        if " " in text:
            text = text.replace(" ", "" if _are_gaps(text) else "+")
        text = text.translate(_URL_SAFE).rstrip("=")
        return b64decode(text + "=" * (-len(text) % 4), validate=True)


def _are_gaps(text: str) -> bool:
    """Whether the spaces in base64 stand between groups, rather than for plus signs."""
    *groups, last = map(len, text.split(" "))
    is_even = len(set(groups)) == 1 and groups[0] in _WIDTHS and last <= groups[0]
    return "+" in text or "-" in text or is_even


def field_bytes(text: str) -> bytes:
    """The bytes of a field that holds base64, or a data: URL (RFC 2397).

    Raises:
        InvalidRequestError: it is neither.
    """
    text = text.lstrip()
    if text[:5].lower() == "data:":
        head, _, text = text.partition(",")
        if not head.lower().rstrip().endswith(";base64"):
            raise InvalidRequestError("The field 'image' is a data: URL, but not in base64.")
        text = unquote(text) if "%" in text else text
    try:
        return base64_bytes(text)
    except ValueError as error:
        if "\ufffd" in text:
            raise InvalidRequestError(_BECAME_TEXT) from error
        raise InvalidRequestError(
            "The field 'image' is not valid base64. Encode all bytes of the image file."
        ) from error


def inflated(body: bytes, encoding: str, *, max_bytes: int) -> bytes:
    """Undo a request's Content-Encoding; gzip is recognised without one.

    Raises:
        TooLargeError: it inflates to more than `max_bytes`.
        InvalidRequestError: it is damaged.
        UnsupportedImageError: it is compressed in a way that is not read.
    """
    if body.startswith(b"\x1f\x8b"):
        encoding = encoding or "gzip"
    if not encoding or is_image(body):
        return body
    from serving.fetch import inflate  # few clients compress

    try:
        return inflate.inflated(body, encoding, max_bytes=max_bytes)
    except inflate.InflateError as error:
        detail = f"The request's body is {error}. Send it plain or with gzip."
        if "not read" in str(error):
            raise UnsupportedImageError(detail) from error
        raise InvalidRequestError(detail) from error
