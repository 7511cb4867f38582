"""The review's page and its few requests over HTTP, on loopback.

All paths begin with a secret that only the printed address has, so no other page or user of this
machine can ask for anything. A Host that is no name of loopback is refused, since another site's
name may lead here; so is a decision whose Origin is not the page's own.
"""

import hmac
import json
import secrets
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from local import wire
from local.errors import ReviewError, StaleError
from local.review.session import Session
from local.wire import RefusedError
from serving.answers import page
from train.errors import TrainError

HOST = "127.0.0.1"
_LOOPBACK = frozenset({"127.0.0.1", "localhost"})
_PAGE = Path(__file__).with_name("page.html")
_SOCKET_TIMEOUT_S = 30.0
_JSON, _JPEG, _HTML = "application/json", "image/jpeg", "text/html; charset=utf-8"


@dataclass(frozen=True, slots=True)
class _Reply:
    status: HTTPStatus
    media_type: str
    body: bytes


class ReviewServer(ThreadingHTTPServer):
    """Serves one session on 127.0.0.1; `port` 0 takes any free one.

    `next_step` is the command that the page names when all photos are reviewed.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int, session: Session, next_step: str = "") -> None:
        self.session = session
        self.next_step = next_step
        self.secret = secrets.token_urlsafe(18)
        self.page = page.response(_PAGE.read_text(encoding="utf-8"), images="'self' data:")
        super().__init__((HOST, port), _Handler)

    @property
    def url(self) -> str:
        """The page's address, with the secret."""
        return f"http://{HOST}:{self.server_address[1]}/{self.secret}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: the browser went away."""


class _Handler(BaseHTTPRequestHandler):
    server: ReviewServer
    protocol_version = "HTTP/1.1"
    server_version = "review"
    timeout = _SOCKET_TIMEOUT_S
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """The page, its state as JSON, or the photo."""
        self._answer()

    def do_POST(self) -> None:
        """A decision, or the undoing of the last."""
        self._answer()

    def _answer(self) -> None:
        try:
            asked = self._asked()
            body = wire.read_body(self.headers, self.rfile)
            reply = self._get(asked) if self.command == "GET" else self._post(asked, body)
        except RefusedError as refusal:
            self.close_connection = True
            reply = _fault(refusal.status, refusal.message)
        except StaleError as error:
            reply = _fault(HTTPStatus.CONFLICT, str(error))
        except (ReviewError, TrainError) as error:
            reply = _fault(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        self._send(reply)

    def _asked(self) -> str:
        """The path after the secret; raises RefusedError if the request is not the page's."""
        host = self.headers.get("host", "")
        if host.rpartition(":")[0] not in _LOOPBACK and host not in _LOOPBACK:
            raise RefusedError(HTTPStatus.FORBIDDEN, "This is only for this machine.")
        if self.command == "POST" and self.headers.get("origin") != f"http://{host}":
            raise RefusedError(HTTPStatus.FORBIDDEN, "Only the page itself may decide.")
        secret, slash, asked = self.path.removeprefix("/").partition("/")
        known = hmac.compare_digest(secret.encode(errors="replace"), self.server.secret.encode())
        if not (known and slash):
            raise RefusedError(
                HTTPStatus.NOT_FOUND, "Open the address that the review printed, as a whole."
            )
        return asked

    def _get(self, asked: str) -> _Reply:
        if asked == "":
            return _Reply(HTTPStatus.OK, _HTML, str(self.server.page.content).encode())
        if asked == "state":
            return self._state()
        if asked.startswith("photo/"):
            photo = self.server.session.jpeg(asked.removeprefix("photo/"))
            return _Reply(HTTPStatus.OK, _JPEG, photo)
        return _fault(HTTPStatus.NOT_FOUND, "There is nothing here.")

    def _post(self, asked: str, body: bytes) -> _Reply:
        if self.headers.get("content-type") != _JSON:  # what no form can send
            return _fault(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send JSON.")
        if asked == "undo":
            self.server.session.undo()
            return self._state()
        if asked != "decide":
            return _fault(HTTPStatus.NOT_FOUND, "There is nothing here.")
        try:
            value = json.loads(body)
            photo, label = value["photo"], value["label"]
        except (ValueError, KeyError, TypeError, RecursionError):
            photo, label = None, None
        if not isinstance(photo, str) or not isinstance(label, str | None):
            return _fault(HTTPStatus.BAD_REQUEST, 'Send {"photo": "…", "label": "…" or null}.')
        self.server.session.decide(photo, label)
        return self._state()

    def _state(self) -> _Reply:
        state = self.server.session.state() | {"next_step": self.server.next_step}
        return _Reply(HTTPStatus.OK, _JSON, json.dumps(state).encode())

    def _send(self, reply: _Reply) -> None:
        self.send_response(reply.status)
        for name, value in self.server.page.headers.items():
            if name != "cache-control":
                self.send_header(name, value)
        self.send_header("cache-control", "no-store")
        self.send_header("x-content-type-options", "nosniff")
        self.send_header("cross-origin-resource-policy", "same-origin")
        self.send_header("content-type", reply.media_type)
        self.send_header("content-length", str(len(reply.body)))
        if self.close_connection:
            self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Write nothing: the log of decisions tells what was done."""


def _fault(status: HTTPStatus, message: str) -> _Reply:
    return _Reply(status, _JSON, json.dumps({"message": message}).encode())
