"""The connection under a fetch: a name is resolved once, every address that it gives is checked,
and the connection goes to one of those very addresses. Whatever the server does, it ends in time.

Imported by the first fetch, not at init: urllib3, ssl and http.client are not free.
"""

import logging
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self

from urllib3.connection import HTTPConnection, HTTPSConnection

from serving.addresses import Address, AddressPolicy
from serving.errors import (
    ForbiddenUrlError,
    RemoteFailedError,
    RemoteTimeoutError,
    UnresolvableHostError,
)
from serving.urls import Target

# urllib3 would log the URL, query and all, when a server sends headers that it cannot read.
logging.getLogger("urllib3").setLevel(logging.CRITICAL)

# A name with more addresses than this is tried no further.
_MAX_ADDRESSES = 4

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger of socket(7): on, 0 seconds

Resolve = Callable[[str, int], Sequence[str]]


def resolve_by_system(host: str, port: int) -> list[str]:
    """The addresses of a DNS name, in the order in which the system would try them.

    Raises:
        OSError: the name cannot be resolved.
    """
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(answer[4][0]) for answer in answers]


class Watchdog:
    """Ends a fetch when its time is over, whatever it is waiting for.

    Timeouts of a socket start anew with every byte that arrives, so a server that sends one now and
    then would never run into them. This shuts the connection down from another thread instead.
    """

    def __init__(self, timeout_s: float) -> None:
        self._ends_at = time.monotonic() + timeout_s
        self._timer = threading.Timer(max(timeout_s, 0), self._expire)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self._watched: socket.socket | None = None
        self._expired = timeout_s <= 0

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        with self._lock:
            self._release()

    @property
    def expired(self) -> bool:
        """Whether the time is over."""
        return self._expired or time.monotonic() >= self._ends_at

    def remaining_s(self) -> float:
        """Seconds left; raises RemoteTimeoutError when there are none."""
        if self.expired:
            raise timed_out()
        return max(self._ends_at - time.monotonic(), 0.001)

    def watch(self, sock: socket.socket) -> None:
        """Watch this socket, and no longer the one before it."""
        with self._lock:
            self._release()
            self.remaining_s()
            self._watched = sock.dup()  # stays ours when TLS takes the socket over

    def _expire(self) -> None:
        with self._lock:
            self._expired = True
            self._release()

    def _release(self) -> None:
        if self._watched is None:
            return
        with suppress(OSError):  # the other side was quicker
            # A reset rather than a goodbye: a server that still sends is told to stop.
            self._watched.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._watched.shutdown(socket.SHUT_RDWR)  # wakes whoever waits for it
        self._watched.close()
        self._watched = None


def timed_out() -> RemoteTimeoutError:
    """The error that says that a fetch took too long."""
    return RemoteTimeoutError(
        "The URL's server did not deliver the image in time. Try again, or send the image itself."
    )


class Guard:
    """Makes the connections of one fetch: where to is checked, how long is watched."""

    def __init__(self, policy: AddressPolicy, resolve: Resolve, watchdog: Watchdog) -> None:
        self._policy = policy
        self._resolve = resolve
        self._watchdog = watchdog

    def connect(self, target: Target) -> socket.socket:
        """A connection to an address of the target that was checked.

        Raises:
            ForbiddenUrlError: any of the host's addresses is not allowed.
            UnresolvableHostError: the host has no address.
            RemoteFailedError, RemoteTimeoutError: none of the addresses can be connected to.
        """
        addresses = [target.address] if target.address else self._addresses(target)
        if not all(self._policy(address) for address in addresses):
            raise ForbiddenUrlError(
                "The URL leads to an address that is not on the public internet; "
                "only public ones are fetched from."
            )
        failure: OSError | None = None
        for tried, address in enumerate(addresses):
            try:
                return self._open(address, target.port, untried=len(addresses) - tried)
            except OSError as error:
                failure = error
        if isinstance(failure, TimeoutError) or self._watchdog.expired:
            raise timed_out() from failure
        raise RemoteFailedError("The URL's server cannot be connected to.") from failure

    def _addresses(self, target: Target) -> list[Address]:
        try:
            found = self._in_time(lambda: self._resolve(target.host, target.port))
        except (OSError, UnicodeError) as error:
            raise UnresolvableHostError(
                "The URL's host cannot be resolved. Check its spelling."
            ) from error
        addresses = [ip_address(text) for text in dict.fromkeys(found)]
        if not addresses:
            raise UnresolvableHostError("The URL's host has no address.")
        return addresses[:_MAX_ADDRESSES]

    def _in_time(self, call: Callable[[], Sequence[str]]) -> Sequence[str]:
        """`call()`, waited for no longer than the watchdog allows: DNS knows no timeout."""
        outcome: SimpleQueue[Sequence[str] | Exception] = SimpleQueue()

        def run() -> None:
            try:
                outcome.put(call())
            except Exception as error:  # noqa: BLE001 - handed to the thread that waits
                outcome.put(error)

        threading.Thread(target=run, daemon=True).start()
        try:
            result = outcome.get(timeout=self._watchdog.remaining_s())
        except Empty as error:
            raise timed_out() from error
        if isinstance(result, Exception):
            raise result
        return result

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


class _GuardedHTTPConnection(HTTPConnection):
    """urllib3's connection, made by a guard; the host's name stays for the Host header."""

    def __init__(self, target: Target, guard: Guard) -> None:
        super().__init__(target.host, target.port, timeout=None)
        self._target, self._guard = target, guard

    def _new_conn(self) -> socket.socket:
        return self._guard.connect(self._target)


class _GuardedHTTPSConnection(HTTPSConnection):
    """The same with TLS, verified against the host's name."""

    def __init__(self, target: Target, guard: Guard, tls: ssl.SSLContext) -> None:
        super().__init__(target.host, target.port, timeout=None, ssl_context=tls)
        self._target, self._guard = target, guard

    def _new_conn(self) -> socket.socket:
        return self._guard.connect(self._target)


def open_connection(
    target: Target, guard: Guard, tls: Callable[[], ssl.SSLContext]
) -> HTTPConnection:
    """A connection that is made on its first request; `tls` is asked only for https."""
    if target.scheme == "https":
        return _GuardedHTTPSConnection(target, guard, tls())
    return _GuardedHTTPConnection(target, guard)
