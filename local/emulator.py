"""AWS's runtime interface emulator as a child process that runs awslambdaric and the handler.

The binary comes with the aws-sam-cli wheel, which the Makefile unpacks into the environment. It
listens on 127.0.0.1 only (by default, on all interfaces) and is restarted when it has died.
`python -m local.emulator PID` ends its session when `local` is gone, also if that was killed.
"""

import os
import platform
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

from local.errors import BackendError, FunctionFailedError, FunctionTimeoutError
from local.runtime_interface import RuntimeInterface, free_ports, port_answers

_ROOT = Path(__file__).resolve().parent.parent
_ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}
_START_TIMEOUT_S = 15.0
_END_TIMEOUT_S = 3.0
_DEATH_TIMEOUT_S = 0.5  # for the system to tell that a process has died


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
    """A running emulator; the next invocation restarts it when it has died."""

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
                f"({platform.system()} on {platform.machine()}). On Linux, `make .venv/.emulator` "
                "installs it; --backend container or process runs anywhere."
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
            start_new_session=True,  # Ctrl-C does not reach the emulator; `close` ends it
        )
        self._watcher = subprocess.Popen(
            [sys.executable, "-m", "local.emulator", str(self._process.pid)],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self._interface = RuntimeInterface(port, timeout_s=self._timeout_s)
        # `close` may have been called while it started.
        if self._is_closed or not port_answers(port, timeout_s=_START_TIMEOUT_S):
            self._end()
            raise BackendError("AWS's runtime emulator did not start; its output says why.")

    def invoke(self, event: bytes) -> bytes:
        with self._lock:
            if self._is_closed:
                raise BackendError("AWS's runtime emulator was stopped.")
            if self._process.poll() is not None:
                self._restart()
            try:
                try:
                    return self._interface.invoke(event)
                except FunctionFailedError:
                    if not self._has_died():
                        raise
                    self._restart()  # it was dead before the event could reach the function
                    return self._interface.invoke(event)
            except FunctionTimeoutError:
                self._end()  # Lambda discards a sandbox after a timeout, too
                raise

    def _has_died(self) -> bool:
        try:
            self._process.wait(_DEATH_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _restart(self) -> None:
        self._end()
        self._start()

    def close(self) -> None:
        """End it for good; invocations that still wait do not restart it."""
        self._is_closed = True
        self._end()

    def _end(self) -> None:
        """End the emulator and the runtime that it started, if they still run."""
        self._watcher.kill()
        self._watcher.communicate()
        children = session_members(self._process.pid)
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


def session_members(leader: int) -> list[int]:
    """The other processes of the session that `leader` leads (proc(5): Linux only)."""
    members = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != leader:
            try:
                if os.getsid(int(folder.name)) == leader:
                    members.append(int(folder.name))
            except (ProcessLookupError, PermissionError):
                continue
    return members


def _watch(leader: int) -> None:
    """Wait for the end of standard input, a pipe that only `local` holds open; end the session."""
    sys.stdin.buffer.read()
    for pid in [*session_members(leader), leader]:
        try:
            if os.getsid(pid) == leader:
                os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


if __name__ == "__main__":
    _watch(int(sys.argv[1]))
