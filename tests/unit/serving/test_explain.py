"""`explain`: an answer with a map of the parts that speak for its label."""

import base64
from io import BytesIO
from urllib.parse import urlencode

import numpy as np
import pytest
from PIL import Image

from serving.app import App
from serving.model.classifier import Classifier
from serving.settings import Settings
from tests.conftest import no_fetch
from tests.drawn import encoded, picture
from tests.invocations import as_json
from tests.tiny_model import write_tiny_model


@pytest.fixture(scope="module")
def explaining(tmp_path_factory) -> App:
    path = write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx", explains=True)
    return App(Classifier.load(path), Settings(), no_fetch)


@pytest.fixture(scope="module")
def red_on_the_left() -> bytes:
    image = picture("red", width_px=90, height_px=120)
    image.paste((20, 20, 20), (45, 0, 90, 120))
    return encoded(image)


def test_the_map_has_the_logit_as_its_mean_and_is_strong_where_the_label_is(
    call, explaining, red_on_the_left
):
    answer = call(to=explaining, body=red_on_the_left, query="explain=1").json
    explained = answer["explanation"]
    values = np.array(explained["map"])
    assert (answer["label"], explained["label"]) == ("red", "red")
    assert values.mean() == pytest.approx(explained["logit"], abs=1e-3)
    assert values[:, 0].min() > values[:, 2].max()
    assert "explain" in answer["timings_ms"]


def test_the_picture_is_a_png_over_the_photo(call, explaining, red_on_the_left):
    explained = call(to=explaining, body=red_on_the_left, query="explain=1").json["explanation"]
    head, _, content = explained["picture"].partition(",")
    made = Image.open(BytesIO(base64.b64decode(content)))
    assert head == "data:image/png;base64"
    assert (made.format, made.size) == ("PNG", (168, 224))
    assert len(content) < 100_000


def test_nothing_is_explained_unless_it_is_asked_for(call, explaining, red_jpeg):
    for query in ("", "explain=0", "explain=false", "explain=off"):
        answer = call(to=explaining, body=red_jpeg, query=query).json
        assert "explanation" not in answer
        assert "explain" not in answer["timings_ms"]


def test_answers_with_and_without_a_map_say_the_same(call, explaining, red_jpeg):
    plain = call(to=explaining, body=red_jpeg).json
    explained = call(to=explaining, body=red_jpeg, query="explain=1").json
    assert explained["predictions"] == plain["predictions"]


@pytest.mark.parametrize("value", [True, 1, "1", "true", "on"])
def test_json_and_direct_events_take_the_option(call, explaining, red_jpeg, value):
    asked = {"image": base64.b64encode(red_jpeg).decode(), "explain": value}
    assert "explanation" in call(to=explaining, **as_json(asked)).json
    assert "explanation" in explaining.handle(asked, "request-1")


def test_a_forms_checkbox_takes_the_option(call, explaining, red_jpeg):
    body = urlencode({"image": base64.b64encode(red_jpeg), "explain": "on"}).encode()
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert "explanation" in call(to=explaining, body=body, headers=headers).json


def test_each_image_of_a_batch_has_its_own_map(call, explaining, red_jpeg):
    images = [{"image": base64.b64encode(c).decode()} for c in (red_jpeg, encoded(picture("blue")))]
    body = as_json({"images": [*images, {"image": "eA=="}], "explain": True})
    *answers, failed = call(to=explaining, **body).json["results"]
    assert [answer["explanation"]["label"] for answer in answers] == ["red", "blue"]
    assert failed["status"] == 415


@pytest.mark.parametrize("value", ["yes", "", 2, None, [True]])
def test_another_value_is_refused_by_the_options_name(call, explaining, red_jpeg, value):
    asked = {"image": base64.b64encode(red_jpeg).decode(), "explain": value}
    problem = call(to=explaining, **as_json(asked)).json
    assert problem["code"] == "invalid_request"
    assert "'explain'" in problem["detail"]


def test_a_model_that_cannot_explain_refuses_and_says_why(call, tmp_path, red_jpeg):
    because = "its head has an inner layer"
    path = write_tiny_model(tmp_path / "inner.onnx", unexplained_because=because)
    app = App(Classifier.load(path), Settings(), no_fetch)
    refused = call(to=app, body=red_jpeg, query="explain=1")
    assert (refused.status, refused.json["code"]) == (422, "unexplainable")
    assert because in refused.json["detail"]
    assert call(to=app, body=red_jpeg).status == 200


def test_the_described_answer_has_the_explanation(call, explaining, red_jpeg):
    from openapi_schema_validator import OAS31Validator

    document = call("GET", "/openapi.json", to=explaining).json
    answer = call(to=explaining, body=red_jpeg, query="explain=1").json
    schema = {"$ref": "#/components/schemas/Answer", "components": document["components"]}
    OAS31Validator(schema).validate(answer)
