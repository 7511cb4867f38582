"""The line that `serve` prints for each request."""

import json

import pytest

from local.__main__ import line
from local.gateway import HttpResponse

RED = {"predictions": [{"label": "red", "probability": 0.9917}], "label": "red", "unsure": False}
BLUE = {"predictions": [{"label": "blue", "probability": 0.4}], "label": "blue", "unsure": True}
PROBLEM = {"status": 415, "detail": "x", "code": "unsupported_image"}


@pytest.mark.parametrize(
    ("method", "path", "status", "body", "wanted"),
    [
        ("POST", "/predict", 200, RED, "POST /predict 200 red 99.2% 8 ms"),
        ("POST", "/predict", 200, BLUE, "POST /predict 200 blue 40.0% (unsure) 8 ms"),
        ("POST", "/predict", 415, PROBLEM, "POST /predict 415 unsupported_image 8 ms"),
        (
            *("POST", "/predict", 200, {"results": [RED, PROBLEM]}),
            "POST /predict 200 red 99.2%, unsupported_image 8 ms",
        ),
        (
            *("POST", "/predict", 200, {"results": [RED] * 6}),
            "POST /predict 200 " + "red 99.2%, " * 5 + "… 8 ms",
        ),
        ("GET", "/health", 200, {"status": "ok"}, "GET /health 200 8 ms"),
        ("POST", "/predict", 413, {"message": "Too Large"}, "POST /predict 413 Too Large 8 ms"),
        ("GET", "/\x1b[2J\n", 404, {"code": "not_found"}, r"GET /\x1b[2J\n 404 not_found 8 ms"),
    ],
)
def test_a_line_says_what_a_person_wants_to_know(method, path, status, body, wanted):
    assert line(method, path, HttpResponse(status, (), json.dumps(body).encode()), 8.4) == wanted


def test_a_page_and_an_empty_answer_say_nothing_more():
    assert line("GET", "/", HttpResponse(200, (), b"<html>"), 1) == "GET / 200 1 ms"
    assert line("HEAD", "/health", HttpResponse(200), 0.2) == "HEAD /health 200 0 ms"
