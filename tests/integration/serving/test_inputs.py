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
from tests.mounts import PLACES, placed

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
URL_ENCODED = "application/x-www-form-urlencoded"


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


def form(*files: bytes, named: bytes = b'name="f"; filename="a"') -> bytes:
    head = b"--XX\r\nContent-Disposition: form-data; " + named + b"\r\n\r\n"
    return b"".join(head + file + b"\r\n" for file in files) + b"--XX--\r\n"


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
    "jpeg as json": (RED, "application/json", "red"),
    "base64 as text": (base64_of(RED).encode(), "text/plain", "red"),
    "url-encoded url": (urlencode({"url": GREEN_URL}).encode(), URL_ENCODED, "green"),
    "url-encoded text": (b"comment=hello", URL_ENCODED, 400),
    "file without a filename": (form(RED, named=b'name="f"'), FORM, "red"),
    "text field": (form(b"hello", named=b'name="comment"'), FORM, 400),
    "bytes that became text": (RED.decode("utf-8", "replace").encode(), "image/jpeg", 415),
    "json with a mark": (b"\xef\xbb\xbf" + json.dumps({"url": GREEN_URL}).encode(), "", "green"),
}

# What each refusal says.
SAID = {
    "no image behind the url": "not an image in a supported format",
    "forbidden url": "not public",
    "unresolvable url": "no such name",
    "failing remote": "404",
    "slow remote": "late",
    "missing object": "NoSuchKey",
    "no base64": "The field 'image' is not valid base64. Encode all bytes",
    "truncated image": "damaged or cut short",
    "wrong type": "'url' must be a string that is not empty",
    "two references": "must have one field of",
    "unknown field": "found: 'picture'",
    "nothing": "found: none",
    "empty batch": "holds no image. Send at least one",
    "batch too large": "holds 17 images; at most 16 are allowed",
    "bad option": "must be a whole number between 1 and 20",
    "bad threshold": "must be a number between 0 and 1",
    "text file": "not an image in a supported format",
    "empty body": "has no body. Send an image file",
    "truncated jpeg": "damaged or cut short",
    "body too large": "50,001 bytes; the limit is 50,000",
    "empty form": "holds no image. Send at least one",
    "form cut short": "multipart/form-data is cut short",
    "form without boundary": "names no boundary; let the HTTP client set it",
    "broken json": "is not valid JSON",
    "json of another kind": "JSON is not an object",
    "url-encoded text": "found: 'comment'",
    "text field": "found: 'comment'",
    "bytes that became text": "set the binary media types to */*",
}


def check(answer, name, wanted):
    assert labels(answer.json) == wanted
    assert answer.status == (wanted if isinstance(wanted, int) else 200)
    if isinstance(wanted, int):
        assert SAID[name] in answer.json["detail"]


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
    check(invocations.answer(made, app.handle(made, "request-1")), name, wanted)


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
    check(answer, name, wanted)
    if isinstance(wanted, str):
        assert len(answer.json["predictions"]) == 2


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("place", PLACES)
def test_a_body_is_answered_alike_wherever_the_service_is_mounted(app, place, name):
    body, content_type, wanted = BODIES[name]
    made = placed(place, body=body, headers={"content-type": content_type})
    check(invocations.answer(made, app.handle(made, "request-1")), name, wanted)


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
