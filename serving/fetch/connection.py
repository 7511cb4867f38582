"""The connection of a fetch. A name is resolved once, every address that it gives is checked, and
the connection goes to one of those addresses. It ends in time, whatever the server does.

It uses the standard library's http.client, which the first URL of a process imports: importing
urllib3 or httpx would make that first answer slower than a bare handler's.
"""

import socket
import ssl
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.client import BadStatusLine, HTTPConnection, HTTPResponse, IncompleteRead, parse_headers
from io import BufferedReader
from ipaddress import ip_address

from serving.errors import (
    ForbiddenUrlError,
    RemoteFailedError,
    UnresolvableHostError,
)
from serving.fetch.addresses import Address, AddressPolicy
from serving.fetch.deadline import Watchdog, in_time, timed_out
from serving.fetch.urls import DEFAULT_PORTS, Target

_MAX_TRIED = 4  # addresses that are tried; all are checked
_MAX_INTERIM = 10

Resolve = Callable[[str, int], Sequence[str]]


def resolve_by_system(host: str, port: int) -> list[str]:
    """The addresses of a DNS name, in the order in which the system would try them.

    Raises:
        OSError: the name cannot be resolved.
    """
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(answer[4][0]) for answer in answers]


class Guard:
    """Makes the connections of one fetch: checks their addresses and watches their time."""

    def __init__(self, policy: AddressPolicy, resolve: Resolve, watchdog: Watchdog) -> None:
        self._policy = policy
        self._resolve = resolve
        self._watchdog = watchdog

    def connect(self, target: Target) -> socket.socket:
        """Connect to a checked address of the target.

        Raises:
            ForbiddenUrlError: any of the host's addresses is not allowed.
            UnresolvableHostError: the host has no address.
            RemoteFailedError, RemoteTimeoutError: none of the addresses can be connected to.
        """
        addresses = [target.address] if target.address else self._addresses(target)
        if not all(self._policy(address) for address in addresses):
            raise ForbiddenUrlError(
                "The URL leads to an address that is not on the public internet. Use a public one."
            )
        failure: OSError | None = None
        tried = addresses[:_MAX_TRIED]
        for index, address in enumerate(tried):
            try:
                return self._open(address, target.port, untried=len(tried) - index)
            except OSError as error:
                failure = error
        if isinstance(failure, TimeoutError) or self._watchdog.expired:
            raise timed_out() from failure
        raise RemoteFailedError("Cannot connect to the URL's server.") from failure

    def _addresses(self, target: Target) -> list[Address]:
        try:
            found = in_time(
                lambda: self._resolve(target.host, target.port), self._watchdog.remaining_s()
            )
        except (OSError, UnicodeError) as error:
            raise UnresolvableHostError(
                "The URL's host cannot be resolved. Check its spelling."
            ) from error
        addresses = [ip_address(text) for text in dict.fromkeys(found)]
        if not addresses:
            raise UnresolvableHostError("The URL's host has no address.")
        return addresses

    def _open(self, address: Address, port: int, *, untried: int) -> socket.socket:
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._watchdog.watch(sock)
            sock.settimeout(self._watchdog.remaining_s() / untried)
            sock.connect((str(address), port))
            sock.settimeout(self._watchdog.remaining_s())
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            sock.close()
            raise
        return sock


class _Sized(BufferedReader):
    """Refuses to read without a limit, as http.client does for a chunk whose size is -1."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            raise IncompleteRead(b"")
        return super().read(size)


class _Response(HTTPResponse):
    def begin(self) -> None:
        self.fp = _Sized(self.fp.detach())
        super().begin()

    def _read_status(self) -> tuple[str, int, str]:
        """The status line after all interim ones, such as 103 Early Hints (RFC 9110, 15.2).

        http.client itself skips 100 and takes any other one for the answer.
        """
        for _ in range(_MAX_INTERIM):
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if status >= 200 or status in (HTTPStatus.CONTINUE, HTTPStatus.SWITCHING_PROTOCOLS):
                return version, status, reason
            parse_headers(self.fp)
        raise BadStatusLine("too many interim responses")


class GuardedConnection(HTTPConnection):
    """An HTTP connection made by a guard; the Host header and TLS still use the host's name.

    Args:
        tls: for https, checks the certificate against the host's name.
    """

    response_class = _Response

    def __init__(self, target: Target, guard: Guard, tls: ssl.SSLContext | None) -> None:
        super().__init__(target.host, target.port)
        self.default_port = DEFAULT_PORTS[target.scheme]  # omitted from the Host header
        self._target, self._guard, self._tls = target, guard, tls

    def connect(self) -> None:
        """Connect to a checked address; http.client would resolve the name again."""
        self.sock = self._guard.connect(self._target)
        if self._tls is not None:
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._target.host)
