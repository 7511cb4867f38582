"""Every kind of event with every kind of input, good and bad, through the handler."""

import base64
import json
from urllib.parse import urlencode

import pytest

from serving.app import App
from serving.errors import (
    ForbiddenUrlError,
    RemoteFailedError,
    RemoteTimeoutError,
    UnresolvableHostError,
)
from serving.settings import Settings
from tests import invocations
from tests.drawn import encoded, picture
from tests.invocations import HTTP_KINDS

RED, BLUE = encoded(picture("red")), encoded(picture("blue"), "PNG")
REMOTE = {
    "https://photos.example/green.jpg?size=2&x=%20": encoded(picture("green"), "WEBP"),
    "https://photos.example/page.html": b"<html>no image</html>",
}
FAILING = {
    "http://169.254.169.254/latest/": ForbiddenUrlError("not public"),
    "https://unknown.example/": UnresolvableHostError("no such name"),
    "https://photos.example/gone.jpg": RemoteFailedError("404"),
    "https://slow.example/": RemoteTimeoutError("late"),
}
FORM = "multipart/form-data; boundary=XX"


def fetch(url, *, timeout_s):
    if url in FAILING:
        raise FAILING[url]
    return REMOTE[url]


def fetch_s3(url, *, timeout_s):
    if url == "s3://photos/blue.png":
        return BLUE
    raise RemoteFailedError("S3 does not hand out the object (NoSuchKey).")


@pytest.fixture(scope="module")
def app(classifier):
    return App(classifier, Settings(body_max_bytes=50_000), fetch, fetch_s3)


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def form(*files: bytes) -> bytes:
    parts = [
        b'--XX\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n' + file + b"\r\n"
        for file in files
    ]
    return b"".join(parts) + b"--XX--\r\n"


def labels(value):
    """What an answer comes down to: its label, or its status, or those of its items."""
    if "results" in value:
        return [labels(result) for result in value["results"]]
    return value.get("label", value.get("status"))


GREEN_URL = next(iter(REMOTE))

# JSON, as the body of an HTTP request or as the event of a direct invocation -> what comes out
REFERENCES = {
    "url": ({"url": GREEN_URL}, "green"),
    "base64": ({"image": base64_of(RED)}, "red"),
    "data URL": ({"image": "data:image/jpeg;base64," + base64_of(RED)}, "red"),
    "s3": ({"s3": "s3://photos/blue.png"}, "blue"),
    "options": ({"image": base64_of(RED), "top_k": 1, "threshold": 0.5}, "red"),
    "batch": (
        {
            "images": [
                {"url": GREEN_URL},
                {"image": base64_of(RED)},
                {"s3": "s3://photos/blue.png"},
                {"url": "http://169.254.169.254/latest/"},
                {"image": "eA=="},
                {"image": "!"},
                7,
            ]
        },
        ["green", "red", "blue", 403, 415, 400, 400],
    ),
    "no image behind the url": ({"url": "https://photos.example/page.html"}, 415),
    "forbidden url": ({"url": "http://169.254.169.254/latest/"}, 403),
    "unresolvable url": ({"url": "https://unknown.example/"}, 400),
    "failing remote": ({"url": "https://photos.example/gone.jpg"}, 502),
    "slow remote": ({"url": "https://slow.example/"}, 504),
    "missing object": ({"s3": "s3://photos/none"}, 502),
    "no base64": ({"image": "!"}, 400),
    "truncated image": ({"image": base64_of(RED[:700])}, 422),
    "wrong type": ({"url": 5}, 400),
    "two references": ({"url": GREEN_URL, "image": base64_of(RED)}, 400),
    "unknown field": ({"picture": "x"}, 400),
    "nothing": ({}, 400),
    "empty batch": ({"images": []}, 400),
    "batch too large": ({"images": [{"url": GREEN_URL}] * 17}, 413),
    "bad option": ({"image": base64_of(RED), "top_k": 0}, 400),
    "bad threshold": ({"image": base64_of(RED), "threshold": "high"}, 400),
}

# body, Content-Type -> what comes out
BODIES = {
    "jpeg": (RED, "image/jpeg", "red"),
    "png under a wrong name": (BLUE, "image/jpeg", "blue"),
    "untyped": (RED, "application/octet-stream", "red"),
    "one file": (form(RED), FORM, "red"),
    "files": (form(RED, BLUE, b"text"), FORM, ["red", "blue", 415]),
    "text file": (b"hello", "image/jpeg", 415),
    "empty body": (b"", "image/jpeg", 400),
    "truncated jpeg": (RED[:700], "image/jpeg", 422),
    "body too large": (b"\0" * 50_001, "image/jpeg", 413),
    "empty form": (form(), FORM, 400),
    "form cut short": (form(RED)[:-20], FORM, 400),
    "form without boundary": (form(RED), "multipart/form-data", 400),
    "broken json": (b'{"url": ', "application/json", 400),
    "json of another kind": (b"[1]", "application/json", 400),
}


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("as_text", [True, False], ids=["text", "base64"])
@pytest.mark.parametrize("kind", HTTP_KINDS)
def test_json_is_answered_alike_whoever_sends_it_and_however_encoded(app, kind, as_text, name):
    value, wanted = REFERENCES[name]
    made = invocations.event(
        kind,
        body=json.dumps(value).encode(),
        headers={"content-type": "application/json"},
        as_text=as_text,
    )
    answer = invocations.answer(made, app.handle(made, "request-1"))
    assert labels(answer.json) == wanted
    assert answer.status == (wanted if isinstance(wanted, int) else 200)


@pytest.mark.parametrize("name", REFERENCES)
def test_json_is_answered_alike_in_a_direct_invocation(app, name):
    value, wanted = REFERENCES[name]
    answer = app.handle(value, "request-1")
    assert labels(answer) == wanted
    assert "statusCode" not in answer
    assert ("request_id" in answer) == isinstance(wanted, int)


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("kind", HTTP_KINDS)
def test_a_body_is_answered_alike_whoever_sends_it(app, kind, name):
    body, content_type, wanted = BODIES[name]
    made = invocations.event(
        kind,
        body=body,
        headers={"Content-Type": content_type},
        query=urlencode({"top_k": 2, "note": "a&b=c"}),
    )
    answer = invocations.answer(made, app.handle(made, "request-1"))
    assert labels(answer.json) == wanted
    assert answer.status == (wanted if isinstance(wanted, int) else 200)
    if isinstance(wanted, str):
        assert len(answer.json["predictions"]) == 2


@pytest.mark.parametrize("kind", HTTP_KINDS)
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/health", 200),
        ("GET", "/model", 200),
        ("GET", "/openapi.json", 200),
        ("HEAD", "/health", 200),
        ("OPTIONS", "/predict", 204),
        ("GET", "/predict", 405),
        ("PUT", "/health", 405),
        ("GET", "/nowhere", 404),
        ("OPTIONS", "/nowhere", 404),
        ("POST", "/", 405),
    ],
)
def test_every_route_answers_whoever_asks(app, kind, method, path, status):
    made = invocations.event(kind, method, path)
    assert invocations.answer(made, app.handle(made, "request-1")).status == status


def test_errors_of_every_status_that_the_design_names_are_covered():
    seen = {wanted for _, wanted in REFERENCES.values() if isinstance(wanted, int)}
    seen |= {wanted for _, _, wanted in BODIES.values() if isinstance(wanted, int)}
    assert seen == {400, 403, 413, 415, 422, 502, 504}
