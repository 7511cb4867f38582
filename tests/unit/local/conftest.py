import json
import socket
import threading
from typing import Any

import pytest

from local.gateway import Gateway


class FakeBackend:
    """Keeps the events that it gets; answers what it was told, or raises it."""

    title = "a fake"

    def __init__(self, outcome: object = None) -> None:
        self.outcome = outcome if outcome is not None else {"statusCode": 200, "body": "ok"}
        self.events: list[dict[str, Any]] = []

    def invoke(self, event: bytes) -> bytes:
        self.events.append(json.loads(event))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return json.dumps(self.outcome).encode()

    def close(self) -> None:
        pass


@pytest.fixture
def backend():
    return FakeBackend()


@pytest.fixture
def served(backend):
    server = Gateway("127.0.0.1", 0, backend)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def raw(server: Gateway, request: bytes) -> bytes:
    """Send bytes as they are and read until the server closes."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := client.recv(65_536):
            received += chunk
    return received
