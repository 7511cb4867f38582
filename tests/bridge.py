"""HTTP on loopback in front of a service in this process: each request becomes a function URL's
event and each answer a response, for tests that need a real client.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from serving.app import App
from tests import invocations


@dataclass
class Bridge:
    """Where the service is, and the bodies that clients posted to it."""

    url: str
    bodies: list[bytes] = field(default_factory=list)


@contextmanager
def serving_over_http(app: App) -> Iterator[Bridge]:
    """Serve until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if self.command == "POST":
                bridge.bodies.append(body)
            path, _, query = self.path.partition("?")
            headers = {name.lower(): value for name, value in self.headers.items()}
            made = invocations.event(
                "function_url", self.command, path, body=body, headers=headers, query=query
            )
            got = invocations.answer(made, app.handle(made, "request-1"))
            content = got.body.encode()
            self.send_response(got.status)
            for name, value in got.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def __getattr__(self, name: str) -> Any:
            if name.startswith("do_"):  # any method is the service's to answer
                return self.answer
            raise AttributeError(name)

        def log_message(self, *_: object) -> None:
            """Keep the tests' output for the tests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    bridge = Bridge(f"http://127.0.0.1:{server.server_port}/")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield bridge
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
