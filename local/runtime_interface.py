"""The HTTP interface of AWS's runtime interface emulator: an event goes in, an answer comes out.

This hides how the emulator differs from Lambda. It answers 200 with an error document when the
handler raises, and 200 with plain text after a timeout. It panics when a second invocation comes
during the first, so callers hold a lock.
"""

import contextlib
import http.client
import json
import socket
import time

from local.errors import FunctionFailedError, FunctionTimeoutError

_PATH = "/2015-03-31/functions/function/invocations"
# The emulator itself ends an invocation at the function's timeout and restarts the runtime.
_GRACE_S = 15.0


class RuntimeInterface:
    """An emulator that listens on 127.0.0.1:`port` and runs a function with `timeout_s`."""

    def __init__(self, port: int, *, timeout_s: float) -> None:
        self._port = port
        self._timeout_s = timeout_s

    def invoke(self, event: bytes) -> bytes:
        """Run one event.

        Raises:
            FunctionFailedError: the handler raised, its process died, or the emulator is gone.
            FunctionTimeoutError: it ran longer than the function's timeout.
        """
        connection = http.client.HTTPConnection(
            "127.0.0.1", self._port, timeout=self._timeout_s + _GRACE_S
        )
        try:
            connection.request("POST", _PATH, event, {"content-type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
        except TimeoutError as error:
            raise FunctionTimeoutError("the emulator did not answer") from error
        except (OSError, http.client.HTTPException) as error:
            raise FunctionFailedError("the emulator closed the connection") from error
        finally:
            connection.close()
        if response.status != 200:
            raise FunctionFailedError(f"the emulator answered {response.status}")
        _refuse_fault(answer)
        return answer


def _refuse_fault(answer: bytes) -> None:
    if answer.startswith(b"Task timed out after"):
        raise FunctionTimeoutError(answer.decode(errors="replace"))
    try:
        value = json.loads(answer)
    except ValueError as error:
        raise FunctionFailedError("the function's answer is not JSON") from error
    if isinstance(value, dict) and {"errorType", "errorMessage"} <= value.keys():
        raise FunctionFailedError(str(value["errorType"]))


def port_answers(port: int, *, timeout_s: float) -> bool:
    """Wait until an HTTP server answers on 127.0.0.1:`port`, whatever its status.

    An open port is not enough: Docker opens a container's port before its server listens.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
        try:
            connection.request("HEAD", "/")
            connection.getresponse()
        except (OSError, http.client.HTTPException):
            time.sleep(0.02)
        else:
            return True
        finally:
            connection.close()
    return False


def free_ports(count: int) -> list[int]:
    """Different free ports of 127.0.0.1."""
    with contextlib.ExitStack() as listeners:
        ports = []
        for _ in range(count):
            listener = listeners.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            ports.append(int(listener.getsockname()[1]))
        return ports
