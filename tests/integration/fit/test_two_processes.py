"""Training in two processes on the CPU, started as users start it: with torchrun."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from train.runs.folder import RECORD
from train.runs.model import load_model

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
PROBE = Path(__file__).with_name("two_processes_probe.py")


def torchrun(processes: int, *command: str) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launcher = [*torchrun, "--nproc_per_node", str(processes)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [*launcher, *command],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that the workers can be ended with their launcher
    ) as process:
        try:
            _, stderr = process.communicate(timeout=240)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert process.returncode == 0, stderr[-3000:]


@pytest.fixture(scope="module")
def probed(
    tiny_run: Path, drawn_data: Path, photo_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("probe")
    for processes in (1, 2):
        arguments = (out, tiny_run, drawn_data, photo_cache)
        torchrun(processes, str(PROBE), *(str(argument) for argument in arguments))
    return out


def read(folder: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / name).read_text())
    return content


def test_two_processes_see_disjoint_shards_apart_from_padding(probed: Path):
    first, second = (read(probed, f"2-{process}.json")["seen"] for process in (0, 1))
    assert set(first) | set(second) == set(read(probed, "1-0.json")["seen"]) == set(range(23))
    # 23 photos in batches of 4: the last batch lacks one, and only that may be seen twice.
    assert len(first) + len(second) == 24
    assert len(set(first) & set(second)) <= 1


def test_one_checkpoint_has_the_same_figures_on_one_process_and_on_two(probed: Path):
    alone, first, second = (read(probed, f"{n}.json")["figures"] for n in ("1-0", "2-0", "2-1"))
    assert first == second
    assert first["validation_accuracy"] == alone["validation_accuracy"]
    assert first["validation_loss"] == pytest.approx(alone["validation_loss"], rel=1e-5)


@pytest.mark.parametrize("validation", [1, 3, 18])
def test_fit_trains_in_two_processes_whatever_the_size_of_validation(
    validation: int, drawn_data: Path, photo_cache: Path, tmp_path: Path
):
    data = Path(shutil.copytree(drawn_data, tmp_path / "data"))
    for photo in sorted((data / "validation").rglob("*.jpg"))[validation:]:
        photo.unlink()
    flags = (
        "--backbone mobilenet_v3_small --weights none --input-px 32 --train-backbone "
        "--augment strong --ema 0.9 --epochs 2 --batch 10 --threads 1 --workers 0 --accumulate 2"
    ).split()
    where = ["--data", str(data), "--cache", str(photo_cache), "--out", str(tmp_path / "run")]
    torchrun(2, "-m", "train", "fit", *where, *flags)
    epochs = json.loads((tmp_path / "run" / RECORD).read_text())["epochs"]
    assert [entry["epoch"] for entry in epochs] == [1, 2]
    right = epochs[-1]["validation_accuracy"] * validation
    assert right == pytest.approx(round(right)), "each photo was counted once"
    assert load_model(tmp_path / "run").classes == ("blue", "green", "red")
