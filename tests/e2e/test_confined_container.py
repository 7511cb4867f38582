"""The image confined as on Lambda: not root, only loopback, and only /tmp is writable."""

import base64
import json
import subprocess
from typing import Any

import pytest

from local import backends
from local.gateway import HttpRequest, event_of
from tests.drawn import encoded, picture
from tests.e2e.engine import ROOT, missing_engine, run
from train.evaluate.inference import open_model

pytestmark = [
    pytest.mark.docker,
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing_engine()), reason=missing_engine() or "-"),
]
SAMPLE = (ROOT / "samples" / "pants.jpg").read_bytes()
CONFINED = (
    *("--read-only", "--tmpfs", "/tmp", "--network", "none"),
    *("--user", "993:990", "--cap-drop", "ALL"),
)
# Inside, the emulator's port is the only thing to talk to; it takes one event at a time.
INVOKE = """
import sys, time, urllib.request
url = "http://127.0.0.1:8080/2015-03-31/functions/function/invocations"
for attempt in range(100):
    try:
        print(urllib.request.urlopen(url, sys.argv[1].encode(), 60).read().decode())
        break
    except ConnectionRefusedError:
        time.sleep(0.1)
    except urllib.error.URLError as error:
        if not isinstance(error.reason, ConnectionRefusedError):
            raise
        time.sleep(0.1)
"""


@pytest.fixture(scope="module")
def confined():
    """The name of a running container, with the emulator and our function in it."""
    run("docker", "build", "--quiet", "--tag", backends.IMAGE, str(ROOT))
    name = run("docker", "run", "--detach", *CONFINED, backends.IMAGE).strip()
    yield name
    run("docker", "rm", "--force", name)


def invoke(container: str, event) -> dict[str, Any]:
    command = ("docker", "exec", container, "python", "-c", INVOKE, json.dumps(event))
    answer: dict[str, Any] = json.loads(run(*command))
    return answer


def posted(body: bytes, content_type: str = "image/jpeg"):
    return event_of(HttpRequest("POST", "/predict", (("content-type", content_type),), body))


def test_a_photo_gets_the_bundled_models_label(confined):
    classes = open_model(ROOT / "model" / "classifier.onnx").contract.classes
    answer = invoke(confined, posted(SAMPLE))
    assert answer["statusCode"] == 200
    labels = [p["label"] for p in json.loads(answer["body"])["predictions"]]
    assert labels[0] == "pants"
    assert set(labels) <= set(classes)


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_every_common_format_is_decoded(confined, file_format):
    assert invoke(confined, posted(encoded(picture("red"), file_format)))["statusCode"] == 200


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (posted(b"dear photo"), 415),
        (posted(SAMPLE[: len(SAMPLE) // 2]), 422),
        (posted(b"{", "application/json"), 400),
        (posted(b'{"url": "http://127.0.0.1/"}', "application/json"), 403),
        (posted(b'{"url": "http://169.254.169.254/"}', "application/json"), 403),
        (posted(b'{"url": "http://no-such-host.example/"}', "application/json"), 400),
    ],
)
def test_mistakes_are_told_without_a_network(confined, event, status):
    answer = invoke(confined, event)
    assert (answer["statusCode"], json.loads(answer["body"])["status"]) == (status, status)


def test_a_batch_and_a_direct_invocation_are_answered(confined):
    image = base64.b64encode(SAMPLE).decode()
    good, bad = invoke(confined, {"images": [{"image": image}, {"image": "?"}]})["results"]
    assert (good["label"], bad["status"]) == ("pants", 400)


def test_nothing_but_tmp_can_be_written(confined):
    write = "import pathlib; pathlib.Path('/var/task/note').touch()"
    done = subprocess.run(
        ["docker", "exec", confined, "python", "-c", write], capture_output=True, check=False
    )
    assert b"Read-only file system" in done.stderr
