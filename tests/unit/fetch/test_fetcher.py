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
from tests.fetching import ANY_PORT, HOST, fetch, redirect
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


# --- redirects


@pytest.mark.parametrize("status", ["301 M", "302 F", "303 S", "307 T", "308 P"])
def test_a_redirect_is_followed(status):
    with serving(redirect("/b.jpg?c=1", status), response(b"picture")) as server:
        assert fetch(server.port) == b"picture"
        assert server.heads[1].startswith(b"GET /b.jpg?c=1 ")


@pytest.mark.parametrize(
    ("location", "asked"),
    [
        ("/für.jpg", "/f%C3%BCr.jpg"),
        ("/fotoà.jpg?größe=2", "/foto%C3%A0.jpg?gr%C3%B6%C3%9Fe=2"),
        ("/写真.jpg", "/%E5%86%99%E7%9C%9F.jpg"),
        ("/a b%20c.jpg ", "/a%20b%20c.jpg"),
    ],
)
def test_a_redirect_is_followed_as_servers_write_it(location, asked):
    as_sent = location.encode().decode("latin-1")  # which headers are made and read as
    with serving(redirect(as_sent), response(b"picture")) as server:
        assert fetch(server.port) == b"picture"
    assert server.heads[1].decode().startswith(f"GET {asked} HTTP/1.1")


def test_three_redirects_are_followed_and_a_fourth_is_not():
    with serving(*[redirect("/b")] * 3, response(b"picture")) as server:
        assert fetch(server.port) == b"picture"
    with serving(*[redirect("/b")] * 4, response(b"picture")) as server:
        with pytest.raises(ForbiddenUrlError, match="more than 3"):
            fetch(server.port)
        assert server.accepted == 4


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.2:{port}/",
        "http://[::1]:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "//127.0.0.2:{port}/",
        "http://user:pw@photos.example:{port}/",
        "http://2130706433:{port}/",
        "file:///etc/passwd",
        "ftp://photos.example/",
    ],
)
def test_a_redirect_is_held_to_the_same_rules(location):
    with serving(response(b"secret")) as inner:
        target = location.format(port=inner.port)
        with serving(redirect(target)) as server, pytest.raises(ForbiddenUrlError):
            fetch(server.port)
        assert inner.accepted == 0


def test_a_redirect_to_a_port_that_is_not_allowed_is_refused():
    with serving(response(b"secret")) as inner, serving(redirect("")) as server:
        moved = redirect(f"http://{HOST}:{inner.port}/")
        with serving(moved) as server:
            settings = Settings(fetch_ports=frozenset({server.port}))
            with pytest.raises(ForbiddenUrlError, match="port"):
                fetch(server.port, settings=settings)
        assert inner.accepted == 0


def test_a_redirects_host_is_resolved_and_checked_again():
    with serving(response(b"secret")) as inner:
        with serving(redirect(f"http://inner.example:{inner.port}/")) as server:
            names = {HOST: ["127.0.0.1"], "inner.example": ["10.0.0.1"]}
            with pytest.raises(ForbiddenUrlError, match="public internet"):
                fetch(server.port, resolve=lambda host, port: names[host])
        assert inner.accepted == 0


@pytest.mark.parametrize("location", ["http://[", "http://a\\b/", "/a\x7fb", "http://x:y/"])
def test_a_redirect_to_something_not_a_url_is_a_failed_remote(location):
    with serving(redirect(location)) as server, pytest.raises(RemoteFailedError, match="not a URL"):
        fetch(server.port)


def test_a_redirect_without_a_location_is_a_failed_remote():
    with serving(response(status="302 Found")) as server:
        with pytest.raises(RemoteFailedError, match="where to"):
            fetch(server.port)


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


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "x-unknown", "gzip, gzip"])
def test_a_compressed_body_is_refused_rather_than_inflated(encoding):
    bomb = gzip.compress(b"\0" * 10_000_000)
    with serving(response(bomb, content_encoding=encoding)) as server:
        with pytest.raises(RemoteFailedError, match="compressed"):
            fetch(server.port)


def test_an_empty_body_is_a_failed_remote():
    with serving(response(b"")) as server, pytest.raises(RemoteFailedError, match="empty"):
        fetch(server.port)


# --- servers that fail or break the protocol


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
