"""A fetch has one deadline, whatever the server does."""

import threading

import pytest

from serving.errors import RemoteTimeoutError
from tests.fetching import fetch, redirect
from tests.loopback import dripping, repeating, response, serving, silent


def cut_off(answer, *, timeout_s=0.3, **options) -> bool:
    """Whether a fetch is given up as too late while the server is still at it."""
    with serving(answer) as server:
        with pytest.raises(RemoteTimeoutError):
            fetch(server.port, timeout_s=timeout_s, **options)
        return server.finished == 0


DRIPS = {
    "headers": dripping(response(b"picture", x_long="a" * 200)),
    "body": dripping(response(b"x" * 200), at_once=40),
    "body without a length": dripping(response(b"x" * 200, length=None), at_once=40),
    "chunks": dripping(
        response(b"1\r\nx\r\n" * 40, length=None, transfer_encoding="chunked"), at_once=60
    ),
}


@pytest.mark.parametrize("name", DRIPS)
def test_a_server_that_drips_is_cut_off_at_the_deadline(name):
    assert cut_off(DRIPS[name])


def test_a_server_that_says_nothing_is_cut_off_at_the_deadline():
    assert cut_off(silent)


def test_endless_interim_responses_are_cut_off_at_the_deadline():
    assert cut_off(repeating(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 50))


def test_a_handshake_that_stalls_is_cut_off_at_the_deadline():
    assert cut_off(silent, scheme="https")


def test_redirects_share_one_deadline():
    slow = dripping(redirect("/b", "302 " + "F" * 30))  # 1.3 s each
    with serving(slow) as server, pytest.raises(RemoteTimeoutError):
        fetch(server.port, timeout_s=1.8)
    assert server.accepted == 2


def test_a_name_server_that_does_not_answer_times_out():
    over, answered = threading.Event(), threading.Event()

    def stalled(host, port):
        over.wait(5)
        answered.set()
        return ["127.0.0.1"]

    with pytest.raises(RemoteTimeoutError):
        fetch(80, resolve=stalled, timeout_s=0.2)
    assert not answered.is_set()
    over.set()


def test_no_time_left_is_a_timeout_without_a_connection():
    with serving(response(b"picture")) as server:
        with pytest.raises(RemoteTimeoutError):
            fetch(server.port, timeout_s=0)
        assert server.accepted == 0
