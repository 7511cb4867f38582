"""`python -m local serve` and `demo` as a user types them."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from local.backends import ROOT, docker_answers
from local.emulator import binary_path, session_members
from tests.client import send
from tests.drawn import encoded, picture
from tests.e2e.conftest import NO_EMULATOR
from tests.tiny_model import write_tiny_model

BACKENDS = [
    pytest.param("emulator", marks=pytest.mark.skipif(binary_path() is None, reason=NO_EMULATOR)),
    "process",
]


@pytest.fixture
def environ(tmp_path):
    return {**os.environ, "MODEL_PATH": str(write_tiny_model(tmp_path / "tiny.onnx"))}


def local(*words: str, environ) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "local", *words]
    return subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False
    )


@contextmanager
def serve(*words: str, environ):
    """`python -m local serve` while the block runs; yields the process and its URL."""
    serve = [sys.executable, "-m", "local", "serve", "--port", "0", *words]
    command = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", *serve]  # as a background job
    with subprocess.Popen(
        command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            for line in process.stdout or ():
                if found := re.search(r"http://[\d.:]+", line):
                    yield process, found.group()
                    break
            else:
                pytest.fail("`serve` ended before it named its URL")
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(20)


@pytest.mark.parametrize("backend", BACKENDS)
def test_demo_shows_four_requests_and_ends_well(environ, backend):
    done = local("demo", "--backend", backend, environ=environ)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"^  (\d{3}) in", done.stdout, re.MULTILINE) == ["200", "200", "200", "415"]
    assert done.stderr == ""


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_lines_that_demo_prints_work_as_they_stand(environ):
    shown = local("demo", "--backend", "process", environ=environ).stdout
    lines = re.findall(r"^  \$ (.*)$", shown, re.MULTILINE)
    assert len(lines) == 4
    with serve("--backend", "process", environ=environ) as (_, url):
        answers = [
            subprocess.run(
                ["bash", "-c", line.replace("http://127.0.0.1:8080", url)],
                cwd=ROOT,
                capture_output=True,
                timeout=30,
                check=True,
            ).stdout
            for line in lines
        ]
    health, raw, in_json, refused = map(json.loads, answers)
    assert health["status"] == "ok"
    assert raw["predictions"] == in_json["predictions"]
    assert refused["status"] == 415


def test_demo_takes_your_own_photo(environ, tmp_path):
    photo = tmp_path / "mine.png"
    photo.write_bytes(encoded(picture("green"), "PNG"))
    done = local("demo", "--backend", "process", "--image", str(photo), environ=environ)
    assert done.returncode == 0
    assert re.search(r"photo as the request's body\n.*mine.png.*\n.*\n  green", done.stdout)


def test_demo_with_a_file_that_is_no_photo_fails(environ, tmp_path):
    (tmp_path / "note.txt").write_text("dear photo")
    done = local("demo", "--backend", "process", "--image", f"{tmp_path}/note.txt", environ=environ)
    assert done.returncode == 1
    assert "415" in done.stdout


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_serve_ends_on_a_signal_and_leaves_no_process(environ, backend, end):
    with serve("--backend", backend, environ=environ) as (process, url):
        answer = send(f"{url}/predict", "POST", encoded(picture("red")))
        assert answer.json()["label"] == "red"
        children = _children(process.pid)
        left_over = {pid for child in children for pid in (child, *session_members(child))}
        assert bool(left_over) == (backend == "emulator")
        process.send_signal(end)
        assert process.wait(20) == 0
    assert not [pid for pid in left_over if Path(f"/proc/{pid}").exists()]


@pytest.mark.skipif(binary_path() is None, reason=NO_EMULATOR)
def test_the_emulator_dies_with_serve_even_if_that_is_killed(environ):
    with serve("--backend", "emulator", environ=environ) as (process, _):
        children = _children(process.pid)
        left_over = {pid for child in children for pid in (child, *session_members(child))}
        process.kill()
        process.wait(20)
        deadline = time.monotonic() + 10
        while running := [pid for pid in left_over if _runs(pid)]:
            assert time.monotonic() < deadline, f"still there: {running}"
            os.sched_yield()


def _runs(pid: int) -> bool:
    """Whether a process runs; one that has ended may wait for its parent to notice."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


@pytest.mark.parametrize("backend", BACKENDS)
def test_serve_prints_one_short_line_a_request(environ, backend):
    with serve("--backend", backend, environ=environ) as (process, url):
        red = encoded(picture("red"))
        send(f"{url}/predict?top_k=1", "POST", red)
        send(f"{url}/predict", "POST", b"hello")
        send(f"{url}/health")
        process.terminate()
        told, log = process.communicate(timeout=20)
    lines = [line for line in told.splitlines() if " /" in line and "curl" not in line]
    patterns = (
        r"POST /predict 200 red \d+\.\d%( \(unsure\))? \d+ ms",
        r"POST /predict 415 unsupported_image \d+ ms",
        r"GET /health 200 \d+ ms",
    )
    assert len(lines) == 3, told
    for pattern in patterns:  # a line may be printed after the next request's
        assert sum(re.fullmatch(pattern, line) is not None for line in lines) == 1, told
    assert "{" not in log


@pytest.mark.parametrize("backend", BACKENDS)
def test_serve_verbose_shows_the_functions_own_log(environ, backend):
    with serve("--verbose", "--backend", backend, environ=environ) as (process, url):
        send(f"{url}/predict", "POST", encoded(picture("red")))
        process.terminate()
        told, log = process.communicate(timeout=20)
    logged = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert logged[-1]["label"] == "red"
    assert " 200 " not in told


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_port_in_use_is_told_in_one_line(environ):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = local("serve", "--port", port, "--backend", "process", environ=environ)
    assert done.returncode == 1
    assert re.fullmatch(rf"local: Cannot listen on 127.0.0.1:{port}: .*--port\.\n", done.stderr)


@pytest.mark.parametrize(
    ("words", "variables", "message"),
    [
        (["serve", "--port", "0"], {"MODEL_PATH": "none.onnx"}, "There is no model file"),
        (["demo"], {"BODY_MAX_BYTES": "many"}, "BODY_MAX_BYTES"),
        (["demo", "--image", "none.jpg"], {}, "There is no file none.jpg."),
    ],
)
def test_what_keeps_it_from_starting_is_told_without_a_traceback(
    environ, words, variables, message
):
    done = local(*words, "--backend", "process", environ={**environ, **variables})
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "words",
    [["serve", "--port", "70000"], ["serve", "--port", "x"], ["demo", "--timeout-s", "0"], []],
)
def test_wrong_usage_is_status_2(environ, words):
    assert local(*words, environ=environ).returncode == 2


@pytest.mark.docker
@pytest.mark.skipif(docker_answers(), reason="a container engine answers here")
def test_without_an_engine_the_container_backend_says_so(environ):
    done = local("demo", "--backend", "container", environ=environ)
    assert done.returncode == 1
    assert "Docker does not answer" in done.stderr
