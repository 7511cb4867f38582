"""Ends what takes too long: a connection, or a call that has no timeout."""

import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self, TypeVar

from serving.errors import RemoteTimeoutError

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger of socket(7): on, 0 seconds

T = TypeVar("T")


class Watchdog:
    """Ends a fetch when its time is over, whatever it is waiting for.

    A socket's timeout starts again with every byte that arrives, so a server that sends a byte now
    and then never reaches it. This shuts the connection down from another thread instead.
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
        """Watch this socket instead of the previous one."""
        with self._lock:
            self._release()
            self.remaining_s()
            self._watched = sock.dup()  # stays valid when TLS takes over the socket

    def _expire(self) -> None:
        with self._lock:
            self._expired = True
            self._release()

    def _release(self) -> None:
        if self._watched is None:
            return
        with suppress(OSError):  # the other side has closed it already
            # A reset instead of an orderly close tells a server that still sends to stop.
            self._watched.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._watched.shutdown(socket.SHUT_RDWR)  # wakes any thread that waits for it
        self._watched.close()
        self._watched = None


def timed_out() -> RemoteTimeoutError:
    """The error that says that a fetch took too long."""
    return RemoteTimeoutError(
        "The URL's server did not deliver the image in time. Try again, or send the image itself."
    )


def in_time(call: Callable[[], T], timeout_s: float) -> T:
    """Call and wait for at most `timeout_s` seconds.

    It runs in its own thread and continues there after a timeout. What it raises is raised here.

    Raises:
        RemoteTimeoutError: it did not return in time.
    """
    outcome: SimpleQueue[tuple[T, None] | tuple[None, Exception]] = SimpleQueue()

    def run() -> None:
        try:
            outcome.put((call(), None))
        except Exception as error:  # noqa: BLE001 - raised again in the waiting thread
            outcome.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        result, error = outcome.get(timeout=max(timeout_s, 0))
    except Empty:
        raise timed_out() from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]  # without an error there is a result
