"""HTTP servers on loopback that say exactly what a test tells them to, honest or hostile."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

# What one connection is answered with: the bytes as they go over the wire, or a function that gets
# the socket, the request's head and an event that is set when the test is over.
Answer = bytes | Callable[[socket.socket, bytes, threading.Event], None]

_FOREVER_S = 8.0  # so that a test whose client has lost its deadline fails rather than hangs
_TLS_HANDSHAKE = b"\x16\x03"  # what a client says first when it takes a plain server for TLS


def response(
    body: bytes = b"", *, status: str = "200 OK", length: int | None = -1, **headers: str
) -> bytes:
    """One HTTP/1.1 response; `length` None leaves Content-Length out, -1 tells the truth."""
    if length is not None:
        headers["content_length"] = str(len(body) if length < 0 else length)
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""])
    return head.encode("latin-1") + body


@dataclass
class Server:
    """A running server.

    Attributes:
        port: where it listens.
        heads: the head of each request that came, in order.
        accepted: how many connections were made, whether or not a request followed.
        finished: how many answers were given to their end, the client still listening.
    """

    port: int
    heads: list[bytes] = field(default_factory=list)
    accepted: int = 0
    finished: int = 0


@contextmanager
def serving(
    *answers: Answer, tls: ssl.SSLContext | None = None, at: tuple[str, int] = ("127.0.0.1", 0)
) -> Iterator[Server]:
    """Answer the n-th connection with the n-th answer, and all later ones with the last.

    `at` is where to listen: an address of loopback, and a port or 0 for any.
    """
    family = socket.AF_INET6 if ":" in at[0] else socket.AF_INET
    listener = socket.create_server(at, family=family)
    server = Server(listener.getsockname()[1])
    over = threading.Event()
    threads: list[threading.Thread] = []

    def accept() -> None:
        while not over.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            if over.is_set():
                connection.close()
                return
            answer = answers[min(server.accepted, len(answers) - 1)]
            server.accepted += 1
            thread = threading.Thread(
                target=_converse, args=(connection, answer, server, over, tls)
            )
            threads.append(thread)
            thread.start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield server
    finally:
        over.set()
        with socket.create_connection((at[0], server.port)):
            pass  # wakes the acceptor
        acceptor.join()
        listener.close()
        for thread in threads:
            thread.join()


def _converse(
    connection: socket.socket,
    answer: Answer,
    server: Server,
    over: threading.Event,
    tls: ssl.SSLContext | None,
) -> None:
    connection.settimeout(10)
    with connection:
        try:
            if tls is not None:
                connection = tls.wrap_socket(connection, server_side=True)
            head = _read_head(connection)
            server.heads.append(head)
            if callable(answer):
                answer(connection, head, over)
            else:
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
            server.finished += 1
        except OSError:
            pass  # the client hung up, as it should on a hostile server
        finally:
            connection.close()


def _read_head(connection: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head and not head.startswith(_TLS_HANDSHAKE):
        received = connection.recv(4_096)
        if not received:
            break
        head += received
    return head


def dripping(
    data: bytes, *, at_once: int = 0
) -> Callable[[socket.socket, bytes, threading.Event], None]:
    """Send the first bytes at once and the rest one by one, 50 a second."""

    def answer(connection: socket.socket, head: bytes, over: threading.Event) -> None:
        connection.sendall(data[:at_once])
        for start in range(at_once, len(data)):
            if over.wait(0.02):
                return
            connection.sendall(data[start : start + 1])

    return answer


def repeating(
    start: bytes, forever: bytes
) -> Callable[[socket.socket, bytes, threading.Event], None]:
    """Send a start and then the same bytes until the client hangs up, or for _FOREVER_S."""

    def answer(connection: socket.socket, head: bytes, over: threading.Event) -> None:
        ends_at = time.monotonic() + _FOREVER_S
        connection.sendall(start)
        while not over.is_set() and time.monotonic() < ends_at:
            connection.sendall(forever)

    return answer


def silent(connection: socket.socket, head: bytes, over: threading.Event) -> None:
    """Say nothing at all until the test is over, or for _FOREVER_S."""
    over.wait(_FOREVER_S)
