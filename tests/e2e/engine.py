"""The container engine and the SAM CLI, where this machine has them."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from local.backends import docker_answers

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "model" / "classifier.onnx"


@cache
def missing_engine() -> str:
    """Why the image cannot be built here; empty when it can."""
    if not docker_answers():
        return "no container engine answers (`docker info`)"
    return "" if MODEL.is_file() else f"there is no {MODEL}"


def sam_path() -> str | None:
    """The SAM CLI that `make test` installs, or the one on PATH."""
    own = ROOT / ".venv-sam" / "bin" / "sam"
    return str(own) if own.is_file() else shutil.which("sam")


def run(*words: str, timeout_s: float = 400, environ=None) -> str:
    """Run a command at the repository's root; fails the test with its output, returns stdout."""
    done = subprocess.run(
        words,
        cwd=ROOT,
        env={**os.environ, **(environ or {})},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"{' '.join(words)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done.stdout
