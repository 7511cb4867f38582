"""What an answer, its text, its description and the log say of a photo unlike those of training."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator
from PIL import Image

from serving.app import App
from serving.model.classifier import Classifier
from serving.model.contract import METADATA_KEY
from serving.settings import Settings
from tests.conftest import no_fetch
from tests.drawn import encoded
from tests.invocations import answer, event
from tests.tiny_model import CONTRACT, FAMILIARITY, YELLOW, write_tiny_model


def service(file: Path) -> App:
    return App(Classifier.load(file), Settings(), no_fetch)


@pytest.fixture(scope="module")
def knowing(tmp_path_factory: pytest.TempPathFactory) -> App:
    """A service whose model computes familiarity."""
    file = tmp_path_factory.mktemp("model") / "tiny.onnx"
    return service(write_tiny_model(file, familiarity=FAMILIARITY))


@pytest.fixture(scope="module")
def yellow() -> bytes:
    """A picture of a class's colour and another one, which no training photo had."""
    return encoded(Image.new("RGB", (60, 80), YELLOW))


def ask(app: App, photo: bytes, **parts: Any) -> Any:
    made = event("http_api_v2", body=photo, **parts)
    return answer(made, app.handle(made, "request-1"))


def test_an_unfamiliar_photo_is_unsure_however_likely_its_class(knowing, yellow):
    told = ask(knowing, yellow).json
    assert told["predictions"][0]["probability"] > 0.6
    assert (told["unsure"], told["unsure_because"]) == (True, "unfamiliar")
    assert told["familiarity"] == pytest.approx(1 / 11, abs=1e-4)


def test_the_photo_comes_before_its_classes_as_the_reason(knowing, yellow):
    assert ask(knowing, yellow, query="threshold=1").json["unsure_because"] == "unfamiliar"


def test_a_familiar_photo_is_answered(knowing, red_jpeg):
    told = ask(knowing, red_jpeg).json
    assert told["unsure"] is False
    assert "unsure_because" not in told
    assert told["familiarity"] > 0.5
    assert ask(knowing, red_jpeg, query="threshold=1").json["unsure_because"] == "undecided"


def test_a_direct_invocation_is_told_the_same(knowing, yellow):
    told = knowing.handle({"image": base64.b64encode(yellow).decode()}, "request-1")
    over_http = ask(knowing, yellow).json
    names = ("unsure", "unsure_because", "familiarity")
    assert [told[name] for name in names] == [over_http[name] for name in names]


def test_the_answer_as_text_says_that_the_photo_is_unfamiliar(knowing, yellow):
    text = ask(knowing, yellow, headers={"accept": "text/plain"}).body
    assert text.splitlines()[0] == "green (unsure, unfamiliar)"


def test_the_description_has_familiarity_if_the_model_has(knowing, app, yellow):
    documents = {}
    for name, each in {"with": knowing, "without": app}.items():
        made = event("http_api_v2", "GET", "/openapi.json")
        documents[name] = answer(made, each.handle(made, "request-1")).json
    fields = {
        name: document["components"]["schemas"]["Answer"]["properties"]
        for name, document in documents.items()
    }
    assert "familiarity" in fields["with"]
    assert "familiarity" not in fields["without"]
    schema = {
        "$ref": "#/components/schemas/Answer",
        "components": documents["with"]["components"],
    }
    OAS31Validator(schema).validate(ask(knowing, yellow).json)


def test_the_metrics_count_unfamiliar_photos(knowing, yellow, red_jpeg, capsys):
    capsys.readouterr()
    ask(knowing, yellow)
    ask(knowing, red_jpeg)
    written = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    lines = [line for line in written if line["message"] == "request"]
    assert [line["unfamiliar"] for line in lines] == [1, 0]
    assert [line["images"][0]["unfamiliar"] for line in lines] == [True, False]
    for line in lines:
        directives = line["_aws"]["CloudWatchMetrics"]
        metrics = [metric for each in directives for metric in each["Metrics"]]
        assert {"Name": "unfamiliar", "Unit": "Count"} in metrics


def test_a_contract_of_version_1_is_served_without_familiarity(tmp_path, yellow, capsys):
    earlier = json.dumps(CONTRACT.to_json() | {"version": 1})
    app = service(write_tiny_model(tmp_path / "1.onnx", metadata={METADATA_KEY: earlier}))
    told = ask(app, yellow).json
    assert told["label"] == "green"
    assert "familiarity" not in told
    assert "unfamiliar" not in capsys.readouterr().out
