"""One line of JSON for each request: the log entry with CloudWatch's metrics."""

import base64
import json
from typing import Any

import pytest

from serving.app import App, Route
from serving.http.events import Response
from serving.settings import Settings
from tests.conftest import no_fetch
from tests.drawn import encoded, picture
from tests.invocations import event


@pytest.fixture
def logged(classifier, capsys):
    """Handle events with a new service, and give back the lines that it wrote."""
    app = App(classifier, Settings(), no_fetch)

    def handle(made):
        capsys.readouterr()
        app.handle(made, "request-1")
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return handle


OF = {"function": "local", "model": "tiny"}


def reference(colour: str) -> dict[str, str]:
    return {"image": base64.b64encode(encoded(picture(colour))).decode()}


def metrics(line: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Each metric that CloudWatch makes of a line: its unit, its value and its dimensions.

    Follows the embedded metric format's specification: members are named, and must be there.
    """
    found = {}
    for directive in line["_aws"]["CloudWatchMetrics"]:
        (dimensions,) = directive["Dimensions"]
        assert all(isinstance(line[name], str) for name in dimensions)
        for metric in directive["Metrics"]:
            values = {name: line[name] for name in dimensions}
            found[metric["Name"]] = (metric["Unit"], line[metric["Name"]], values)
    return found


def test_a_prediction_is_one_line_with_all_that_matters(logged, red_jpeg):
    (line,) = logged(event("alb", body=red_jpeg))
    assert line["message"] == "request"
    assert (line["level"], line["request_id"], line["status"]) == ("INFO", "request-1", 200)
    assert (line["source"], line["method"], line["path"]) == ("alb", "POST", "/predict")
    (image,) = line["images"]
    assert (image["kind"], image["bytes"], image["label"]) == ("body", len(red_jpeg), "red")
    assert image["probability"] > 0.99
    assert set(image["timings_ms"]) == {"fetch", "decode", "preprocess", "inference"}


def test_a_predictions_metrics_are_by_model_and_its_label_by_name(logged, red_jpeg):
    (line,) = logged(event("alb", body=red_jpeg))
    made = metrics(line)
    assert made["predictions"] == ("Count", 1, {**OF, "label": "red"})
    assert made["unsure"] == ("Count", 0, OF)
    assert made["image_bytes"] == ("Bytes", len(red_jpeg), OF)
    for name in ("duration", "fetch", "decode", "preprocess", "inference"):
        unit, value, _ = made[f"{name}_ms"]
        assert unit == "Milliseconds"
        assert value >= 0
    assert "errors" not in made


def test_only_the_first_request_is_a_cold_start(logged):
    assert [metrics(logged(event("alb", "GET", "/health"))[0])["cold_start"][1] for _ in "ab"] == [
        *(1, 0),
    ]


def test_an_error_is_counted_by_its_code(logged):
    (line,) = logged(event("alb", body=b"junk"))
    assert metrics(line)["errors"] == ("Count", 1, {**OF, "code": "unsupported_image"})
    assert line["images"] == [{"kind": "body", "bytes": 4, "code": "unsupported_image"}]
    (line,) = logged(event("alb", "GET", "/nowhere"))
    assert metrics(line)["errors"] == ("Count", 1, {**OF, "code": "not_found"})
    assert "images" not in line


def test_a_batchs_stages_are_lists_and_its_labels_are_counted(logged):
    images = [reference(colour) for colour in ("red", "green", "red")]
    line, *counts = logged({"images": [*images, {"image": "eA=="}]})
    assert len(metrics(line)["inference_ms"][1]) == 3
    assert metrics(line)["errors"][1:] == (1, {**OF, "code": "unsupported_image"})
    made = [metrics(count)["predictions"] for count in counts]
    assert made == [
        ("Count", 2, {**OF, "label": "red"}),
        ("Count", 1, {**OF, "label": "green"}),
    ]


def test_an_internal_error_is_counted_by_the_functions_version(classifier, capsys):
    def fails(*_: object) -> Response:
        raise RuntimeError("of ours")

    app = App(classifier, Settings(), version="7")
    app._routes["GET", "/health"] = Route(fails)
    app.handle(event("alb", "GET", "/health"), "request-1")
    *_, line = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    made = metrics(line)
    assert made["internal_errors"] == ("Count", 1, {"function": "local", "version": "7"})
    assert made["errors"] == ("Count", 1, {**OF, "code": "internal_error"})


def test_labels_are_logged_but_not_counted_when_that_is_off(classifier, capsys, red_jpeg):
    app = App(classifier, Settings(label_metrics=False), no_fetch)
    app.handle(event("alb", body=red_jpeg), "request-1")
    app.handle({"images": [reference("red"), reference("green")]}, "request-2")
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["label"] == "red"
    assert [image["label"] for image in second["images"]] == ["red", "green"]
    for line in (first, second):
        assert "predictions" not in metrics(line)


def test_nothing_secret_is_logged(classifier, capsys, red_jpeg):
    app = App(classifier, Settings(), lambda url, *, timeout_s: red_jpeg)
    body = b'{"url": "https://host.example/p?signature=secret1"}'
    headers = {"authorization": "secret2", "cookie": "secret3"}
    made = event("function_url", body=body, headers=headers, query="top_k=1&key=secret4")
    app.handle(made, "request-1")
    app.handle({"image": base64.b64encode(red_jpeg).decode()}, "request-2")
    output = capsys.readouterr().out
    assert "secret" not in output
    assert "host.example" not in output
    assert base64.b64encode(red_jpeg).decode()[:60] not in output


def test_a_path_cannot_forge_a_line(logged):
    lines = logged(event("alb", "GET", '/x\n{"message": "forged"}' + "y" * 500))
    assert len(lines) == 1
    assert len(lines[0]["path"]) == 200


def test_confidence_and_unsure_have_a_value_for_each_image(logged):
    images = [reference("red"), reference("green")]
    line, *_ = logged({"images": [*images, {"image": "eA=="}]})
    made = metrics(line)
    assert made["unsure"] == ("Count", [0, 0], OF)
    unit, values, dimensions = made["confidence"]
    assert (unit, dimensions) == ("None", OF)
    assert values == [image["probability"] for image in line["images"][:2]]


def test_unsure_metrics_follow_the_model_not_the_requests_threshold(logged, red_jpeg):
    for threshold in ("0", "1"):
        asked = event("alb", body=red_jpeg, query=f"threshold={threshold}")
        (line,) = logged(asked)
        assert metrics(line)["unsure"][1] == 0
        assert line["images"][0]["unsure"] is False


def test_a_functions_name_is_a_dimension_of_its_metrics(classifier, capsys, red_jpeg):
    App(classifier, Settings(), no_fetch, function="photos-prod").handle(
        event("alb", body=red_jpeg), "request-1"
    )
    made = metrics(json.loads(capsys.readouterr().out))
    assert {values["function"] for _, _, values in made.values()} == {"photos-prod"}
