"""The built image, the Dockerfile and the pins in; findings about what Lambda would refuse out.

The limits are AWS's: 10 GB an image (Lambda quotas), a single-platform manifest of type Docker v2
schema 2 or OCI image manifest (Lambda developer guide, "Create a Lambda function using a container
image").
"""

import json
import re
import subprocess
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from ops.checks.finding import Finding

MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
)
MAX_BYTES = 10_000_000_000
LARGE_BYTES = 1_000_000_000  # ours: large images slow cold starts and pushes
_ARCHITECTURES = {"amd64": "x86_64", "arm64": "arm64"}
# AWS's base images use Amazon Linux 2023 from Python 3.12 on, and Amazon Linux 2 before.
_GLIBC_AL2023, _GLIBC_AL2, _FIRST_ON_AL2023 = (2, 34), (2, 26), (3, 12)
_LEGACY_TAGS = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}


def inspected(image: str) -> dict[str, Any] | None:
    """The engine's facts about an image; None when there is no engine or no such image."""
    done = _docker("image", "inspect", image)
    return json.loads(done.stdout)[0] if done and done.returncode == 0 else None


def digest(image: str) -> str | None:
    """The same image named by its registry's digest; None where it was not pulled from one."""
    facts = inspected(image) or {}
    named: list[str] = facts.get("RepoDigests") or []
    return next(
        (name for name in named if name.partition("@")[0] == image.rpartition(":")[0]), None
    )


def _docker(*words: str) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(
            ["docker", *words], capture_output=True, text=True, timeout=120, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def manifest(image: str, facts: Mapping[str, Any], architecture: str) -> list[Finding]:
    """Findings about manifest type, architecture and size."""
    found = []
    # Engines with containerd's store name the type; the others store only single manifests.
    kind = (facts.get("Descriptor") or {}).get("mediaType", MANIFESTS[0])
    if kind not in MANIFESTS:
        remedy = "build without attestations, as sam build does, or with --provenance=false"
        found.append(Finding(image, f"its type is {kind}, which Lambda refuses", remedy))
    built_for = _ARCHITECTURES.get(facts["Architecture"], facts["Architecture"])
    if built_for != architecture:
        problem = f"it is built for {built_for}, the template's Architecture is {architecture}"
        found.append(Finding(image, problem, f"build on {architecture}, or set Architecture"))
    size = facts["Size"]
    if size > LARGE_BYTES:
        limit = "Lambda's 10 GB" if size > MAX_BYTES else "1 GB, which slows cold starts"
        problem = f"it is {size / 1e9:.1f} GB large, more than {limit}"
        found.append(Finding(image, problem, "look for large layers in `docker history`"))
    return found


def runs_read_only(image: str) -> list[Finding]:
    """Whether the function's init works as on Lambda: without root and without a writable disk."""
    flags = ("--rm", "--read-only", "--network", "none", "--user", "993:990", "--cap-drop", "ALL")
    command = ("--entrypoint", "python", image, "-c", "import lambda_function")
    done = _docker("run", *flags, *command)
    if done is None or done.returncode == 0:
        return []
    last = (done.stderr.strip() or "no message").splitlines()[-1]
    problem = f"it does not start without root, network and a writable disk: {last[:200]}"
    return [Finding(image, problem, "write only to /tmp, and not at init")]


def unpinned(requirements: Path) -> list[Finding]:
    """Requirements that do not name one version with its hashes."""
    logical = requirements.read_text().replace("\\\n", " ").splitlines()
    lines = [line.partition(" #")[0].strip() for line in logical]
    return [
        Finding(str(requirements), f"{line.split()[0]} is not pinned", "make pins")
        for line in lines
        if line
        and not line.startswith(("#", "-"))
        and not (re.match(r"[\w.\[\]-]+==[\w.+!]+(\s|$)", line) and "--hash=" in line)
    ]


def base_glibc(dockerfile: Path) -> tuple[int, int] | None:
    """The glibc of the Dockerfile's base image; None for one that is not AWS's."""
    match = re.search(
        r"^(?:FROM |ARG BASE_IMAGE=)\S*lambda/python:3\.(\d+)", dockerfile.read_text(), re.MULTILINE
    )
    if match is None:
        return None
    return _GLIBC_AL2023 if (3, int(match[1])) >= _FIRST_ON_AL2023 else _GLIBC_AL2


def too_new_wheels(
    requirements: Path, glibc: tuple[int, int], installed: Iterable[Distribution] | None = None
) -> list[Finding]:
    """Pinned packages whose installed wheels require a newer glibc than the base image has.

    Wheels for systems other than Linux do not name a glibc and are skipped.
    """
    names = {n.lower() for n in re.findall(r"^([\w.-]+)==", requirements.read_text(), re.MULTILINE)}
    found = []
    for package in distributions() if installed is None else installed:
        tags = re.findall(r"^Tag: (\S+)", package.read_text("WHEEL") or "", re.MULTILINE)
        needed = [glibc_ for tag in tags if (glibc_ := _needed(tag)) is not None]
        if package.name.lower() in names and needed and min(needed) > glibc:
            major, minor = min(needed)
            problem = (
                f"{package.name} {package.version} needs glibc {major}.{minor}, "
                f"the base image has {glibc[0]}.{glibc[1]}"
            )
            remedy = "pin an older version, or use a base image with Python 3.12 or later"
            found.append(Finding(str(requirements), problem, remedy))
    return found


def _needed(tag: str) -> tuple[int, int] | None:
    """The glibc that a wheel's tag requires; None when it requires none."""
    if match := re.search(r"manylinux_(\d+)_(\d+)_", tag):
        return int(match[1]), int(match[2])
    return next((glibc for name, glibc in _LEGACY_TAGS.items() if f"-{name}_" in tag), None)
