"""What the machine or a damaged file does to a verb is one line that says what to do."""

import errno
import random
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.training import tiny_config
from train import __main__ as command_line
from train.errors import UsageError, in_one_line
from train.fit import checkpoints
from train.fit.machine import start_tracker
from train.photos.manifest import Manifest
from train.runs.folder import LAST, MODEL, load_checkpoint, save_checkpoint
from train.runs.model import load_model

WORKER = "Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback (most recent call"

# What torch says (2.12), word for word, as far as it is known to come.
REFUSED = [
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU"), "--batch"),
    (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you"), "--batch"),
    (MemoryError(), "--batch"),
    (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), "--workers"),
    (RuntimeError("DataLoader worker (pid(s) 7, 8) exited unexpectedly"), "--workers"),
    (
        RuntimeError(
            "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that "
            "dataloader's workers are out of shared memory. Please try to raise your shared memory"
        ),
        "--shm-size",
    ),
    (
        RuntimeError(f"{WORKER}\nunable to write to file </torch_7_1_0>: No space left (28)"),
        "--shm-size",
    ),
    (RuntimeError("Too many open files. Communication with the workers is no longer"), "ulimit"),
    (PermissionError(errno.EACCES, "Permission denied", "/photos/red"), "/photos/red cannot be"),
    (OSError(errno.ENOSPC, "No space left on device", "/runs/x"), "/runs/x .* the disk is full"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "advice"), REFUSED)
def test_what_the_machine_refuses_is_one_line(
    error: Exception, advice: str, monkeypatch: pytest.MonkeyPatch, capsys
):
    def refused(_: object) -> None:
        raise error

    monkeypatch.setattr("train.fit.loop.fit", refused)
    expected = 2 if isinstance(error, PermissionError) else 1
    assert command_line.main(["fit", "--data", "photos", "--out", "run"]) == expected
    captured = capsys.readouterr()
    assert captured.err.startswith("train fit: ")
    assert captured.err.count("\n") == 1
    assert re.search(advice, captured.err)


def test_an_allocation_that_fails_in_earnest_is_one_line():
    for allocate in (lambda: torch.empty(2**56), lambda: np.empty(2**56)):
        with pytest.raises((RuntimeError, MemoryError)) as raised:
            allocate()
        assert "Out of memory" in str(in_one_line(raised.value))


def test_a_fault_of_the_code_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch):
    def broken(_: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr("train.fit.loop.fit", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        command_line.main(["fit", "--data", "photos", "--out", "run"])


class RefusingTracker:
    """An accelerator whose tracker wants a login first."""

    def init_trackers(self, *_: object, **__: object) -> None:
        raise LookupError("No API key configured. Use `wandb login` to log in.")


def test_a_tracker_that_cannot_begin_is_one_line(tmp_path: Path):
    config = tiny_config(tmp_path, tmp_path, tmp_path, tracker="wandb")
    accelerator: Any = RefusingTracker()
    with pytest.raises(UsageError, match=r"--tracker wandb cannot begin: No API key .* --tracker"):
        start_tracker(accelerator, config)


def whole_checkpoint(file: Path) -> dict[str, Any]:
    state = {"format": 1, "weights": {"a": torch.arange(100.0)}, "epoch": {"epoch": 1}}
    save_checkpoint(file, state)
    return state


def test_a_checkpoint_damaged_anywhere_is_read_or_refused(tmp_path: Path):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    draw, file = random.Random(seed), tmp_path / MODEL
    whole_checkpoint(file)
    content = file.read_bytes()
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(draw.choice((1, 1, 3, 30))):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        cut = draw.choice((len(damaged), len(damaged), draw.randrange(len(damaged))))
        file.write_bytes(damaged[:cut])
        with suppress(UsageError):  # and no other error
            load_checkpoint(file)


def foreign(name: str, file: Path) -> None:
    state = {"0.weight": torch.zeros(2, 2)}
    contents: dict[str, Any] = {
        "a state dict": state,
        "a wrapped one": {"state_dict": state, "epoch": 3},
        "a list": [1, 2],
        "a tensor": torch.zeros(3),
        "no weights": {"format": 1},
        "other weights": {
            "format": 1,
            "weights": state,
            "classes": ["hat", "shoe"],
            "config": {"out": "run", "data": {"data": "photos"}, "network": {"weights": "none"}},
            "manifest_sha256": "0" * 64,
            "epoch": {},
        },
    }
    if name == "safetensors":
        save_file(state, file)
    elif name == "nothing":
        file.touch()
    else:
        torch.save(contents[name], file)


@pytest.mark.parametrize(
    "name",
    [
        *("a state dict", "a wrapped one", "a list", "a tensor", "no weights", "other weights"),
        *("safetensors", "nothing"),
    ],
)
def test_another_programs_file_in_place_of_a_checkpoint_is_named(name: str, tmp_path: Path):
    foreign(name, tmp_path / MODEL)
    with pytest.raises(UsageError, match=rf"{MODEL} is (not a checkpoint of a run|damaged)"):
        load_model(tmp_path)

    foreign(name, tmp_path / LAST)
    config = tiny_config(tmp_path, tmp_path, tmp_path, resume=True)
    named = rf"{LAST} (is not a checkpoint|is damaged)|photos in .* are not those"
    with pytest.raises(UsageError, match=named):
        checkpoints.read_last(config, Manifest(tmp_path, ("hat", "shoe"), ()))
