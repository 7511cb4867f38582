"""Folders with the contents of the image's /var/task: ours and the workshop's, without Docker.

Ours is made by running the Dockerfile's own COPY and RUN lines here, so that what is measured is
what is deployed. A RUN line that names an absolute path is refused: it would change this machine.
"""

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.rounds import ROOT

FOLDERS = ROOT / ".cache" / "task-folders"
WORKSHOP_FUNCTION = ROOT / "benchmarks" / "peers" / "workshop_function.py"
_WORKSHOP_PACKAGES = ("keras-image-helper", "onnxruntime", "numpy", "pillow")
_ABSOLUTE_PATH = re.compile(r"(?:^|[\s=])/")


@dataclass(frozen=True, slots=True)
class TaskFolders:
    """The current folder of each function, with its `lambda_function.py`."""

    ours: Path
    workshop: Path


def built(python: Path, workshop_model: Path | None = None) -> TaskFolders:
    """Both folders. They are built again if anything that they are made of has changed.

    Args:
        python: the interpreter to install for; the image's is 3.13.
        workshop_model: the workshop's model; None exports one, which needs torch.
    """
    folders = TaskFolders(FOLDERS / "ours", FOLDERS / "workshop")
    stamp, known = FOLDERS / "stamp", _stamp(python, workshop_model)
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == known:
        return folders
    shutil.rmtree(FOLDERS, ignore_errors=True)
    for folder in (folders.ours, folders.workshop):
        folder.mkdir(parents=True)
    _follow_dockerfile(folders.ours, python)
    _install_workshop(folders.workshop, python, workshop_model)
    stamp.write_text(known, encoding="utf-8")
    return folders


def instructions(dockerfile: str) -> Iterator[tuple[str, str]]:
    """Each instruction's name and its arguments on one line, without comments."""
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, arguments = line.strip().partition(" ")
        if name:
            yield name.upper(), arguments.strip()


def let_through(source: str) -> list[Path]:
    """The files of a COPY's source that .dockerignore does not exclude."""
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    taken = [ROOT / rule.removeprefix("!") for rule in rules if rule.startswith("!")]
    whole = ROOT / source
    files = [whole] if whole.is_file() else sorted(p for p in whole.rglob("*") if p.is_file())
    return [
        file
        for file in files
        if "__pycache__" not in file.parts
        and any(file == path or path in file.parents for path in taken)
    ]


def _follow_dockerfile(folder: Path, python: Path) -> None:
    tools = FOLDERS / "bin"
    tools.mkdir()
    (tools / "python").write_text(f'#!/bin/sh\nexec "{python}" "$@"\n', encoding="utf-8")
    (tools / "python").chmod(0o755)
    for name, arguments in instructions((ROOT / "Dockerfile").read_text(encoding="utf-8")):
        if name == "COPY":
            *sources, _ = arguments.split()
            for source in sources:
                for file in let_through(source):
                    target = folder / file.relative_to(ROOT)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, target)
        elif name == "RUN":
            _run_in(folder, tools, arguments)


def _run_in(folder: Path, tools: Path, command: str) -> None:
    if _ABSOLUTE_PATH.search(command):
        raise ValueError(
            "A RUN line of the Dockerfile names an absolute path, so it is not run outside Docker: "
            f"{command}"
        )
    environ = {"PATH": f"{tools}:/usr/bin:/bin", "PIP_QUIET": "1"}
    subprocess.run(["/bin/sh", "-c", command], cwd=folder, env=environ, check=True)


def _install_workshop(folder: Path, python: Path, model: Path | None) -> None:
    """The same versions as ours, installed by plain pip, with the handler and its model."""
    pins = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    versions = dict(re.findall(r"^([a-z-]+)==(\S+)", pins, flags=re.MULTILINE))
    packages = [f"{name}=={versions[name]}" for name in _WORKSHOP_PACKAGES]
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--target", str(folder), *packages], check=True)
    shutil.copyfile(WORKSHOP_FUNCTION, folder / "lambda_function.py")
    if model is None:
        from benchmarks.peers.models import write_workshop  # needs torch

        model = FOLDERS / "workshop.onnx"
        write_workshop(model)
    shutil.copyfile(model, folder / "model.onnx")
    subprocess.run(
        [str(python), "-m", "compileall", "-q", "lambda_function.py"], cwd=folder, check=True
    )


def _stamp(python: Path, workshop_model: Path | None) -> str:
    parts = [str(python).encode(), str(workshop_model).encode(), sys.version.encode()]
    files = [ROOT / "Dockerfile", ROOT / ".dockerignore", WORKSHOP_FUNCTION]
    for source in ("requirements.txt", "lambda_function.py", "serving", "model"):
        files += let_through(source)
    parts += [part for file in files for part in (str(file).encode(), file.read_bytes())]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()
