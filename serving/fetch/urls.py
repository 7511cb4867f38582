"""The text of a URL in, the one place to fetch from out: nothing is resolved or connected to here.

Refused: what is no absolute URL (InvalidRequestError), and what may not be fetched: other schemes,
ports and hosts than the settings allow, credentials, and hosts in any spelling but the plain one,
since 2130706433, 0x7f.1, 017700000001 and １２７.１ all mean 127.0.0.1 (ForbiddenUrlError).
"""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import SplitResult, quote, urlsplit

from serving.errors import ForbiddenUrlError, InvalidRequestError
from serving.fetch.addresses import Address
from serving.settings import Settings

# A signed S3 URL with a session token takes about 2,000; servers seldom take more than 8,000.
URL_MAX_CHARS = 8_000
DEFAULT_PORTS = {"http": 80, "https": 443}
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\xa0\u2000-\u200f\u2028-\u202f\u3000\ufeff\ud800-\udfff\\]")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")  # RFC 1123, and _ as in the wild
_KEPT = "/?%:@!$&'()*+,;=~[]"  # what may stand in a path or query as it is (RFC 3986)
_ASCII_BUT_SPACE = bytes(code for code in range(128) if code != ord(" "))
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads.

    Attributes:
        host: a DNS name in lower case, or an address in its usual spelling, without brackets.
        address: the host as an address, when the URL names one.
        path: path and query, percent-encoded; what goes into the request line.
    """

    url: str
    scheme: str
    host: str
    port: int
    path: str
    address: Address | None


def of_header(value: str) -> str:
    """A URL out of an HTTP header, which http.client reads as Latin-1; servers write UTF-8, and
    spaces. What no URL may hold stays as it is, for `parse` to refuse.
    """
    return quote(value.strip(" \t").encode("latin-1"), safe=_ASCII_BUT_SPACE)


def parse(url: str, settings: Settings) -> Target:
    """Read a URL that came from a caller or a redirect, and hold it to the settings.

    Raises:
        InvalidRequestError: it is no absolute URL, or longer than URL_MAX_CHARS.
        ForbiddenUrlError: it must not be fetched; the message says why.
    """
    if len(url) > URL_MAX_CHARS:
        raise InvalidRequestError(
            f"The URL has {len(url):,} characters; at most {URL_MAX_CHARS:,} are taken."
        )
    if _UNSAFE.search(url):
        raise InvalidRequestError(
            "The URL holds a space, a backslash or a control character; percent-encode it."
        )
    parts = _split(url)
    host = parts.hostname or ""
    _check_parts(parts, settings)
    address = _literal(host, bracketed="[" in parts.netloc)
    if address is None:
        _check_name(host)
    if settings.fetch_allowed_hosts and host not in settings.fetch_allowed_hosts:
        raise ForbiddenUrlError("The URL's host is not among those that this service fetches from.")
    path = quote(parts.path or "/", safe=_KEPT)
    if parts.query:
        path += "?" + quote(parts.query, safe=_KEPT)
    return Target(url, parts.scheme, host, _port(parts), path, address)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # read lazily: raises when it is no number, or out of range
    except ValueError as error:
        raise InvalidRequestError("The URL cannot be read; check its host and port.") from error
    if not parts.scheme or (not parts.netloc and parts.scheme in DEFAULT_PORTS):
        raise InvalidRequestError("The URL must be absolute, such as https://example.com/photo.jpg")
    return parts


def _check_parts(parts: SplitResult, settings: Settings) -> None:
    if parts.scheme not in settings.fetch_schemes:
        allowed = " and ".join(sorted(settings.fetch_schemes)) or "none"
        raise ForbiddenUrlError(f"The URL's scheme is not fetched; allowed: {allowed}.")
    if "@" in parts.netloc:
        raise ForbiddenUrlError("The URL holds credentials; send one without user and password.")
    if not parts.hostname:
        raise InvalidRequestError("The URL names no host.")
    if settings.fetch_ports and _port(parts) not in settings.fetch_ports:
        allowed = ", ".join(str(port) for port in sorted(settings.fetch_ports))
        raise ForbiddenUrlError(f"The URL's port is not fetched from; allowed: {allowed}.")


def _port(parts: SplitResult) -> int:
    return DEFAULT_PORTS[parts.scheme] if parts.port is None else parts.port


def _literal(host: str, *, bracketed: bool) -> Address | None:
    """The address that a host spells out in the usual way; None when it is a name."""
    try:
        if not bracketed:
            return IPv4Address(host)
        address = IPv6Address(host)
    except AddressValueError as error:
        if bracketed:
            raise InvalidRequestError("The URL's [host] is no IPv6 address.") from error
        return None
    if address.scope_id is not None:
        raise ForbiddenUrlError("The URL's host names a network interface; that is not fetched.")
    return address


def _check_name(host: str) -> None:
    """Refuse what is no plain DNS name, above all other spellings of an address."""
    if not host.isascii():
        raise ForbiddenUrlError(
            "The URL's host holds characters outside ASCII; write the name in its xn-- form."
        )
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1] or labels[max(0, len(labels) - 2)]):
        raise ForbiddenUrlError(
            "The URL's host is an address in an unusual spelling; write it as four decimal numbers."
        )
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ForbiddenUrlError("The URL's host is not a plain DNS name.")
