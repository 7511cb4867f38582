"""The local HTTP API: the events that it makes, what it refuses, and its error messages."""

import base64
import json
import socket
import struct
import threading

import pytest

from local.errors import BackendError, FunctionFailedError, FunctionTimeoutError
from local.gateway import HttpRequest, answer, event_of, response_of
from local.wire import MAX_EVENT_BYTES, RefusedError
from serving.http import events
from tests.client import send
from tests.unit.local.conftest import FakeBackend, raw


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"])
def test_every_method_reaches_the_function(served, backend, method):
    assert send(f"{served.url}/model", method).status == 200
    assert backend.events[0]["requestContext"]["http"]["method"] == method


def test_an_event_has_the_shape_of_payload_format_2():
    event = event_of(
        HttpRequest(
            "POST",
            "/some%20path?a=1&b=2&a=3",
            (
                ("User-Agent", "curl/8"),
                ("Accept", "a/b"),
                ("accept", "c/d"),
                ("Cookie", "k=v; l=w"),
            ),
            b"hello",
            source_ip="192.0.2.7",
        )
    )
    context = event.pop("requestContext")
    assert event == {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/some path",
        "rawQueryString": "a=1&b=2&a=3",
        "queryStringParameters": {"a": "1,3", "b": "2"},
        "cookies": ["k=v", "l=w"],
        "headers": {"user-agent": "curl/8", "accept": "a/b,c/d"},
        "body": "aGVsbG8=",
        "isBase64Encoded": True,
    }
    assert (context["stage"], context["routeKey"]) == ("$default", "$default")
    assert context["http"] == {
        "method": "POST",
        "path": "/some path",
        "protocol": "HTTP/1.1",
        "sourceIp": "192.0.2.7",
        "userAgent": "curl/8",
    }


def test_an_event_without_body_or_query_lacks_their_fields():
    assert event_of(HttpRequest("GET", "/")).keys() == {
        *("version", "routeKey", "rawPath", "rawQueryString", "headers"),
        *("requestContext", "isBase64Encoded"),
    }


def test_the_service_reads_the_event_as_one_of_an_http_api():
    request = events.read(event_of(HttpRequest("POST", "/predict?top_k=3", (), b"\xff\xd8")))
    assert (request.source, request.method, request.path) == ("http-api", "POST", "/predict")
    assert request.query == {"top_k": ["3"]}
    assert request.body(max_bytes=2) == b"\xff\xd8"


@pytest.mark.parametrize(
    ("content_type", "body", "is_base64"),
    [
        ("application/json", b'{"a": 1}', False),
        ("Application/JSON; charset=utf-8", "{é}".encode(), False),
        ("text/plain", b"a", False),
        ("text/plain", b"\xff\xfe", True),
        ("image/jpeg", b"a", True),
        ("application/x-www-form-urlencoded", b"a=1", True),
        ("", b"a", True),
    ],
)
def test_only_bodies_of_text_types_travel_as_text(content_type, body, is_base64):
    event = event_of(HttpRequest("POST", "/", (("content-type", content_type),), body))
    assert event["isBase64Encoded"] is is_base64
    text = event["body"]
    assert (base64.b64decode(text) if is_base64 else text.encode()) == body


def test_a_compressed_body_travels_as_base64():
    headers = (("content-type", "application/json"), ("content-encoding", "br"))
    assert event_of(HttpRequest("POST", "/", headers, b"{}"))["isBase64Encoded"]


def test_an_answers_status_headers_cookies_and_body_are_passed_on():
    response = response_of(
        json.dumps(
            {
                "statusCode": 201,
                "headers": {"Content-Type": "image/png"},
                "cookies": ["a=1", "b=2"],
                "body": base64.b64encode(b"\x00\xff").decode(),
                "isBase64Encoded": True,
            }
        ).encode()
    )
    assert (response.status, response.body) == (201, b"\x00\xff")
    assert response.headers == (
        ("content-type", "image/png"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
    )


@pytest.mark.parametrize("value", [{"a": 1}, "text", None, [1]])
def test_an_answer_without_status_is_200_and_json(value):
    response = response_of(json.dumps(value).encode())
    assert (response.status, json.loads(response.body)) == (200, value)


@pytest.mark.parametrize(
    "value",
    [
        {"statusCode": "many"},
        {"statusCode": 42},
        {"statusCode": None},
        {"statusCode": 200, "headers": ["a"]},
        {"statusCode": 200, "headers": {"a": "b\r\nc: d"}},
        {"statusCode": 200, "body": "?", "isBase64Encoded": True},
    ],
)
def test_an_answer_that_cannot_be_understood_is_refused(value):
    with pytest.raises(RefusedError) as caught:
        response_of(json.dumps(value).encode())
    assert caught.value.status == 502


@pytest.mark.parametrize(
    ("outcome", "status", "message"),
    [
        (FunctionFailedError("ValueError: secret"), 502, "Internal Server Error"),
        (BackendError("the emulator did not start"), 502, "Internal Server Error"),
        (FunctionTimeoutError("2.00 seconds"), 504, "Endpoint request timed out"),
    ],
)
def test_a_functions_fault_has_the_apis_wording(outcome, status, message):
    response = answer(HttpRequest("GET", "/"), FakeBackend(outcome))
    assert (response.status, json.loads(response.body)) == (status, {"message": message})


def test_an_event_beyond_the_limit_never_reaches_the_function(backend):
    body = bytes(MAX_EVENT_BYTES * 3 // 4)
    assert answer(HttpRequest("POST", "/", (), body), backend).status == 413
    assert backend.events == []


def test_a_request_goes_to_the_function_and_its_answer_comes_back(served, backend):
    response = send(f"{served.url}/x?y=z", "POST", b"\x00", content_type="image/png", x_a="b")
    assert (response.status, response.body) == (200, b"ok")
    event = backend.events[0]
    assert (event["rawPath"], event["rawQueryString"], event["body"]) == ("/x", "y=z", "AA==")
    assert (event["headers"]["x-a"], event["headers"]["content-type"]) == ("b", "image/png")


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", 200), ("OPTIONS", 204)], ids=["HEAD", "no content"]
)
def test_an_answer_without_body_has_no_length_and_the_next_follows(served, backend, method, status):
    backend.outcome = {"statusCode": status, "body": "" if status == 204 else "ok"}
    request = method.encode() + b" / HTTP/1.1\r\nhost: x\r\n\r\n"
    received = raw(served, request * 2)
    assert received.count(b"HTTP/1.1 %d" % status) == 2
    assert b"content-length" not in received.lower()
    assert received.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"http://x/predict?a=b", "/predict"),
        (b"HTTPS://x:80/p/q?a=b", "/p/q"),
        (b"http://x?a=b", "/"),
    ],
)
def test_a_target_with_scheme_and_host_is_taken_by_its_path(served, backend, target, path):
    assert raw(served, b"GET " + target + b" HTTP/1.1\r\nhost: x\r\n\r\n").startswith(
        b"HTTP/1.1 200"
    )
    event = backend.events[0]
    assert (event["rawPath"], event["rawQueryString"]) == (path, "a=b")


def test_a_second_request_may_follow_on_one_connection(served, backend):
    one = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\na"
    assert raw(served, one + one).count(b"HTTP/1.1 200") == 2
    assert len(backend.events) == 2


def test_a_client_that_goes_away_leaves_no_traceback(served, backend, capfd):
    entered, gone = threading.Event(), threading.Event()
    backend.outcome = {"statusCode": 200, "body": "x" * 4_000_000}
    invoke = backend.invoke

    def invoke_once_the_client_is_gone(event):
        entered.set()
        assert gone.wait(10)
        return invoke(event)

    backend.invoke = invoke_once_the_client_is_gone
    client = socket.create_connection(("127.0.0.1", served.server_port), timeout=10)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    assert entered.wait(10)
    client.close()  # with a reset
    gone.set()
    for thread in threading.enumerate():
        if thread.name.endswith("(process_request_thread)"):
            thread.join(10)
    assert len(backend.events) == 1
    assert send(f"{served.url}/").status == 200
    assert "Traceback" not in capfd.readouterr().err
