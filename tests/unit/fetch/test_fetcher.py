"""Fetching from servers on loopback: good, broken, slow and hostile ones."""

import gzip
import threading

import pytest

from serving.errors import (
    ForbiddenUrlError,
    RemoteFailedError,
    TooLargeError,
    UnresolvableHostError,
)
from serving.fetch.fetcher import Fetcher
from serving.settings import Settings
from tests import loopback
from tests.fetching import ANY_PORT, HOST, fetch
from tests.loopback import repeating, response, serving


def test_the_body_comes_back_as_it_was_sent():
    with serving(response(b"picture")) as server:
        assert fetch(server.port) == b"picture"


def test_a_chunked_body_comes_back_whole():
    chunks = b"3\r\npic\r\n4\r\nture\r\n0\r\n\r\n"
    with serving(response(chunks, length=None, transfer_encoding="chunked")) as server:
        assert fetch(server.port) == b"picture"


def test_the_request_keeps_the_hosts_name_and_tells_nothing_else():
    with serving(response(b"picture")) as server:
        fetch(server.port, "/a.jpg?size=2")
        lines = server.heads[0].decode().strip().split("\r\n")
    assert lines[0] == "GET /a.jpg?size=2 HTTP/1.1"
    assert sorted(lines[1:]) == [
        "Accept-Encoding: identity",
        "Accept: image/*",
        "Connection: close",
        f"Host: {HOST}:{server.port}",
        "User-Agent: photo-classifier-lambda/1",
    ]


def test_proxy_variables_are_ignored(monkeypatch):
    with serving(response(b"picture")) as server, serving(response(b"proxied")) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert fetch(server.port) == b"picture"
        assert proxy.accepted == 0


# --- where it connects to


def test_a_name_is_resolved_once_and_its_checked_address_is_used():
    answers = [["127.0.0.1"], ["127.0.0.2"]]
    asked = []

    def rebinding(host, port):
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    with serving(response(b"picture")) as server:
        assert fetch(server.port, resolve=rebinding) == b"picture"
    assert asked == [HOST]


@pytest.mark.parametrize("addresses", [["10.0.0.1"], ["127.0.0.1", "10.0.0.1"], ["::1"]])
def test_a_name_is_refused_when_any_of_its_addresses_is(addresses):
    with serving(response(b"secret")) as server:
        with pytest.raises(ForbiddenUrlError, match="public internet"):
            fetch(server.port, addresses=addresses)
        assert server.accepted == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "[::ffff:127.0.0.1]", "169.254.169.254"])
def test_the_policy_that_is_used_by_default_refuses_inner_addresses(host):
    with serving(response(b"secret")) as server:
        with pytest.raises(ForbiddenUrlError, match="public internet"):
            Fetcher(ANY_PORT)(f"http://{host}:{server.port}/", timeout_s=5)
        assert server.accepted == 0


def test_localhost_is_refused_by_what_it_resolves_to():
    with serving(response(b"secret")) as server:
        with pytest.raises(ForbiddenUrlError, match="public internet"):
            Fetcher(ANY_PORT)(f"http://localhost:{server.port}/", timeout_s=5)
        assert server.accepted == 0


def test_the_next_address_is_tried_when_one_does_not_answer():
    def both(address):
        return address.is_loopback

    with serving(response(b"picture")) as server:  # nobody listens on 127.0.0.2
        assert fetch(server.port, policy=both, addresses=["127.0.0.2", "127.0.0.1"]) == b"picture"


def test_a_name_that_does_not_resolve_is_the_callers_mistake():
    def unknown(host, port):
        raise OSError("no such name")

    with pytest.raises(UnresolvableHostError, match="spelling"):
        fetch(80, resolve=unknown)
    with pytest.raises(UnresolvableHostError):
        fetch(80, resolve=lambda host, port: [])


def test_a_server_that_is_not_there_is_a_failed_remote():
    with serving(response(b"")) as server:
        port = server.port
    with pytest.raises(RemoteFailedError, match="Cannot connect"):
        fetch(port)


# --- how much it takes


def test_a_body_of_the_byte_limit_is_fetched_and_one_more_is_not():
    settings = Settings(fetch_ports=frozenset(), fetch_max_bytes=70_000)
    with serving(response(b"x" * 70_000)) as server:
        assert len(fetch(server.port, settings=settings)) == 70_000
    with serving(response(b"x" * 70_001, length=None)) as server:
        with pytest.raises(TooLargeError, match="70,000"):
            fetch(server.port, settings=settings)


def test_a_too_large_length_is_refused_before_reading_the_body():
    with serving(repeating(response(length=100_001), b"")) as server:
        with pytest.raises(TooLargeError):
            fetch(server.port)


@pytest.mark.parametrize(
    "start",
    [
        response(length=None),
        response(length=None, transfer_encoding="chunked"),
        response(length=50),
    ],
)
def test_an_endless_body_is_cut_off(start):
    endless = b"5\r\nabcde\r\n" * 1_000
    with serving(repeating(start, endless)) as server:
        if b"ontent-length: 50" in start:
            assert len(fetch(server.port)) == 50
        else:
            with pytest.raises(TooLargeError):
                fetch(server.port)


@pytest.mark.parametrize("encoding", ["utf-8", "none", "binary", "aws-chunked", "identity", ""])
def test_a_plain_body_passes_whatever_its_encoding_is_called(encoding):
    with serving(response(b"picture", content_encoding=encoding)) as server:
        assert fetch(server.port) == b"picture"


def test_a_compressed_body_is_inflated_up_to_the_byte_limit():
    packed = gzip.compress(b"p" * 100_000, mtime=0)
    with serving(response(packed, content_encoding="gzip")) as server:
        assert fetch(server.port) == b"p" * 100_000
    bomb = gzip.compress(bytes(10_000_000), mtime=0)
    with serving(response(bomb, content_encoding="gzip")) as server:
        with pytest.raises(TooLargeError, match="inflates to more than the limit of 100,000"):
            fetch(server.port)


@pytest.mark.parametrize(
    ("encoding", "body", "said"),
    [
        ("br", b"picture", "compressed with br"),
        ("gzip", gzip.compress(b"picture", mtime=0)[:-9], "cut short"),
    ],
)
def test_a_body_that_cannot_be_inflated_is_a_failed_remote(encoding, body, said):
    with serving(response(body, content_encoding=encoding)) as server:
        with pytest.raises(RemoteFailedError, match=said):
            fetch(server.port)


def test_an_empty_body_is_a_failed_remote():
    with serving(response(b"")) as server, pytest.raises(RemoteFailedError, match="empty"):
        fetch(server.port)


# --- servers that fail or break the protocol


@pytest.mark.parametrize(
    "interim",
    [
        b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" * 3,
    ],
)
def test_interim_responses_before_the_answer_are_skipped(interim):
    with serving(interim + response(b"picture")) as server:
        assert fetch(server.port) == b"picture"


def test_more_than_ten_interim_responses_break_the_protocol():
    early = b"HTTP/1.1 103 Early Hints\r\n\r\n" * 11
    with serving(early + response(b"picture")) as server, pytest.raises(RemoteFailedError):
        fetch(server.port)


@pytest.mark.parametrize(
    "status",
    ["403 Forbidden", "404 Not Found", "410 Gone", "500 Broken", "204 No Content", "999 X"],
)
def test_any_status_but_200_is_a_failed_remote_and_says_which(status):
    with serving(response(b"inner secret", status=status)) as server:
        with pytest.raises(RemoteFailedError, match=status.split()[0]) as failure:
            fetch(server.port)
    assert "secret" not in failure.value.detail


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"picture",
        b"HTTP/1.1 two hundred\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        response(b"short", length=50),
        response(b"zz\r\n", length=None, transfer_encoding="chunked"),
        response(b"5\r\nab", length=None, transfer_encoding="chunked"),
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 " + b"O" * 100_000,
    ],
    ids=lambda answer: answer[:24].decode().strip() or "nothing",
)
def test_a_server_that_breaks_the_protocol_is_a_failed_remote(answer):
    with serving(answer) as server, pytest.raises(RemoteFailedError, match="HTTP"):
        fetch(server.port)


def test_a_fetch_leaves_no_thread_behind():
    before = set(threading.enumerate())
    with loopback.serving(response(b"picture")) as server:
        fetch(server.port, timeout_s=600.0)
    left = set(threading.enumerate()) - before
    for thread in left:  # one that has been told to end may take a moment
        thread.join(timeout=8.0)
    assert not [thread for thread in left if thread.is_alive()]
