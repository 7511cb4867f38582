"""Redirects of servers on loopback: followed up to ten times, each checked like the first URL."""

import pytest

from serving.errors import ForbiddenUrlError, RemoteFailedError
from serving.settings import Settings
from tests.fetching import HOST, fetch, redirect
from tests.loopback import response, serving


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


def test_ten_redirects_are_followed_and_an_eleventh_is_not():
    with serving(*[redirect("/b")] * 10, response(b"picture")) as server:
        assert fetch(server.port) == b"picture"
    with serving(*[redirect("/b")] * 11, response(b"picture")) as server:
        with pytest.raises(ForbiddenUrlError, match="more than 10"):
            fetch(server.port)
        assert server.accepted == 11


def test_the_tenth_redirect_is_checked_like_the_first():
    with serving(response(b"secret")) as inner:
        last = redirect(f"http://127.0.0.2:{inner.port}/")
        with serving(*[redirect("/b")] * 9, last) as server, pytest.raises(ForbiddenUrlError):
            fetch(server.port)
        assert inner.accepted == 0


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
