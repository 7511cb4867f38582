"""`python -m local classify` killed at random moments, and started again."""

import base64
import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from local.backends import ROOT
from serving.app import App
from serving.model.classifier import Classifier
from serving.settings import Settings
from tests.drawn import COLOURS, encoded, picture

PHOTOS, KILLS = 2_000, 3
FIELDS = ("label", "unsure", "unsure_because", "familiarity", "predictions")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> dict[str, bytes]:
    """Drawn photos below a folder, by path; one in a hundred is damaged."""
    folder = tmp_path_factory.mktemp("photos")
    drawn = {}
    for number in range(PHOTOS):
        colour, size_px = list(COLOURS)[number % 3], 60 + number % 200
        kind = ("JPEG", "JPEG", "PNG", "WEBP", "TIFF")[number % 5]
        data = encoded(picture(colour, width_px=size_px, height_px=80, seed=number), kind)
        path = folder / f"{number % 7}" / f"{number}.{kind.lower()}"
        path.parent.mkdir(exist_ok=True)
        drawn[str(path)] = data[: len(data) // 2] if number % 100 == 99 else data
        path.write_bytes(drawn[str(path)])
    return drawn


def started(folder: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "local", "classify", str(folder), "--out", str(out)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a process group, as a terminal's job is
    )


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture(scope="module")
def expected(photos) -> dict[str, dict[str, Any]]:
    """The handler's answer for each path, as it is sent the file."""
    app = App(Classifier.load(ROOT / "model" / "classifier.onnx"), Settings())
    found = {}
    for path, data in photos.items():
        answer = app.handle({"image": base64.b64encode(data).decode()}, "request-1")
        wanted = {name: answer[name] for name in FIELDS if name in answer}
        found[path] = wanted or {"error": answer["code"]}
    return found


def read(file: Path) -> list[tuple[str, dict[str, Any]]]:
    """Each row's path, and what the handler answers, too."""
    if file.suffix == ".jsonl":
        lines = file.read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
    else:
        with file.open(encoding="utf-8", newline="") as table:
            rows = [as_json(row) for row in csv.DictReader(table)]
    fields = (*FIELDS, "error")
    return [(row["path"], {name: row[name] for name in fields if name in row}) for row in rows]


def as_json(cells: dict[str, str]) -> dict[str, Any]:
    """A row of CSV as one of JSON lines."""
    row: dict[str, Any] = {name: value for name, value in cells.items() if value}
    if "error" not in row:
        names = ["label", *(f"label_{rank}" for rank in range(2, 6))]
        row["predictions"] = [
            {"label": row[name], "probability": float(row[name.replace("label", "probability")])}
            for name in names
        ]
        row |= {name: json.loads(row[name]) for name in ("unsure", "familiarity")}
    return row


def end_at(run: subprocess.Popen[str], out: Path, size_bytes: int, ending: signal.Signals) -> str:
    """End a run when its file has this size, and see that the processes it started end, too.

    Returns:
        Its last line of standard error.
    """
    while run.poll() is None and not (out.is_file() and out.stat().st_size >= size_bytes):
        with suppress(subprocess.TimeoutExpired):
            run.wait(0.01)
    assert run.poll() is None, "it has ended before it was to"
    below = children(run.pid)
    os.killpg(run.pid, ending)
    _, error = run.communicate(timeout=20)
    deadline = time.monotonic() + 20
    while any(is_running(pid) for pid in below):
        assert time.monotonic() < deadline, below
        os.sched_yield()
    return error.splitlines()[-1] if error else ""


def is_running(pid: int) -> bool:
    """Whether a process runs; one that has ended may wait for its parent to notice."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_killed_and_resumed_each_photo_has_one_row(ending, photos, expected, tmp_path):
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    folder, out = Path(next(iter(photos))).parents[1], tmp_path / f"answers.{ending}"
    for _ in range(KILLS):
        size_bytes = out.stat().st_size if out.exists() else 0
        moment = size_bytes + chance.randrange(50 * PHOTOS)
        end_at(started(folder, out), out, moment, signal.SIGKILL)
        os.truncate(out, max(0, out.stat().st_size - chance.randrange(300)))  # a row cut short
    with started(folder, out) as last:
        last.communicate(timeout=120)
    assert last.returncode == 0
    found = read(out)
    assert len(found) == PHOTOS
    assert dict(found) == expected


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_says_in_one_line_how_to_go_on(ending, photos, tmp_path):
    folder, out = Path(next(iter(photos))).parents[1], tmp_path / "answers.csv"
    with started(folder, out) as run:
        assert end_at(run, out, 10_000, ending) == "Stopped; the same command goes on from here."
    assert run.returncode == 1
    assert 0 < len(read(out)) < PHOTOS
