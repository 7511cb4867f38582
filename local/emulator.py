"""AWS's runtime interface emulator as a child process that runs awslambdaric and the handler.

The binary comes with the aws-sam-cli wheel, which the Makefile unpacks under the environment. It
is bound to 127.0.0.1 (by default it listens on all interfaces) and started anew when it has died.
"""

import os
import platform
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

from local.errors import BackendError, FunctionTimeoutError
from local.runtime_interface import RuntimeInterface, free_ports, port_answers

_ROOT = Path(__file__).resolve().parent.parent
_ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}
_START_TIMEOUT_S = 15.0
_END_TIMEOUT_S = 3.0


def binary_path() -> Path | None:
    """The emulator for this machine, or None where it cannot run or is not installed."""
    architecture = _ARCHITECTURES.get(platform.machine().lower())
    if platform.system() != "Linux" or architecture is None:
        return None
    name = f"samcli/local/rapid/aws-lambda-rie-{architecture}"
    for folder in (Path(sys.prefix), _ROOT / ".venv"):
        if (folder / "emulator" / name).is_file():
            return folder / "emulator" / name
    return None


class Emulator:
    """A running emulator; started anew by the next invocation when it has died."""

    title = "AWS's Lambda runtime emulator"

    def __init__(
        self,
        *,
        handler: str,
        environ: dict[str, str],
        timeout_s: float,
        log: IO[Any],
    ) -> None:
        """Start it. The handler's module is looked for in the repository's root."""
        binary = binary_path()
        if binary is None:
            raise BackendError(
                "AWS's runtime emulator is not installed or does not run here "
                f"({platform.system()} on {platform.machine()}); `make .venv/.emulator` installs "
                "it on Linux, --backend container or process runs anywhere."
            )
        self._binary = binary
        self._handler = handler
        self._environ = environ
        self._timeout_s = timeout_s
        self._log = log
        self._lock = threading.Lock()
        self._is_closed = False
        self._start()

    def _start(self) -> None:
        port, api_port = free_ports(2)
        command = [
            *(str(self._binary), "--log-level", "error"),
            *("--runtime-interface-emulator-address", f"127.0.0.1:{port}"),
            *("--runtime-api-address", f"127.0.0.1:{api_port}"),
            *(sys.executable, "-m", "awslambdaric", self._handler),
        ]
        self._process = subprocess.Popen(
            command,
            cwd=_ROOT,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,  # Ctrl-C reaches us alone, and `close` ends the emulator
        )
        self._interface = RuntimeInterface(port, timeout_s=self._timeout_s)
        # `close` may have come while it started.
        if self._is_closed or not port_answers(port, timeout_s=_START_TIMEOUT_S):
            self._end()
            raise BackendError("AWS's runtime emulator did not start; its output tells why.")

    def invoke(self, event: bytes) -> bytes:
        with self._lock:
            if self._is_closed:
                raise BackendError("AWS's runtime emulator was ended.")
            if self._process.poll() is not None:
                self._end()
                self._start()
            try:
                return self._interface.invoke(event)
            except FunctionTimeoutError:
                self._end()  # Lambda gives up a sandbox after a time-out as well
                raise

    def close(self) -> None:
        """End it for good: what still waits for its turn starts no other one."""
        self._is_closed = True
        self._end()

    def _end(self) -> None:
        """End the emulator and the runtime that it started, whichever of them still lives."""
        children = _session(self._process.pid)
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for pid in children:
            try:
                if os.getsid(pid) == self._process.pid:
                    os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def _session(leader: int) -> list[int]:
    """The processes of the session that `leader` leads, itself excepted (proc(5): Linux only)."""
    members = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != leader:
            try:
                if os.getsid(int(folder.name)) == leader:
                    members.append(int(folder.name))
            except (ProcessLookupError, PermissionError):
                continue
    return members
