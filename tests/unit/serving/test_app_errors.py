"""Errors over HTTP say what is wrong and what to do."""

import base64
import json
import sys
from io import StringIO

import pytest

from serving.app import App
from serving.settings import Settings
from tests.invocations import JPEG, JSON


@pytest.mark.parametrize(
    ("body", "headers", "status", "code", "said"),
    [
        (b"just a text file", JPEG, 415, "unsupported_image", "JPEG, PNG, WEBP"),
        (b"", JPEG, 400, "invalid_request", "Send an image file"),
        (b'{"url": ', JSON, 400, "invalid_request", "not valid JSON"),
        (b'{"url": 5}', JSON, 400, "invalid_request", "'url' must be a string"),
        (b'{"url": ""}', JSON, 400, "invalid_request", "not empty"),
        (b'{"picture": "x"}', JSON, 400, "invalid_request", "'picture'"),
        (b'{"url": "x", "image": "y"}', JSON, 400, "invalid_request", "one field of"),
        (b"{}", JSON, 400, "invalid_request", "found: none"),
        (b"[1, 2]", JSON, 400, "invalid_request", "not an object"),
        (b"\xff\xfe{", JSON, 400, "invalid_request", "not valid JSON"),
        (b"[" * 100_000, JSON, 400, "invalid_request", "not valid JSON"),
        (b'{"image": "not base64!"}', JSON, 400, "invalid_request", "base64"),
        (b'{"image": "data:image/svg+xml,<svg/>"}', JSON, 400, "invalid_request", "data: URL"),
        (b'{"s3": "https://bucket/key"}', JSON, 400, "invalid_request", "s3://bucket/key"),
        (b'{"images": 5}', JSON, 400, "invalid_request", "must be a list"),
        (b'{"images": []}', JSON, 400, "invalid_request", "at least one"),
        (b'{"images": [], "url": "x"}', JSON, 400, "invalid_request", "no other image"),
        (b"\xff\xd8\xff\xe0 no jpeg", JPEG, 422, "undecodable_image", "damaged or cut short"),
    ],
)
def test_what_cannot_be_answered_says_why_and_what_to_do(call, body, headers, status, code, said):
    answer = call(body=body, headers=headers)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json
    assert (problem["status"], problem["code"]) == (status, code)
    assert said in problem["detail"]
    assert problem["request_id"] == "request-1"
    assert set(problem) == {"type", "title", "status", "detail", "code", "request_id"}


def test_a_picture_that_is_cut_short_is_refused(call, red_jpeg):
    answer = call(body=red_jpeg[: len(red_jpeg) // 2], headers=JPEG)
    assert (answer.status, answer.json["code"]) == (422, "undecodable_image")


def test_a_body_over_the_limit_is_refused_with_the_limit(call):
    answer = call(body=b"x" * 4_500_001)
    assert (answer.status, answer.json["code"]) == (413, "too_large")
    assert "4,500,000" in answer.json["detail"]


def test_a_direct_invocation_over_the_limit_is_refused(app):
    answer = app.handle({"image": "A" * 6_100_000}, "request-1")
    assert (answer["status"], answer["code"]) == (413, "too_large")


def test_an_unknown_path_is_told_what_there_is(call):
    answer = call("GET", "/predictions")
    assert (answer.status, answer.json["code"]) == (404, "not_found")
    assert "POST /predict" in answer.json["detail"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/predict", "POST, OPTIONS"),
        ("HEAD", "/predict", "POST, OPTIONS"),
        ("DELETE", "/model", "GET, HEAD, OPTIONS"),
        ("BREW", "/", "GET, HEAD, OPTIONS"),
    ],
)
def test_a_method_that_a_path_does_not_take_is_told_which_it_takes(call, method, path, allowed):
    answer = call(method, path)
    assert answer.status == 405
    assert answer.headers["allow"] == allowed


def test_an_unexpected_failure_is_a_500_that_hides_its_cause(classifier, call, red_jpeg, capsys):
    def failing(url, *, timeout_s):
        raise RuntimeError("secret of the inside")

    app = App(classifier, Settings(), failing)
    answer = call(body=b'{"url": "https://example.com/"}', to=app)
    assert (answer.status, answer.json["code"]) == (500, "internal_error")
    assert answer.json["request_id"] == "request-1"
    assert "secret" not in answer.body
    logged = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "secret of the inside" in logged[0]["traceback"]
    assert logged[0]["request_id"] == "request-1"


@pytest.mark.parametrize("junk", [None, 3, "text", [], True])
def test_an_event_that_is_not_an_object_is_refused(app, junk):
    problem = app.handle(junk, "request-1")
    assert (problem["status"], problem["code"]) == (400, "invalid_request")
    assert "send an object" in problem["detail"]


def test_no_kind_of_junk_gets_past_the_handler(app):
    contexts: list[object] = [5, {}, {"http": 5}, {"http": {}}, {"elb": 5}]
    for junk in (None, 3, "text", [1], {"a": 1}, *({"requestContext": c} for c in contexts)):
        assert "500" not in json.dumps(app.handle(junk, "request-1"))


@pytest.mark.parametrize("depth", [100, 1_000, 100_000])
def test_json_that_is_nested_deeply_is_refused(call, app, depth):
    body = b'{"image": ' + b"[" * depth + b"]" * depth + b"}"
    assert call(body=body, headers={"content-type": "application/json"}).status == 400


def test_a_direct_event_that_is_nested_deeply_is_refused(app):
    nested: list[object] = []
    for _ in range(5_000):
        nested = [nested]
    for event in ({"image": nested}, {"images": [nested]}, nested, {"headers": nested}):
        answer = app.handle(event, "request-1")
        assert answer.get("results", [answer])[0]["status"] == 400


class Closed(StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("output", ["closed", "full", "none"])
def test_a_request_is_answered_without_a_place_for_the_log(app, monkeypatch, output, red_jpeg):
    closed = StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", {"closed": closed, "full": Closed(), "none": None}[output])
    answer = app.handle({"image": base64.b64encode(red_jpeg).decode()}, "request-1")
    assert answer["label"] == "red"
