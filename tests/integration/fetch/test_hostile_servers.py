"""Servers that would rather harm than deliver, through the handler: each is cut off in time, takes
no memory, and no byte of what they send is repeated.
"""

import gzip
import json
import threading
import tracemalloc

import pytest

from serving.app import App
from serving.fetch.fetcher import Fetcher
from serving.settings import Settings
from tests.invocations import answer, event
from tests.loopback import Answer, dripping, repeating, response, serving, silent

MAX_BYTES = 2_000_000
SETTINGS = Settings(fetch_ports=frozenset(), fetch_max_bytes=MAX_BYTES, fetch_timeout_s=1.0)
MARK = b"SECRET-OF-THE-INSIDE"

CHUNKED = response(length=None, transfer_encoding="chunked")
HEAD = b"HTTP/1.1 200 OK\r\n"

# Name: (how the server answers, the statuses that the caller may get)
HOSTILE: dict[str, tuple[Answer, set[int]]] = {
    "endless body": (repeating(response(length=None), MARK * 1_000), {413}),
    "endless chunks": (repeating(CHUNKED, b"7d0\r\n" + MARK * 100 + b"\r\n"), {413}),
    "one endless chunk": (repeating(CHUNKED + b"ffffffffff\r\n", MARK * 1_000), {413}),
    "a chunk of less than nothing": (repeating(CHUNKED + b"-1\r\n", MARK * 1_000), {502}),
    "endless size of a chunk": (repeating(CHUNKED, b"0" * 10_000), {502, 504}),
    "endless trailers": (repeating(CHUNKED + b"1\r\nx\r\n0\r\n", b"a: b\r\n" * 100), {502, 504}),
    "more than it says": (repeating(response(length=20), MARK * 1_000), {415}),
    "less than it says": (response(MARK, length=1_000), {502}),
    "a negative length": (response(MARK, length=-5), {415, 502}),
    "a length that is no number": (HEAD + b"content-length: many\r\n\r\n" + MARK, {415, 502}),
    "two lengths": (HEAD + b"content-length: 5\r\ncontent-length: 20\r\n\r\n" + MARK, {415, 502}),
    "a huge length": (repeating(response(length=10**18), MARK), {413}),
    "a length of many digits": (response(MARK, length=10**4_000), {413}),
    "gzip bomb": (response(gzip.compress(MARK * 500_000), content_encoding="gzip"), {413}),
    "gzip that is none, endless": (
        repeating(CHUNKED[:-2] + b"content-encoding: gzip\r\n\r\n", b"5\r\nxxxxx\r\n"),
        {413, 504},
    ),
    "one huge header": (repeating(HEAD + b"x: ", b"y" * 10_000), {502}),
    "endless headers": (repeating(HEAD, b"x: " + MARK + b"\r\n"), {502}),
    "endless status line": (repeating(b"HTTP/1.1 200 ", b"O" * 10_000), {502}),
    "endless interim responses": (repeating(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"), {502}),
    "endless continue": (repeating(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100), {504}),
    "slow headers": (dripping(response(MARK, x_long="z" * 5_000)), {504}),
    "slow body": (dripping(response(MARK * 100), at_once=60), {504}),
    "slow body of no length": (dripping(response(MARK * 100, length=None), at_once=60), {504}),
    "silence": (silent, {504}),
    "silence after the headers": (repeating(response(length=50), b""), {504}),
    "nothing": (b"", {502}),
    "another protocol": (b"220 smtp.example ESMTP " + MARK + b"\r\n", {502}),
    "null bytes": (b"\0" * 100_000, {502}),
    "a redirect to itself": (response(status="302 F", location="/a.jpg"), {403}),
    "a redirect to nowhere": (response(status="302 F", location="http://[" + "x" * 9_000), {502}),
    "a redirect with a new line": (response(status="302 F", location="/a\tb\x0bc"), {403, 502}),
    "a status of another world": (response(MARK, status="299 " + MARK.decode()), {502}),
    "an error page with a secret": (response(MARK, status="403 " + MARK.decode()), {502}),
    "a page": (response(b"<html>" + MARK, content_type="image/jpeg"), {415}),
}


def trickle(connection, head, over: threading.Event) -> None:
    """The headers at once, then a chunk of nothing useful now and then, for ever."""
    connection.sendall(CHUNKED)
    while not over.wait(0.05):
        connection.sendall(b"1\r\nx\r\n")


HOSTILE["a trickle of chunks"] = (trickle, {504})


def fetch_through_handler(classifier, port: int) -> tuple[int, str]:
    fetcher = Fetcher(
        SETTINGS,
        policy=lambda address: str(address) == "127.0.0.1",
        resolve=lambda host, port: ["127.0.0.1"],
    )
    app = App(classifier, SETTINGS, fetcher)
    made = event("alb", body=json.dumps({"url": f"http://evil.example:{port}/a.jpg"}).encode())
    answered = answer(made, app.handle(made, "request-1"))
    return answered.status, answered.body


@pytest.fixture(scope="module", autouse=True)
def _warm(classifier):
    """Imports and caches are no attack's doing."""
    with serving(response(b"x")) as server:
        fetch_through_handler(classifier, server.port)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_server_is_cut_off_in_time_and_memory(classifier, capsys, name):
    reply, statuses = HOSTILE[name]
    with serving(reply) as server:
        tracemalloc.start()
        try:
            status, body = fetch_through_handler(classifier, server.port)
            was_cut_off = server.finished == 0
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert status in statuses
    assert was_cut_off or isinstance(reply, bytes)
    assert MARK.decode() not in body
    assert MARK.decode() not in capsys.readouterr().out
    assert peak_bytes < 3 * MAX_BYTES  # the bytes as they come, and whole


def test_several_hostile_servers_at_once_share_the_deadline(classifier):
    """A batch takes as long as its slowest item, not as all of them together."""
    with serving(silent) as server:
        fetcher = Fetcher(
            SETTINGS, policy=lambda address: True, resolve=lambda host, port: ["127.0.0.1"]
        )
        app = App(classifier, SETTINGS, fetcher)
        images = [{"url": f"http://evil.example:{server.port}/{i}"} for i in range(8)]
        results = app.handle({"images": images}, "request-1", remaining_s=30)["results"]
        # All eight were waiting at the same time: none was given up before the last had begun.
        assert server.accepted == 8
    assert [result["status"] for result in results] == [504] * 8
