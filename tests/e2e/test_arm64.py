"""The handler and the pinned arm64 wheels under an emulated processor, with the golden pictures.

The userland is Debian trixie's, like the base image with glibc and Python 3.13, and so is qemu:
bookworm's 7.2 crashes while it imports onnxruntime.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from local.backends import ROOT
from ops.hook import pretraffic

pytestmark = pytest.mark.slow
# The base image's glibc is 2.34; these are the tags of older ones that the pinned wheels have.
WHEELS = ("manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")
PACKAGES = "python3.13,libstdc++6,libgomp1"
# What runs under the emulated processor: each answer to a golden picture, one line of JSON each.
ANSWERS = """
import json, platform, types
import lambda_function
from ops.hook import pretraffic

context = types.SimpleNamespace(
    aws_request_id="r-1", get_remaining_time_in_millis=lambda: 300_000
)
print(json.dumps(platform.machine()))
for golden in pretraffic.load():
    print("answer", json.dumps(lambda_function.lambda_handler(golden.event, context)))
"""


def attempted(*words: str) -> None:
    """Run a command that needs the network; skips the test with its last line if it fails."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        pytest.skip(f"{Path(words[0]).name} failed: {last}")


def unpacked(packages: list[Path], root: Path) -> None:
    for package in packages:
        subprocess.run(["dpkg-deb", "-x", package, root], check=True)


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """The machine that the handler saw, and its answers to the golden pictures."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        pytest.skip("emulates arm64 on Linux on x86_64 only")
    if os.geteuid() != 0 or not all(map(shutil.which, ("debootstrap", "dpkg-deb"))):
        pytest.skip("needs root, debootstrap and dpkg-deb to unpack an arm64 userland")
    folder = tmp_path_factory.mktemp("arm64")
    arm, host, wheels = folder / "arm64", folder / "host", folder / "wheels"
    bootstrap = ("debootstrap", "--variant=minbase")
    arm64 = ("--foreign", "--arch=arm64", f"--include={PACKAGES}")
    attempted(*bootstrap, *arm64, "trixie", str(arm))
    attempted(*bootstrap, "--download-only", "--include=qemu-user", "trixie", str(host))
    unpacked(sorted(arm.glob("var/cache/apt/archives/*.deb")), arm)
    unpacked(sorted(host.glob("var/cache/apt/archives/qemu-user_*.deb")), host)
    attempted(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--target", str(wheels), "--no-deps", "--require-hashes", "--only-binary=:all:"),
        *("--python-version", "3.13", *(word for tag in WHEELS for word in ("--platform", tag))),
        *("--requirement", str(ROOT / "requirements.txt")),
    )
    done = subprocess.run(
        [host / "usr/bin/qemu-aarch64", "-L", arm, arm / "usr/bin/python3.13", "-c", ANSWERS],
        cwd=ROOT,
        env={
            "QEMU_CPU": "neoverse-n1",  # Graviton2, as Lambda has it
            "PYTHONPATH": f"{wheels}:{ROOT}",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    shutil.rmtree(folder)
    assert done.returncode == 0, done.stderr[-2000:]
    machine, *lines = done.stdout.splitlines()
    told = [line.partition("answer ")[2] for line in lines if line.startswith("answer ")]
    return json.loads(machine), list(map(json.loads, told))


def test_arm64_answers_the_golden_pictures_as_the_checkpoint_did(answers):
    machine, answered = answers
    goldens = pretraffic.load()
    assert machine == "aarch64"
    assert len(answered) == len(goldens)
    problems = [
        line
        for golden, answer in zip(goldens, answered, strict=True)
        for line in pretraffic.differences(golden, answer)
    ]
    assert problems == []
