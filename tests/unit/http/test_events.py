"""Events of every kind become the same request, and answers take each sender's form."""

import base64
from contextlib import suppress
from http import HTTPStatus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from serving.errors import InvalidRequestError, TooLargeError
from serving.http import events
from serving.http.events import Response, Source
from tests.invocations import HTTP_KINDS, event, load

SOURCES = {
    "http_api_v2": Source.HTTP_API,
    "http_api_v1": Source.HTTP_API,
    "rest_api_v1": Source.REST_API,
    "function_url": Source.FUNCTION_URL,
    "alb": Source.ALB,
    "alb_multi_value": Source.ALB,
}


@pytest.mark.parametrize("kind", HTTP_KINDS)
def test_each_kind_is_recognised_by_its_shape_and_read_alike(kind):
    request = events.read(
        event(
            kind,
            "POST",
            "/predict",
            body=b"\xff\xd8 binary",
            headers={"Content-Type": "IMAGE/JPEG; name=x"},
            query="top_k=3&note=a%26b",
        )
    )
    assert request.source is SOURCES[kind]
    assert (request.method, request.path) == ("POST", "/predict")
    assert request.media_type == "image/jpeg"
    assert request.query == {"top_k": ["3"], "note": ["a&b"]}
    assert request.headers["user-agent"] == "curl/8.5.0"
    assert request.body(max_bytes=100) == b"\xff\xd8 binary"


@pytest.mark.parametrize("kind", HTTP_KINDS)
def test_the_documented_event_is_read_as_it_stands(kind):
    request = events.read(load(kind))
    assert (request.method, request.path, request.query) == ("GET", "/health", {})
    assert request.body(max_bytes=0) == b""


@pytest.mark.parametrize("kind", HTTP_KINDS)
def test_a_text_body_arrives_as_text_or_base64(kind):
    for as_text in (True, False):
        request = events.read(event(kind, body='{"ü": 1}'.encode(), as_text=as_text))
        assert request.body(max_bytes=100) == '{"ü": 1}'.encode()


def test_a_direct_invocation_is_a_prediction_of_its_event():
    request = events.read(load("direct"))
    assert request.source is Source.DIRECT
    assert (request.method, request.path) == ("POST", "/predict")
    assert request.event == {"url": "https://example.com/photo.jpg"}


def test_a_body_at_the_limit_is_accepted_and_above_refused():
    for as_text in (True, False):
        request = events.read(event("alb", body=b"x" * 10, as_text=as_text))
        assert len(request.body(max_bytes=10)) == 10
        with pytest.raises(TooLargeError, match="10 bytes; the limit is 9"):
            request.body(max_bytes=9)


def test_the_limit_counts_bytes_and_not_characters():
    request = events.read(event("alb", body="üü".encode(), as_text=True))
    with pytest.raises(TooLargeError):
        request.body(max_bytes=3)


@pytest.mark.parametrize("body", ["not base64!", "Y", "ü" * 4, "YQ==YQ=="])
def test_a_body_that_is_not_the_base64_it_claims_to_be_is_refused(body):
    made = event("alb") | {"body": body, "isBase64Encoded": True}
    with pytest.raises(InvalidRequestError, match="base64"):
        events.read(made).body(max_bytes=100)


@given(
    st.one_of(
        st.binary(max_size=60).map(lambda data: base64.b64encode(data).decode()),
        st.binary(max_size=20).map(lambda data: base64.b64encode(data).decode().rstrip("=")),
        st.text("AZaz09+/=-_ \n\té\0", max_size=40),
    )
)
def test_all_that_the_standard_library_takes_for_base64_is_taken(text):
    request = events.read(event("alb") | {"body": text, "isBase64Encoded": True})
    try:
        expected = base64.b64decode(text, validate=True)
    except ValueError:
        with suppress(InvalidRequestError):
            request.body(max_bytes=100)
    else:
        assume(not expected.startswith(b"\x1f\x8b"))  # gzip is inflated
        assert request.body(max_bytes=100) == expected


@pytest.mark.parametrize("flag", [True, "true", "True", 1])
def test_a_body_in_base64_may_be_broken_into_lines_and_flagged_as_text(flag):
    body = base64.encodebytes(bytes(range(100))).decode()  # as `base64 photo.jpg` prints it
    request = events.read(event("http_api_v2") | {"body": body, "isBase64Encoded": flag})
    assert request.body(max_bytes=100) == bytes(range(100))


@pytest.mark.parametrize("flag", [False, "false", "", None, 0])
def test_a_body_that_is_not_flagged_is_text(flag):
    request = events.read(event("http_api_v2") | {"body": "YQ==", "isBase64Encoded": flag})
    assert request.body(max_bytes=100) == b"YQ=="


@pytest.mark.parametrize(
    ("headers", "many"),
    [
        ({"Content-Type": "image/png", "X": "1"}, None),
        ({"Content-Type": ["image/png"], "X": 1}, None),
        (None, {"Content-Type": ["image/png"], "X": [1]}),
        (None, {"Content-Type": "image/png", "X": 1, "Y": None}),
        ({"CONTENT-TYPE": "image/png"}, {"X": ["1"]}),
        ({"content-type": "image/gif", "X": "1"}, {"content-type": ["image/png"]}),
        ({"Content-Type": "image/png"}, {"X": "1"}),
        ({"Content-Type": "image/png", "X": "1"}, {}),
        ({"Content-Type": "image/png", "X": "1"}, "none"),
    ],
)
@pytest.mark.parametrize("kind", HTTP_KINDS)
def test_headers_are_read_as_strings_lists_and_numbers(kind, headers, many):
    request = events.read({**event(kind), "headers": headers, "multiValueHeaders": many})
    assert (request.media_type, request.headers["x"]) == ("image/png", "1")


@pytest.mark.parametrize("one", [{"top_k": "3"}, {"top_k": 3}, {"top_k": ["3"]}])
@pytest.mark.parametrize("field", ["queryStringParameters", "multiValueQueryStringParameters"])
def test_the_query_is_read_as_strings_lists_and_numbers(field, one):
    assert events.read({**event("rest_api_v1"), field: one}).query == {"top_k": ["3"]}


def test_a_test_event_without_a_context_is_read_as_a_request():
    made = {"httpMethod": "POST", "path": "/predict", "body": "eA==", "isBase64Encoded": True}
    request = events.read(made)
    assert (request.source, request.method, request.path) == ("rest-api", "POST", "/predict")
    assert request.body(max_bytes=9) == b"x"


@pytest.mark.parametrize("body", [5, ["a"], {"a": 1}, True])
def test_a_body_that_is_no_string_is_refused(body):
    with pytest.raises(InvalidRequestError, match="string"):
        events.read(event("alb") | {"body": body}).body(max_bytes=100)


@pytest.mark.parametrize(
    "damaged",
    [
        {"headers": None, "multiValueHeaders": None},
        {"headers": [], "multiValueHeaders": {"a": None}},
        {"queryStringParameters": "x", "multiValueQueryStringParameters": {"a": None}},
        {"path": None, "httpMethod": "get"},
        {"rawPath": None, "rawQueryString": None},
    ],
)
@pytest.mark.parametrize("kind", HTTP_KINDS)
def test_missing_or_odd_members_do_not_break_reading(kind, damaged):
    request = events.read({**event(kind), **damaged})
    assert request.method in ("GET", "POST")


@pytest.mark.parametrize("kind", HTTP_KINDS)
def test_a_head_request_gets_the_headers_without_the_body(kind):
    request = events.read(event(kind, "HEAD", "/health"))
    written = events.write(Response(HTTPStatus.OK, {"a": 1}), request)
    assert written["headers"]["content-type"] == "application/json"
    assert written["body"] == ""


def test_text_is_sent_with_its_charset():
    request = events.read(event("alb", "GET", "/"))
    written = events.write(Response(HTTPStatus.OK, "hällo", "text/plain"), request)
    assert written["headers"]["content-type"] == "text/plain; charset=utf-8"
    assert written["body"] == "hällo"


def test_a_load_balancer_gets_a_status_description():
    request = events.read(event("alb"))
    written = events.write(Response(HTTPStatus.NOT_FOUND, {}), request)
    assert (written["statusCode"], written["statusDescription"]) == (404, "404 Not Found")


def test_a_direct_invocation_gets_the_bare_answer():
    request = events.read(load("direct"))
    assert events.write(Response(HTTPStatus.OK, {"label": "red"}), request) == {"label": "red"}
