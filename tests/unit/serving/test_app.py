"""Requests and answers over HTTP: routes, errors, and what browsers and terminals get."""

import base64
import json
from dataclasses import replace

import pytest

from serving.app import App
from serving.errors import ForbiddenUrlError
from serving.settings import Settings
from tests.conftest import no_fetch
from tests.drawn import encoded, picture
from tests.invocations import HTTP_KINDS, JPEG, JSON, event


def test_a_picture_is_answered_with_its_class(call, red_jpeg, classifier):
    answer = call(body=red_jpeg, headers=JPEG)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    told = answer.json
    assert told["label"] == told["predictions"][0]["label"] == "red"
    assert told["unsure"] is False
    assert told["model"] == {"name": "tiny", "version": classifier.version}
    assert sum(p["probability"] for p in told["predictions"]) == pytest.approx(1, abs=1e-5)
    assert list(told["timings_ms"]) == ["fetch", "decode", "preprocess", "inference"]


def test_what_the_content_type_says_does_not_matter(call, red_jpeg):
    for content_type in ("image/png", "text/plain", "application/x-www-form-urlencoded", ""):
        assert call(body=red_jpeg, headers={"content-type": content_type}).json["label"] == "red"


# --- options


def test_top_k_says_how_many_classes_are_listed(call, red_jpeg):
    assert len(call(body=red_jpeg, query="top_k=2").json["predictions"]) == 2
    assert len(call(body=red_jpeg, query="top_k=20").json["predictions"]) == 3  # all there are


@pytest.mark.parametrize("top_k", ["0", "-1", "21", "2.5", "two", "", "９", "1" * 5_000])
def test_a_top_k_out_of_range_is_refused_with_the_range(call, red_jpeg, top_k):
    answer = call(body=red_jpeg, query=f"top_k={top_k}")
    assert answer.status == 400
    assert "'top_k'" in answer.json["detail"]
    assert "between 1 and 20" in answer.json["detail"]


def test_the_threshold_says_below_what_an_answer_is_unsure(call):
    grey = encoded(picture("red").convert("L"))  # every class alike
    assert call(body=grey).json["unsure"] is False
    assert call(body=grey, query="threshold=0.9").json["unsure"] is True
    assert call(body=grey, query="threshold=0.1").json["unsure"] is False


@pytest.mark.parametrize("threshold", ["-0.1", "1.1", "nan", "inf", "half", ""])
def test_a_threshold_out_of_range_is_refused_with_the_range(call, red_jpeg, threshold):
    answer = call(body=red_jpeg, query=f"threshold={threshold}")
    assert answer.status == 400
    assert "between 0 and 1" in answer.json["detail"]


def test_the_query_takes_precedence_over_options_in_the_json(call, red_jpeg):
    body = {"image": base64.b64encode(red_jpeg).decode(), "top_k": 1, "threshold": 1}
    told = call(body=json.dumps(body).encode(), headers=JSON).json
    assert len(told["predictions"]) == 1
    assert told["unsure"] is True
    told = call(body=json.dumps(body).encode(), headers=JSON, query="top_k=2").json
    assert len(told["predictions"]) == 2


def test_a_wrong_option_in_the_body_is_refused_despite_the_query(call, red_jpeg):
    body = {"image": base64.b64encode(red_jpeg).decode(), "threshold": 2}
    answer = call(body=json.dumps(body).encode(), headers=JSON, query="threshold=0")
    assert answer.status == 400
    assert "'threshold'" in answer.json["detail"]


@pytest.mark.parametrize("top_k", [True, None, "1x", 1.0, [1]])
def test_a_top_k_of_the_wrong_type_is_refused(app, top_k):
    answer = app.handle({"image": "eA==", "top_k": top_k}, "request-1")
    assert answer["status"] == 400
    assert "'top_k'" in answer["detail"]


# --- the other routes


def test_health_tells_that_the_model_is_loaded(call, classifier):
    answer = call("GET", "/health")
    model = {"name": "tiny", "version": classifier.version}
    assert (answer.status, answer.json) == (200, {"status": "ok", "model": model})


def test_model_tells_the_contract(call, classifier):
    told = call("GET", "/model").json
    assert told["classes"] == ["blue", "green", "red"]
    assert told["preprocess"] == json.loads(json.dumps(classifier.contract.preprocess.to_json()))
    assert told["model"]["version"] == classifier.version


@pytest.mark.parametrize("path", ["/", "/health", "/model", "/openapi.json"])
@pytest.mark.parametrize("kind", HTTP_KINDS)
def test_head_is_get_without_the_body(call, kind, path):
    got, asked = call("GET", path, kind=kind), call("HEAD", path, kind=kind)
    assert (got.status, got.headers) == (asked.status, asked.headers)
    assert got.body
    assert not asked.body


@pytest.mark.parametrize("kind", HTTP_KINDS)
def test_options_tells_the_methods(call, kind):
    answer = call("OPTIONS", "/predict", kind=kind)
    assert (answer.status, answer.headers["allow"]) == (204, "POST, OPTIONS")
    assert answer.body == ""
    assert "access-control-allow-origin" not in answer.headers


# --- what the client accepts


def test_a_person_at_a_terminal_gets_text(call, red_jpeg):
    answer = call(body=red_jpeg, headers={"accept": "text/plain"}, query="top_k=2&threshold=1")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    heading, first, second, end = answer.body.split("\n")
    assert heading == "red (unsure, undecided)"
    assert first.split() == ["red", "100.00%"]
    assert second.split()[1] == "0.00%"
    assert end == ""


def test_an_error_is_text_when_text_is_preferred(call):
    answer = call(body=b"junk", headers={"accept": "text/plain"})
    assert answer.status == 415
    assert answer.body.startswith("415 Unsupported Media Type: ")


@pytest.mark.parametrize("path", ["/health", "/model", "/openapi.json"])
def test_routes_without_text_answer_json_to_any_accept(call, path):
    answer = call("GET", path, headers={"accept": "text/plain, */*;q=0.1"})
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json


def test_a_batch_as_text_numbers_its_answers(call, red_jpeg):
    image = {"image": base64.b64encode(red_jpeg).decode()}
    body = json.dumps({"images": [image, {"image": "eA=="}], "top_k": 1}).encode()
    text = call(body=body, headers={"accept": "text/plain"}).body
    assert text.startswith("1. red\n")
    assert "\n2. 415 Unsupported Media Type: " in text


@pytest.mark.parametrize(
    ("method", "path", "accept"),
    [
        ("POST", "/predict", "text/html"),
        ("GET", "/", "application/json"),
        ("GET", "/model", "text/plain"),
    ],
)
def test_a_media_type_that_is_not_on_offer_is_not_acceptable(call, method, path, accept):
    answer = call(method, path, headers={"accept": accept}, body=b"x" * (method == "POST"))
    assert answer.status == 406
    assert "Accept" in answer.body


def test_the_pages_policy_lets_it_run_only_its_own_code(call):
    answer = call("GET", "/", headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "http" not in policy


def test_every_answer_forbids_guessing_its_type(call):
    assert call("GET", "/health").headers["x-content-type-options"] == "nosniff"
    assert call("GET", "/nowhere").headers["x-content-type-options"] == "nosniff"


# --- CORS


def cors_app(classifier, *origins):
    return App(classifier, replace(Settings(), cors_origins=frozenset(origins)), no_fetch)


@pytest.mark.parametrize("kind", ["rest_api_v1", "function_url", "alb", "alb_multi_value"])
def test_an_allowed_origin_may_read_the_answer(classifier, call, kind):
    app = cors_app(classifier, "https://app.example")
    answer = call("GET", "/health", kind=kind, to=app, headers={"origin": "https://app.example"})
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert answer.headers["vary"] == "accept, origin"
    preflight = {"origin": "https://app.example", "access-control-request-method": "POST"}
    answer = call("OPTIONS", "/predict", kind=kind, to=app, headers=preflight)
    assert answer.status == 204
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "content-type" in answer.headers["access-control-allow-headers"]


def test_an_error_may_be_read_by_the_page_that_caused_it(classifier, call):
    app = cors_app(classifier, "*")
    answer = call(kind="alb", to=app, body=b"junk", headers={"origin": "https://any.example"})
    assert answer.status == 415
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["vary"] == "accept"


def test_another_origin_may_not(classifier, call):
    app = cors_app(classifier, "https://app.example")
    answer = call("GET", "/health", kind="alb", to=app, headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["vary"] == "accept, origin"


def test_cors_is_left_to_an_http_api(classifier, call):
    app = cors_app(classifier, "*")
    headers = {"origin": "https://app.example"}
    answer = call("GET", "/health", kind="http_api_v2", to=app, headers=headers)
    assert "access-control-allow-origin" not in answer.headers


# --- fetching


def test_a_url_is_fetched_within_what_the_invocation_has_left(classifier):
    asked = []

    def fetch(url, *, timeout_s):
        asked.append((url, timeout_s))
        return encoded(picture("green"))

    app = App(classifier, Settings(fetch_timeout_s=5), fetch)
    made = {"url": "https://example.com/green.jpg"}
    assert app.handle(made, "request-1")["label"] == "green"
    assert app.handle(made, "request-1", remaining_s=3.5)["label"] == "green"
    assert asked == [(made["url"], 5), (made["url"], pytest.approx(2.5, abs=0.5))]


def test_the_images_of_a_batch_share_what_the_invocation_has_left(classifier):
    asked = []

    def fetch(url, *, timeout_s):
        asked.append(timeout_s)
        return encoded(picture("green"))

    app = App(classifier, Settings(fetch_timeout_s=60), fetch)
    images = [{"url": f"https://example.com/{i}"} for i in range(16)]
    app.handle({"images": images}, "request-1", remaining_s=30)
    assert len(set(asked)) > 1
    assert max(asked) < 29


def test_a_url_that_must_not_be_fetched_is_a_403(classifier, call):
    def fetch(url, *, timeout_s):
        raise ForbiddenUrlError("not that one")

    app = App(classifier, Settings(), fetch)
    answer = call(body=b'{"url": "http://127.0.0.1/"}', to=app)
    assert (answer.status, answer.json["code"]) == (403, "forbidden_url")


def test_the_entry_hands_the_function_its_context(monkeypatch, tmp_path, red_jpeg):
    import importlib

    from tests.tiny_model import write_tiny_model

    class Context:
        aws_request_id = "request-9"

        def get_remaining_time_in_millis(self) -> int:
            return 3_000

    monkeypatch.setenv("MODEL_PATH", str(write_tiny_model(tmp_path / "tiny.onnx")))
    lambda_function = importlib.reload(importlib.import_module("lambda_function"))
    answer = lambda_function.lambda_handler(event("alb", body=red_jpeg), Context())
    assert json.loads(answer["body"])["label"] == "red"
    answer = lambda_function.lambda_handler({}, Context())
    assert answer["request_id"] == "request-9"
