import os
import shutil
import threading
from contextlib import contextmanager

import pytest

from local import backends
from local.emulator import binary_path
from local.gateway import Gateway
from tests.tiny_model import write_tiny_model

NO_EMULATOR = (
    "AWS's runtime emulator is not installed here; `make .venv/.emulator` does it on Linux"
)


@contextmanager
def serving(backend):
    """A gateway in front of `backend`, up while the block runs; yields it, ends both."""
    gateway = Gateway("127.0.0.1", 0, backend)
    thread = threading.Thread(target=gateway.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield gateway
    finally:
        gateway.shutdown()
        thread.join()
        gateway.server_close()
        backend.close()


@pytest.fixture(scope="session")
def emulate(tmp_path_factory):
    """Start a gateway in front of the emulator: `with emulate(environ, ...) as gateway`."""
    if binary_path() is None:
        pytest.skip(NO_EMULATOR)

    @contextmanager
    def start(environ=None, **config):
        log_path = tmp_path_factory.mktemp("emulator") / "log"
        with log_path.open("w+") as log:
            function = backends.FunctionConfig({**os.environ, **(environ or {})}, log, **config)
            with serving(backends.start("emulator", function)) as gateway:
                yield gateway

    return start


@pytest.fixture(scope="module")
def tiny(emulate, tmp_path_factory):
    """The service with the tiny model in the emulator, behind HTTP."""
    model = write_tiny_model(tmp_path_factory.mktemp("model") / "classifier.onnx")
    with emulate({"MODEL_PATH": str(model)}) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()
