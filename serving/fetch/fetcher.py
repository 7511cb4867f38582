"""An http(s) URL in, the bytes behind it out, with no access to the function's own network (SSRF).

URLs come from strangers. So: only the schemes, ports and hosts that the settings allow; only public
addresses, which are checked and then connected to without resolving again; each redirect is checked
like the first URL; no credentials, cookies or proxies; a limit of bytes, and one deadline for all.
"""

import ssl
from contextlib import ExitStack
from http import HTTPStatus
from http.client import HTTPResponse, IncompleteRead
from urllib.parse import urljoin

from serving.errors import (
    ForbiddenUrlError,
    InvalidRequestError,
    RemoteFailedError,
    RequestError,
    ServingError,
    TooLargeError,
)
from serving.fetch import inflate, urls
from serving.fetch.addresses import AddressPolicy, is_public
from serving.fetch.connection import Guard, GuardedConnection, Resolve, resolve_by_system
from serving.fetch.deadline import Watchdog, timed_out
from serving.fetch.urls import Target
from serving.settings import Settings

MAX_REDIRECTS = 10
_CHUNK_BYTES = 64 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REQUEST_HEADERS = {
    "User-Agent": "photo-classifier-lambda/1",
    "Accept": "image/*",
    # Some servers compress all the same; what that inflates to is limited, too.
    "Accept-Encoding": "identity",
    "Connection": "close",
}


class Fetcher:
    """Downloads images by URL; implements `serving.http.sources.FetchUrl`.

    Args:
        settings: which URLs may be fetched, and how many bytes.
        policy: which addresses may be connected to.
        resolve: from a name to its addresses; None is the system's resolver.
        tls: which certificates are trusted; None is those that the system trusts.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        policy: AddressPolicy = is_public,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._settings = settings
        self._policy = policy
        self._resolve = resolve
        self._tls = tls

    def __call__(self, url: str, *, timeout_s: float) -> bytes:
        """Download what a URL names, within `timeout_s` seconds.

        Raises:
            InvalidRequestError: this is not an absolute URL.
            ForbiddenUrlError: the URL, or a URL that it redirects to, must not be fetched.
            UnresolvableHostError: its host has no address.
            TooLargeError: the body has more than FETCH_MAX_BYTES.
            RemoteFailedError: the server fails, refuses, or breaks the protocol.
            RemoteTimeoutError: the time is over.
        """
        target = urls.parse(url, self._settings)
        with Watchdog(timeout_s) as watchdog:
            resolve = self._resolve or resolve_by_system
            guard = Guard(self._policy, resolve, watchdog)
            try:
                return self._follow(target, guard, watchdog)
            except RequestError:
                raise
            except Exception as error:
                # http.client, ssl and socket raise a dozen unrelated types here, and a connection
                # that the watchdog ended looks like any other failure.
                if watchdog.expired or isinstance(error, TimeoutError):
                    raise timed_out() from error
                if isinstance(error, ServingError):
                    raise
                raise _failure(error) from error

    def _follow(self, target: Target, guard: Guard, watchdog: "Watchdog") -> bytes:
        for _ in range(MAX_REDIRECTS + 1):
            outcome = self._get(target, guard, watchdog)
            if isinstance(outcome, bytes):
                return outcome
            target = outcome
        raise ForbiddenUrlError(f"The URL redirects more than {MAX_REDIRECTS} times.")

    def _get(self, target: Target, guard: Guard, watchdog: "Watchdog") -> bytes | Target:
        """One request: the body, or the target of a redirect."""
        tls = self._tls_context() if target.scheme == "https" else None
        with ExitStack() as stack:
            connection = GuardedConnection(target, guard, tls)
            stack.callback(connection.close)
            connection.request("GET", target.path, headers=_REQUEST_HEADERS)
            response = connection.getresponse()
            stack.callback(response.close)
            if response.status in _REDIRECTS:
                return self._redirected(target, response)
            _check(response)
            body = self._body(response)
            watchdog.remaining_s()  # after a shutdown the body seems to end
            return body

    def _redirected(self, target: Target, response: HTTPResponse) -> Target:
        location = response.headers.get("location")
        if not location:
            raise RemoteFailedError("The URL's server redirects without saying where to.")
        try:
            return urls.parse(urljoin(target.url, urls.of_header(location)), self._settings)
        except (InvalidRequestError, ValueError) as error:
            raise RemoteFailedError(
                "The URL's server redirects to something that is not a URL."
            ) from error

    def _body(self, response: HTTPResponse) -> bytes:
        max_bytes = self._settings.fetch_max_bytes
        length = response.headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length[:20]) > max_bytes:
            raise _too_large(max_bytes)
        body = bytearray()
        while chunk := response.read(_CHUNK_BYTES):
            body += chunk
            if len(body) > max_bytes:
                raise _too_large(max_bytes)
        if response.length:  # bytes missing from the Content-Length
            raise IncompleteRead(bytes(body), response.length)
        if not body:
            raise RemoteFailedError("The URL's server answered with an empty body.")
        encoding = response.headers.get("content-encoding", "")
        return _inflated(bytes(body), encoding, max_bytes) if encoding else bytes(body)

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls


def _check(response: HTTPResponse) -> None:
    if response.status != HTTPStatus.OK:
        # The server's own words are not repeated: they could be confidential.
        known = response.status in HTTPStatus.__members__.values()
        phrase = f" {HTTPStatus(response.status).phrase}" if known else ""
        raise RemoteFailedError(
            f"The URL's server answered {response.status}{phrase}. "
            "Check that the URL opens without logging in, or send the image itself."
        )


def _inflated(body: bytes, encoding: str, max_bytes: int) -> bytes:
    try:
        return inflate.inflated(body, encoding, max_bytes=max_bytes)
    except inflate.InflateError as error:
        raise RemoteFailedError(
            f"The URL's server sent a body that is {error}. Send the image itself."
        ) from error


def _too_large(max_bytes: int) -> TooLargeError:
    return TooLargeError(
        f"The file at the URL is larger than the limit of {max_bytes:,} bytes. "
        "Send a smaller image."
    )


def _failure(error: Exception) -> RemoteFailedError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return RemoteFailedError("The certificate of the URL's server is not trusted.")
    if isinstance(error, ssl.SSLError):
        return RemoteFailedError("The TLS handshake with the URL's server failed.")
    return RemoteFailedError(
        "The URL's server closed the connection too early or does not speak proper HTTP."
    )
