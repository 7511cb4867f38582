"""An emulated account of AWS in a process of its own, on loopback."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from local.backends import ROOT
from local.runtime_interface import free_ports, port_answers

_PACKAGES = ROOT / ".venv" / "ministack"
NEEDS_MINISTACK = pytest.mark.skipif(
    not _PACKAGES.is_dir(), reason="ministack is not installed; `make .venv/.ministack` does it"
)


@contextmanager
def ministack(**environ: str) -> Iterator[str]:
    """Its endpoint's URL; `environ` is added to its environment."""
    (port,) = free_ports(1)
    environ = {
        **os.environ,
        "PYTHONPATH": str(_PACKAGES),
        "BIND_HOST": "127.0.0.1",  # it would listen on every interface
        "GATEWAY_PORT": str(port),
        **environ,
    }
    command = [sys.executable, "-m", "ministack"]
    with subprocess.Popen(
        command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            assert port_answers(port, timeout_s=60)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(60)
