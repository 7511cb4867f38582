"""Events of every kind become the same request, and answers take each sender's form."""

import base64
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import InvalidRequestError, TooLargeError
from serving.http import events
from serving.http.events import Response, Source
from tests.invocations import HTTP_KINDS, event, load

SOURCES = {
    "http_api_v2": Source.HTTP_API,
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


@pytest.mark.parametrize("kind", ["http_api_v2", "function_url"])
def test_a_named_stage_is_removed_from_the_path(kind):
    made = event(kind, "GET", "/prod/model")
    made["requestContext"]["stage"] = "prod"
    assert events.read(made).path == "/model"


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


@pytest.mark.parametrize("body", ["not base64!", "YQ", "ü" * 4])
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
def test_base64_is_what_the_standard_library_accepts(text):
    request = events.read(event("alb") | {"body": text, "isBase64Encoded": True})
    try:
        expected = base64.b64decode(text, validate=True)
    except ValueError:
        with pytest.raises(InvalidRequestError, match="base64"):
            request.body(max_bytes=100)
    else:
        assert request.body(max_bytes=100) == expected


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
