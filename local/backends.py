"""Three ways to run the function on this machine, behind one Protocol.

    emulator    AWS's runtime interface emulator (a Linux binary) running awslambdaric
    container   the Lambda image in Docker, which contains the same emulator
    process     the handler, called in this process: no timeout, no size limit

An event goes in as JSON bytes, the function's answer comes out as JSON bytes. Every backend runs
one invocation at a time, as one Lambda sandbox does.
"""

import contextlib
import json
import platform
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, Protocol
from uuid import uuid4

from local.emulator import Emulator, binary_path
from local.errors import BackendError, FunctionFailedError
from local.runtime_interface import RuntimeInterface, port_answers
from serving.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
IMAGE = "photo-classifier-lambda:local"
NAMES = ("emulator", "container", "process")
HANDLER = "lambda_function.lambda_handler"
# The Dockerfile's, where it says why.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "4194304", "MALLOC_TRIM_THRESHOLD_": "33554432"}
_CONTAINER_START_TIMEOUT_S = 30.0


class Backend(Protocol):
    """Runs the function."""

    @property
    def title(self) -> str:
        """What it is, in words for people."""
        ...

    def invoke(self, event: bytes) -> bytes:
        """Run the function on one event.

        Raises:
            FunctionFailedError: the handler raised, or its process died.
            FunctionTimeoutError: the function ran longer than its timeout.
        """
        ...

    def close(self) -> None:
        """Stop all processes that were started."""
        ...


@dataclass(frozen=True, slots=True)
class FunctionConfig:
    """A function's configuration, as Lambda has it.

    Attributes:
        handler: module and function, as in `lambda_function.lambda_handler`.
        environ: the environment variables that the function sees.
        log: receives the function's output; a file with a descriptor.
    """

    environ: dict[str, str]
    log: IO[Any]
    handler: str = HANDLER
    timeout_s: int = 30
    memory_mb: int = 1_769

    def lambda_environ(self) -> dict[str, str]:
        """`environ`, and what the image and Lambda add to it."""
        return {
            **MALLOC,
            **self.environ,
            "AWS_LAMBDA_FUNCTION_NAME": "photo-classifier",
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(self.timeout_s),
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.memory_mb),
        }


def start(name: str, config: FunctionConfig) -> Backend:
    """Start the backend `name`, one of NAMES.

    Raises:
        BackendError: it cannot run here; the message says why.
    """
    if name == "emulator":
        return Emulator(
            handler=config.handler,
            environ=config.lambda_environ(),
            timeout_s=config.timeout_s,
            log=config.log,
        )
    return Container(config) if name == "container" else InProcess(config)


def choose() -> str:
    """The name of the backend closest to Lambda that runs on this machine."""
    if binary_path() is not None:
        return "emulator"
    return "container" if docker_answers() else "process"


def docker_answers() -> bool:
    """Whether a container engine answers."""
    try:
        result = subprocess.run(["docker", "info"], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return result.returncode == 0


class Container:
    """The Lambda image, built and run by Docker."""

    title = f"the container {IMAGE}"

    def __init__(self, config: FunctionConfig) -> None:
        if not docker_answers():
            raise BackendError("Docker does not answer. Start it, or use --backend process.")
        _docker("build", "--quiet", "--tag", IMAGE, str(ROOT))
        environ = {**_passed_on(config.environ), **_lambda_variables(config)}
        flags = [word for name, value in environ.items() for word in ("--env", f"{name}={value}")]
        self._id = _docker(
            "run", "--detach", "--rm", "--publish", "127.0.0.1::8080", *flags, IMAGE, config.handler
        )
        port = int(_docker("port", self._id, "8080/tcp").splitlines()[0].rpartition(":")[2])
        self._interface = RuntimeInterface(port, timeout_s=config.timeout_s)
        self._lock = threading.Lock()
        if not port_answers(port, timeout_s=_CONTAINER_START_TIMEOUT_S):
            self.close()
            raise BackendError(f"The container did not open its port {port}.")

    def invoke(self, event: bytes) -> bytes:
        with self._lock:
            return self._interface.invoke(event)

    def close(self) -> None:
        subprocess.run(
            ["docker", "rm", "--force", self._id], capture_output=True, timeout=30, check=False
        )


def _lambda_variables(config: FunctionConfig) -> dict[str, str]:
    return {n: v for n, v in config.lambda_environ().items() if n.startswith("AWS_LAMBDA_")}


def _passed_on(environ: dict[str, str]) -> dict[str, str]:
    """The service's settings, without the model's path, which the image sets."""
    names = {setting.name.upper() for setting in fields(Settings)} - {"MODEL_PATH"}
    return {name: environ[name] for name in sorted(names & environ.keys())}


def _docker(*words: str) -> str:
    result = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        last = (result.stderr.strip() or result.stdout.strip() or "no message").splitlines()[-1]
        raise BackendError(f"`docker {words[0]}` failed: {last}")
    return result.stdout.strip()


class InProcess:
    """The handler called in this process, for machines on which neither of the others runs."""

    title = "this process (no Lambda runtime, no timeout)"

    def __init__(self, config: FunctionConfig) -> None:
        module, _, function = config.handler.rpartition(".")
        sys.path.insert(0, str(ROOT))
        try:
            self._handler = getattr(__import__(module, fromlist=[function]), function)
        except Exception as error:  # the function's code may raise anything at init
            raise BackendError(f"The function does not start: {error}") from error
        self._log = config.log
        self._timeout_s = config.timeout_s
        self._lock = threading.Lock()

    def invoke(self, event: bytes) -> bytes:
        with self._lock, contextlib.redirect_stdout(self._log):
            ends = time.monotonic() + self._timeout_s  # waiting for the lock does not count
            context = SimpleNamespace(
                aws_request_id=str(uuid4()),
                get_remaining_time_in_millis=lambda: int((ends - time.monotonic()) * 1000),
            )
            try:
                return json.dumps(self._handler(json.loads(event), context)).encode()
            except Exception as error:
                raise FunctionFailedError(type(error).__name__) from error

    def close(self) -> None:
        """Nothing to stop."""


def reason(name: str) -> str:
    """Why `choose` took the backend `name`, in words for people."""
    system = f"{platform.system()} on {platform.machine()}"
    return {
        "emulator": "AWS's runtime emulator runs here",
        "container": f"AWS's runtime emulator does not run on {system}, but Docker answers",
        "process": f"neither AWS's runtime emulator ({system}) nor Docker runs here",
    }[name]
