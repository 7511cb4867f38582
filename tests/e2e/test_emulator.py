"""The service in AWS's runtime emulator, over real HTTP, with the tiny model."""

import base64
import json
import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from local.emulator import Emulator
from local.errors import BackendError
from local.wire import MAX_EVENT_BYTES
from tests.client import send
from tests.drawn import encoded, picture

JPEG = encoded(picture("blue"))
FORM = "application/x-www-form-urlencoded"  # what curl says of --data-binary


@pytest.fixture(scope="module")
def faulty(emulate):
    with emulate(handler="tests.e2e.faulty_function.handler", timeout_s=1) as gateway:
        yield gateway


@pytest.mark.parametrize("content_type", ["image/jpeg", FORM, "application/octet-stream"])
def test_a_photo_as_the_body_is_classified(tiny, content_type):
    answer = send(f"{tiny.url}/predict", "POST", JPEG, content_type=content_type)
    assert (answer.status, answer.json()["label"]) == (200, "blue")


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_each_common_format_is_classified(tiny, file_format):
    answer = send(f"{tiny.url}/predict", "POST", encoded(picture("green"), file_format))
    assert (answer.status, answer.json()["label"]) == (200, "green")


def test_base64_in_json_is_classified(tiny):
    body = json.dumps({"image": base64.b64encode(JPEG).decode()}).encode()
    answer = send(f"{tiny.url}/predict", "POST", body, content_type="application/json")
    assert (answer.status, answer.json()["label"]) == (200, "blue")


def test_the_query_reaches_the_function(tiny):
    answer = send(f"{tiny.url}/predict?top_k=2", "POST", JPEG)
    assert [p["label"] for p in answer.json()["predictions"]] == ["blue", "green"]


def test_health_names_the_model(tiny):
    assert send(f"{tiny.url}/health").json()["model"]["name"] == "tiny"


def test_a_head_request_has_no_body(tiny):
    answer = send(f"{tiny.url}/health", "HEAD")
    assert (answer.status, answer.body) == (200, b"")


MISTAKES = {
    "a text file": ("POST", "/predict", b"dear photo\n", FORM, 415),
    "an empty body": ("POST", "/predict", b"", FORM, 400),
    "broken JSON": ("POST", "/predict", b'{"url": ', "application/json", 400),
    "JSON without an image": ("POST", "/predict", b"{}", "application/json", 400),
    "base64 that is none": ("POST", "/predict", b'{"image": "?"}', "application/json", 400),
    "an unknown path": ("GET", "/nowhere", b"", "", 404),
    "a wrong method": ("GET", "/predict", b"", "", 405),
    "a truncated JPEG": ("POST", "/predict", JPEG[: len(JPEG) // 2], "image/jpeg", 422),
    "a top_k out of range": ("POST", "/predict?top_k=0", JPEG, "image/jpeg", 400),
    "a private address": (
        *("POST", "/predict", b'{"url": "http://127.0.0.1/x.jpg"}', "application/json"),
        403,
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_a_problem_document_that_says_what_to_do(tiny, mistake):
    method, path, body, content_type, status = MISTAKES[mistake]
    answer = send(f"{tiny.url}{path}", method, body, content_type=content_type)
    problem = answer.json()
    assert answer.status == problem["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(problem["detail"]) > 20
    assert "Traceback" not in answer.body.decode()


def test_two_clients_at_once_are_both_answered(tiny):
    bodies = [encoded(picture(colour)) for colour in ("red", "green", "blue", "red") * 4]
    with ThreadPoolExecutor(4) as clients:
        answers = list(clients.map(lambda body: send(f"{tiny.url}/predict", "POST", body), bodies))
    assert [a.json()["label"] for a in answers] == ["red", "green", "blue", "red"] * 4


@pytest.mark.parametrize("size", [4_719_000, MAX_EVENT_BYTES + 1, 12_000_000])
def test_a_body_that_makes_no_event_of_6_mb_is_a_413(tiny, size):
    answer = send(f"{tiny.url}/predict", "POST", bytes(size))
    assert (answer.status, answer.json()) == (413, {"message": "Request Entity Too Large"})


def test_the_largest_allowed_body_reaches_the_function(tiny):
    answer = send(f"{tiny.url}/predict", "POST", bytes(4_500_000))
    assert (answer.status, answer.json()["code"]) == (415, "unsupported_image")


def test_a_body_too_large_is_refused_before_it_is_sent(tiny):
    with socket.create_connection(("127.0.0.1", tiny.server_port), timeout=10) as client:
        client.sendall(
            b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 99000000\r\n"
            b"expect: 100-continue\r\n\r\n"
        )
        assert client.recv(4_096).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("path", ["/raises", "/dies", "/too-much", "/not-a-status"])
def test_a_failing_function_is_a_502_without_details(faulty, path):
    answer = send(f"{faulty.url}{path}")
    assert (answer.status, answer.json()) == (502, {"message": "Internal Server Error"})


def test_a_function_that_hangs_is_a_504(faulty):
    answer = send(f"{faulty.url}/hangs")
    assert (answer.status, answer.json()) == (504, {"message": "Endpoint request timed out"})


@pytest.mark.parametrize("fault", ["/raises", "/dies", "/hangs", "/too-much"])
def test_after_each_fault_the_next_request_is_answered(faulty, fault):
    send(f"{faulty.url}{fault}")
    answer = send(f"{faulty.url}/")
    assert (answer.status, answer.body) == (200, b"fine")


def test_a_killed_emulator_is_restarted(faulty):
    send(f"{faulty.url}/")
    faulty.backend._process.kill()
    faulty.backend._process.wait()
    assert send(f"{faulty.url}/").body == b"fine"


@pytest.mark.parametrize("_", range(3))
def test_the_request_right_after_a_killed_emulator_is_answered(faulty, _):
    os.kill(faulty.backend._process.pid, signal.SIGKILL)  # and not waited for
    assert send(f"{faulty.url}/").body == b"fine"


def test_a_closed_emulator_is_not_restarted(tmp_path):
    with (tmp_path / "log").open("w") as log:
        emulator = Emulator(
            handler="tests.e2e.faulty_function.handler",
            environ=dict(os.environ),
            timeout_s=5,
            log=log,
        )
        emulator.close()
        with pytest.raises(BackendError, match="was stopped"):
            emulator.invoke(b'{"rawPath": "/"}')
        assert emulator._process.poll() is not None
