"""The stack under the SAM CLI: template, build, one invocation, its local API."""

import base64
import json
import os
import re
import subprocess

import pytest

from local.gateway import HttpRequest, event_of
from local.runtime_interface import free_ports, port_answers
from tests.client import Answer, send
from tests.e2e.engine import ROOT, missing_engine, run, sam_path
from train.evaluate.inference import image_logits, open_model, pixels_of_files

SAM = sam_path()
MISSING = missing_engine() or ("" if SAM else "the SAM CLI is not installed (.venv-sam, PATH)")
pytestmark = [
    pytest.mark.docker,
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=MISSING or "-"),
]
SAMPLE = ROOT / "samples" / "pants.jpg"
SAMPLE_BASE64 = base64.b64encode(SAMPLE.read_bytes()).decode()
JSON = "application/json"
LOOPBACK = "http://127.0.0.1/photo.jpg"
# Nothing here reaches AWS; the SAM CLI wants to see a region and credentials all the same.
ENVIRON = {
    "SAM_CLI_TELEMETRY": "0",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
}


def sam(*words: str) -> str:
    return run(str(SAM), *words, environ=ENVIRON)


@pytest.fixture(scope="module")
def built():
    return sam("build")


@pytest.fixture(scope="module")
def api(built):
    """`sam local start-api` while the tests run; its URL."""
    (port,) = free_ports(1)
    command = [str(SAM), "local", "start-api", "--skip-pull-image", "--port", str(port)]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **ENVIRON},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            assert port_answers(port, timeout_s=60)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(60)


@pytest.fixture(scope="module")
def expected():
    """The label that the bundled model gives the sample outside of the service."""
    model = open_model(ROOT / "model" / "classifier.onnx")
    pixels = pixels_of_files([SAMPLE.read_bytes()], model.contract.preprocess, 10**7)
    logits = image_logits(model, pixels)  # (1, C)
    return model.contract.classes[int(logits.argmax())]


def test_the_template_is_valid_and_clean():
    assert "valid SAM Template" in sam("validate", "--lint")


def test_the_function_answers_an_event_with_a_binary_body(built, expected, tmp_path):
    headers = (("content-type", "image/jpeg"),)
    event = event_of(HttpRequest("POST", "/predict", headers, SAMPLE.read_bytes()))
    assert event["isBase64Encoded"]
    path = tmp_path / "event.json"
    path.write_text(json.dumps(event))
    output = sam("local", "invoke", "ClassifierFunction", "--skip-pull-image", "--event", str(path))
    answer = json.loads(re.findall(r"^\{.*\}$", output, re.MULTILINE)[-1])
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"])["label"] == expected


# The SAM CLI's local API hands a binary body on as damaged text, so only JSON is sent to it.
def post(url: str, value) -> Answer:
    return send(f"{url}/predict", "POST", json.dumps(value).encode(), content_type=JSON)


@pytest.mark.parametrize(
    ("path", "media_type"),
    [("/", "text/html"), ("/health", JSON), ("/model", JSON), ("/openapi.json", JSON)],
)
def test_the_local_api_answers_each_route(api, path, media_type):
    answer = send(f"{api}{path}")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith(media_type)


def test_the_local_api_classifies_a_photo_as_base64_in_json(api, expected):
    answer = post(api, {"image": SAMPLE_BASE64, "top_k": 2})
    assert (answer.status, answer.json()["label"]) == (200, expected)
    assert len(answer.json()["predictions"]) == 2


def test_the_local_api_classifies_a_batch_item_by_item(api, expected):
    items = [
        {"image": f"data:image/jpeg;base64,{SAMPLE_BASE64}"},
        {"image": "!"},
        {"url": LOOPBACK},
    ]
    good, *bad = post(api, {"images": items}).json()["results"]
    assert good["label"] == expected
    assert [problem["status"] for problem in bad] == [400, 403]


MISTAKES = {
    "no object": ([1], 400),
    "no image": ({}, 400),
    "base64 that is none": ({"image": "?"}, 400),
    "an option out of range": ({"image": SAMPLE_BASE64, "top_k": 0}, 400),
    "a private address": ({"url": LOOPBACK}, 403),
    "base64 of a text": ({"image": base64.b64encode(b"dear photo").decode()}, 415),
    "half a photo": ({"image": SAMPLE_BASE64[: len(SAMPLE_BASE64) // 8 * 4]}, 422),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_local_api_tells_of_a_mistake_in_json(api, mistake):
    value, status = MISTAKES[mistake]
    answer = post(api, value)
    assert answer.status == answer.json()["status"] == status


def test_the_local_api_tells_of_broken_json(api):
    answer = send(f"{api}/predict", "POST", b"{", content_type=JSON)
    assert (answer.status, answer.json()["status"]) == (400, 400)


@pytest.mark.parametrize(("path", "status"), [("/nowhere", 404), ("/predict", 405)])
def test_the_local_api_hands_every_path_and_method_to_the_function(api, path, status):
    answer = send(f"{api}{path}")
    assert answer.status == answer.json()["status"] == status
