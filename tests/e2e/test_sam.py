"""The stack under the SAM CLI: template, build, one invocation, its local API."""

import base64
import json
import os
import re
import subprocess
from contextlib import contextmanager

import pytest

from local.gateway import HttpRequest, event_of
from local.runtime_interface import free_ports, port_answers
from serving import image
from serving.preprocess import Preprocessor
from tests.client import send
from tests.e2e.engine import ROOT, missing_engine, run, sam_path
from train.inference import open_model

SAM = sam_path()
MISSING = missing_engine() or ("" if SAM else "the SAM CLI is not installed (.venv-sam, PATH)")
pytestmark = [
    pytest.mark.docker,
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=MISSING or "-"),
]
SAMPLE = ROOT / "samples" / "pants.jpg"
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


@contextmanager
def start_api():
    """`sam local start-api` while the block runs; yields its URL."""
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
    spec = model.contract.preprocess
    picture = image.decode(SAMPLE.read_bytes(), max_pixels=10**7)
    logits = model.logits(Preprocessor(spec)(picture))  # (1, C)
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


def test_the_local_api_of_sam_classifies_a_photo_as_base64_in_json(built, expected):
    body = json.dumps({"image": base64.b64encode(SAMPLE.read_bytes()).decode()}).encode()
    with start_api() as url:
        answer = send(f"{url}/predict", "POST", body, content_type="application/json")
        mistake = send(f"{url}/predict", "POST", b"{", content_type="application/json")
    assert answer.status == 200
    assert answer.json()["label"] == expected
    assert mistake.status == 400


def test_the_local_api_of_sam_answers_every_route(built):
    routes = {"/": "<!doctype html", "/health": '"ok"', "/model": '"classes"'}
    routes["/openapi.json"] = '"openapi"'
    with start_api() as url:
        answers = {path: send(f"{url}{path}") for path in routes}
        unknown = send(f"{url}/nowhere")
    assert {path: answer.status for path, answer in answers.items()} == dict.fromkeys(routes, 200)
    for path, part in routes.items():
        assert part in answers[path].body.decode().lower()
    assert unknown.status == 404
