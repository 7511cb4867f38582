"""Heads and bodies as they come over the socket: what is taken, and what is refused."""

import base64
import json

import pytest

from tests.unit.local.conftest import raw


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (b"transfer-encoding: gzip, chunked", b"501"),
        (b"transfer-encoding: chunked\r\ncontent-length: 3", b"400"),
        (b"content-length: 3\r\nContent-Length: 4", b"400"),
        (b"content-length: 3, 4", b"400"),
        (b"content-length : 3", b"400"),
        (b"content-length: 3\r\nno colon", b"400"),
        (b"content-length: 3\r\n folded: x", b"400"),
        (b"content-length: 3\r\n: no name", b"400"),
        (b"content-length: 3\r\na b: space", b"400"),
        (b"content-length: 1_0", b"400"),
        (b"content-length: -1", b"400"),
        (b"content-length: 7000000", b"413"),
    ],
)
def test_a_body_of_unknown_or_wrong_length_is_refused(served, backend, header, status):
    received = raw(served, b"POST / HTTP/1.1\r\nhost: x\r\n" + header + b"\r\n\r\nabc")
    assert received.startswith(b"HTTP/1.1 " + status)
    assert b"connection: close" in received.lower()
    assert backend.events == []


@pytest.mark.parametrize(
    "method", [b"BREW", b'PO"ST', b"'", b"<b>", b"{}", b"\\", b"\xff", b"G" * 99]
)
def test_a_refusal_is_valid_json_whatever_the_method(served, method):
    received = raw(served, method + b' /" HTTP/1.1\r\nhost: x\r\n\r\n')
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 501")
    assert json.loads(body) == {"message": "Not Implemented"}


@pytest.mark.parametrize(
    "head",
    [b"POST / HTTP/1.1\r\nhost: x\r\n", b"POST / HTTP/1.1\r\nhost: x", b"POST / HTTP/1.1\r\n"],
)
def test_headers_that_end_early_are_refused(served, backend, head):
    assert raw(served, head).startswith(b"HTTP/1.1 400")
    assert backend.events == []


@pytest.mark.parametrize(
    "lengths", [b"content-length: 3\r\ncontent-length: 3", b"content-length: 3, 3"]
)
def test_the_same_length_twice_is_one(served, backend, lengths):
    received = raw(served, b"POST / HTTP/1.1\r\nhost: x\r\n" + lengths + b"\r\n\r\nabc")
    assert received.startswith(b"HTTP/1.1 200")
    assert base64.b64decode(backend.events[0]["body"]) == b"abc"


CHUNKED = b"POST / HTTP/1.1\r\nhost: x\r\nTransfer-Encoding: Chunked\r\n\r\n"


@pytest.mark.parametrize(
    "chunks",
    [
        b"3\r\nabc\r\n0\r\n\r\n",
        b"1\r\na\r\n2;name=x\r\nbc\r\n0\r\n\r\n",
        b"0003\r\nabc\r\n0\r\nx-trailer: y\r\n\r\n",
    ],
)
def test_a_chunked_body_is_put_together(served, backend, chunks):
    received = raw(served, (CHUNKED + chunks) * 2)
    assert received.count(b"HTTP/1.1 200") == 2
    for event in backend.events:
        assert base64.b64decode(event["body"]) == b"abc"
        assert event["headers"]["content-length"] == "3"
        assert "transfer-encoding" not in event["headers"]


@pytest.mark.parametrize(
    ("chunks", "status"),
    [
        (b"3\r\nab", b"400"),
        (b"3\r\nabcd\r\n0\r\n\r\n", b"400"),
        (b"-1\r\nabc\r\n", b"400"),
        (b"0x3\r\nabc\r\n", b"400"),
        (b"3\r\nabc\r\n", b"400"),
        (b"3\r\nabc\r\n0\r\nno colon\r\n\r\n", b"400"),
        (b"7fffffff\r\nabc", b"413"),
        (b"", b"400"),
    ],
)
def test_chunks_that_are_wrong_are_refused(served, backend, chunks, status):
    assert raw(served, CHUNKED + chunks).startswith(b"HTTP/1.1 " + status)
    assert backend.events == []


def test_a_body_cut_short_is_refused(served, backend):
    received = raw(served, b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc")
    assert received.startswith(b"HTTP/1.1 400")
    assert backend.events == []
