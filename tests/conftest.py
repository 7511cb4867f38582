"""What most tests need: the loaded tiny model, a service with it, and no access to the internet."""

import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

from serving.app import App
from serving.model.classifier import Classifier
from serving.settings import Settings
from tests import invocations
from tests.drawn import encoded, picture
from tests.quantized import copied_run, held_out_run, int8_run, small  # noqa: F401 - fixtures
from tests.tiny_model import write_tiny_model
from tests.training import drawn_data, photo_cache, tiny_run  # noqa: F401 - fixtures
from tests.verbs import drawn_places, places  # noqa: F401 - fixtures

ENGINE_FILES = frozenset(
    f"tests/e2e/test_{name}.py"
    for name in ("confined_container", "container", "local_commands", "ops", "sam")
)


class OneBuildAtATime(LoadFileScheduling):  # type: ignore[misc]
    """Which tests share a process: those of a file, and all that build the image."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "engine" if file in ENGINE_FILES else file


@pytest.hookimpl(optionalhook=True)  # without xdist's plugin there is nothing to schedule
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneBuildAtATime:
    return OneBuildAtATime(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    files = {item.nodeid.split("::")[0] for item in items if item.get_closest_marker("docker")}
    if files - ENGINE_FILES:
        raise pytest.UsageError(
            f"docker tests, to be named in ENGINE_FILES: {files - ENGINE_FILES}"
        )


@pytest.fixture(scope="session")
def classifier(tmp_path_factory) -> Classifier:
    return Classifier.load(write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx"))


@pytest.fixture(scope="session")
def red_jpeg() -> bytes:
    return encoded(picture("red"))


@pytest.fixture(autouse=True)
def no_way_out(monkeypatch) -> None:
    """No test connects to anything but loopback, whatever the code under test would do."""
    connect = socket.socket.connect

    def connect_to_loopback(self: socket.socket, address: Any) -> None:
        inside = (
            self.family == socket.AF_UNIX
            or address[0] == "localhost"
            or ip_address(address[0]).is_loopback
        )
        assert inside, f"a test would have connected to {address}"
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_to_loopback)


def no_fetch(url: str, *, timeout_s: float) -> bytes:
    raise AssertionError(f"{url} was fetched, which this test does not expect")


@pytest.fixture
def app(classifier) -> App:
    return App(classifier, Settings(), no_fetch)


@pytest.fixture
def call(app) -> Callable[..., invocations.Answer]:
    """Send one HTTP request as an event of a kind, by default of an HTTP API."""

    def send(
        method: str = "POST",
        path: str = "/predict",
        *,
        kind: str = "http_api_v2",
        to: App = app,
        **parts,
    ) -> invocations.Answer:
        event = invocations.event(kind, method, path, **parts)
        return invocations.answer(event, to.handle(event, request_id="request-1"))

    return send
