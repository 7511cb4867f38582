"""The text of a URL in, the target to fetch from out. Nothing is resolved or connected to here.

Refused: text that is not an absolute URL (InvalidRequestError), and URLs that may not be fetched
(ForbiddenUrlError). Those have other schemes, ports or hosts than the settings allow, credentials,
or a host in an unusual spelling: 2130706433, 0x7f.1, 017700000001 and １２７.１ all mean 127.0.0.1.
"""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import SplitResult, quote, urlsplit

from serving.errors import ForbiddenUrlError, InvalidRequestError
from serving.fetch.addresses import Address
from serving.settings import Settings

# A signed S3 URL with a session token has about 2,000; few servers accept more than 8,000.
URL_MAX_CHARS = 8_000
DEFAULT_PORTS = {"http": 80, "https": 443}
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\xa0\u2000-\u200f\u2028-\u202f\u3000\ufeff\ud800-\udfff\\]")
_AROUND = " \t\r\n\f\v\xa0\u200b\u3000\ufeff"  # what copying a URL brings along
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")  # RFC 1123, and _ which some real names have
_KEPT = "/?%:@!$&'()*+,;=~[]"  # not encoded in a path or query (RFC 3986)
_ASCII_BUT_SPACE = bytes(code for code in range(128) if code != ord(" "))
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads.

    Attributes:
        host: a DNS name in lower case, or an address in its usual spelling without brackets.
        address: the host as an address, when the URL names one.
        path: path and query, percent-encoded, as the request line has them.
    """

    url: str
    scheme: str
    host: str
    port: int
    path: str
    address: Address | None


def of_header(value: str) -> str:
    """The URL in an HTTP header: http.client reads it as Latin-1, many servers write it in UTF-8.

    Characters that no URL may contain stay, so that `parse` refuses them.
    """
    return quote(value.strip(" \t").encode("latin-1"), safe=_ASCII_BUT_SPACE)


def parse(url: str, settings: Settings) -> Target:
    """Read a URL that came from a caller or a redirect, and check it against the settings.

    White space around it is dropped.

    Raises:
        InvalidRequestError: it is not an absolute URL, or longer than URL_MAX_CHARS.
        ForbiddenUrlError: it must not be fetched; the message says why.
    """
    url = url.strip(_AROUND)
    if len(url) > URL_MAX_CHARS:
        raise InvalidRequestError(
            f"The URL has {len(url):,} characters; the limit is {URL_MAX_CHARS:,}."
        )
    if _UNSAFE.search(url):
        raise InvalidRequestError(
            "The URL contains a space, a backslash or a control character; percent-encode it."
        )
    parts = _split(url)
    host = parts.hostname or ""
    _check_parts(parts, settings)
    address = _literal(host, bracketed="[" in parts.netloc)
    if address is None:
        _check_name(host)
    if settings.fetch_allowed_hosts and host not in settings.fetch_allowed_hosts:
        raise ForbiddenUrlError("This service may not fetch from the URL's host.")
    path = quote(parts.path or "/", safe=_KEPT)
    if parts.query:
        path += "?" + quote(parts.query, safe=_KEPT)
    return Target(url, parts.scheme, host, _port(parts), path, address)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # read lazily: raises when it is not a number, or out of range
    except ValueError as error:
        raise InvalidRequestError("The URL cannot be read; check its host and port.") from error
    if not parts.scheme or (not parts.netloc and parts.scheme in DEFAULT_PORTS):
        raise InvalidRequestError("The URL must be absolute, such as https://example.com/photo.jpg")
    return parts


def _check_parts(parts: SplitResult, settings: Settings) -> None:
    if parts.scheme not in settings.fetch_schemes:
        allowed = " and ".join(sorted(settings.fetch_schemes)) or "none"
        raise ForbiddenUrlError(f"This service may not fetch the URL's scheme; allowed: {allowed}.")
    if "@" in parts.netloc:
        raise ForbiddenUrlError("The URL contains credentials; send one without user and password.")
    if not parts.hostname:
        raise InvalidRequestError("The URL names no host.")
    if settings.fetch_ports and _port(parts) not in settings.fetch_ports:
        allowed = ", ".join(str(port) for port in sorted(settings.fetch_ports))
        raise ForbiddenUrlError(
            f"This service may not fetch from the URL's port; allowed: {allowed}."
        )


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
            raise InvalidRequestError("The URL's [host] is not an IPv6 address.") from error
        return None
    if address.scope_id is not None:
        raise ForbiddenUrlError("The URL's host names a network interface, which is not allowed.")
    return address


def _check_name(host: str) -> None:
    """Refuse a host that is not a plain DNS name, such as another spelling of an address."""
    if not host.isascii():
        raise ForbiddenUrlError(
            "The URL's host has characters outside ASCII; write the name in its xn-- form."
        )
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1] or labels[max(0, len(labels) - 2)]):
        raise ForbiddenUrlError(
            "The URL's host is an address in an unusual spelling; write it as four decimal numbers."
        )
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ForbiddenUrlError("The URL's host is not a plain DNS name.")
