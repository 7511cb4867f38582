"""Which backend runs on which machine, and what each refuses."""

import io
import json
import platform
import re
import sys
from types import SimpleNamespace

import pytest

from local import backends, emulator
from local.backends import FunctionConfig
from local.errors import BackendError, FunctionFailedError

FAULTY = "tests.e2e.faulty_function.handler"


@pytest.mark.parametrize(
    ("has_emulator", "has_docker", "chosen"),
    [
        (True, True, "emulator"),
        (True, False, "emulator"),
        (False, True, "container"),
        (False, False, "process"),
    ],
)
def test_the_backend_nearest_to_lambda_is_chosen(monkeypatch, has_emulator, has_docker, chosen):
    monkeypatch.setattr(backends, "binary_path", lambda: "rie" if has_emulator else None)
    monkeypatch.setattr(backends, "docker_answers", lambda: has_docker)
    assert backends.choose() == chosen
    assert backends.reason(chosen)


@pytest.mark.parametrize(
    ("system", "machine"), [("Darwin", "arm64"), ("Windows", "AMD64"), ("Linux", "riscv64")]
)
def test_the_emulator_runs_on_no_other_system(monkeypatch, system, machine):
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert emulator.binary_path() is None
    with pytest.raises(BackendError, match=f"{system} on {machine}.*--backend"):
        backends.start("emulator", FunctionConfig({}, io.StringIO()))


@pytest.mark.parametrize(("machine", "name"), [("x86_64", "x86_64"), ("aarch64", "arm64")])
def test_the_emulator_is_the_one_of_this_processor(monkeypatch, tmp_path, machine, name):
    folder = tmp_path / "emulator/samcli/local/rapid"
    folder.mkdir(parents=True)
    for architecture in ("x86_64", "arm64"):
        (folder / f"aws-lambda-rie-{architecture}").touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert emulator.binary_path() == folder / f"aws-lambda-rie-{name}"


def test_without_docker_the_container_backend_says_what_to_do(monkeypatch):
    monkeypatch.setattr(backends, "docker_answers", lambda: False)
    with pytest.raises(BackendError, match="--backend process"):
        backends.start("container", FunctionConfig({}, io.StringIO()))


def test_a_container_gets_only_the_settings_of_the_environment():
    environ = {"TOP_K_MAX": "7", "MODEL_PATH": "mine.onnx", "AWS_SECRET_ACCESS_KEY": "secret"}
    assert backends._passed_on(environ) == {"TOP_K_MAX": "7"}


def test_the_function_knows_its_timeout_and_memory():
    config = FunctionConfig({"A": "b"}, io.StringIO(), timeout_s=9, memory_mb=3_000)
    environ = config.lambda_environ()
    assert environ["A"] == "b"
    assert environ["AWS_LAMBDA_FUNCTION_TIMEOUT"] == "9"
    assert environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "3000"


def test_the_function_gets_the_images_malloc_variables():
    dockerfile = (backends.ROOT / "Dockerfile").read_text()
    assert dict(re.findall(r"\b(MALLOC_\w+)=(\d+)", dockerfile)) == backends.MALLOC
    environ = FunctionConfig({"MALLOC_TRIM_THRESHOLD_": "1"}, io.StringIO()).lambda_environ()
    assert environ.items() > backends.MALLOC.items() - {("MALLOC_TRIM_THRESHOLD_", "33554432")}
    assert environ["MALLOC_TRIM_THRESHOLD_"] == "1"


def test_in_process_the_handler_answers_or_fails():
    backend = backends.start("process", FunctionConfig({}, io.StringIO(), FAULTY))
    assert json.loads(backend.invoke(b'{"rawPath": "/"}'))["body"] == "fine"
    with pytest.raises(FunctionFailedError):
        backend.invoke(b'{"rawPath": "/raises"}')


def test_in_process_waiting_does_not_count_as_a_requests_time(monkeypatch):
    clock = SimpleNamespace(now_s=0.0)
    monkeypatch.setattr(backends, "time", SimpleNamespace(monotonic=lambda: clock.now_s))

    class Queue:
        """A lock that another request holds for three seconds."""

        def __enter__(self) -> None:
            clock.now_s += 3

        def __exit__(self, *error: object) -> None: ...

    backend = backends.start("process", FunctionConfig({}, io.StringIO(), FAULTY, timeout_s=2))
    monkeypatch.setattr(backend, "_lock", Queue())
    assert json.loads(backend.invoke(b'{"rawPath": "/remaining"}'))["body"] == "2000"


def test_a_handler_that_does_not_exist_is_named():
    with pytest.raises(BackendError, match="no_such_module"):
        backends.start("process", FunctionConfig({}, io.StringIO(), "no_such_module.handler"))
