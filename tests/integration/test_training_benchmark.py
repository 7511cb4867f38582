"""The training benchmark on drawn photos: each side trains, and the same network."""

from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks import training
from benchmarks.report import GOALS
from benchmarks.training import FROM_MEMORY, WORKSHOP, Config, FromMemory, results
from torch.utils.data import DataLoader, TensorDataset

from train.data import scan


def small(drawn_data: Path, photo_cache: Path, out: Path) -> Config:
    return Config(
        drawn_data,
        rounds=2,
        steps=3,
        batch=10,
        backbone="mobilenet_v3_small",
        input_px=32,
        epochs=2,
        cache=photo_cache,
        out=out,
    )


@pytest.mark.slow
def test_each_side_is_measured_in_every_round(
    drawn_data: Path, photo_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = training.measure(small(drawn_data, photo_cache, tmp_path))
    ours = found.measured["ours_per_s"]
    for name in (WORKSHOP, FROM_MEMORY):
        theirs = found.measured[name]
        expected = sorted(mine / its for mine, its in zip(ours, theirs, strict=True))
        spread = found.ratios[f"cpu, {name}"]
        assert spread.rounds == 2
        assert spread.median == pytest.approx(sum(expected) / 2)
        assert found.not_measured[f"cuda, {name}"] == "no GPU where it ran"
    assert found.not_measured.keys() == {g.row for g in GOALS if g.benchmark == training.NAME}


@pytest.mark.slow
def test_the_workshops_loop_is_timed_without_its_first_steps(
    drawn_data: Path, photo_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    instants = iter([10.0, 14.0])
    monkeypatch.setattr("benchmarks.training.time.perf_counter", lambda: next(instants))
    config = small(drawn_data, photo_cache, tmp_path)
    assert training.workshop_per_s(config, scan(drawn_data, ("train",))) == 3 * 10 / 4


def test_a_batch_from_memory_comes_as_often_as_the_loader_has_one():
    rows: Any = TensorDataset(torch.arange(7.0), torch.arange(7))
    held = FromMemory(DataLoader(rows, batch_size=2), torch.device("cpu"))
    batches = list(held)
    assert len(batches) == len(held) == 4
    assert all(batch is batches[0] for batch in batches)
    assert batches[0][0].tolist() == [0, 1]


def test_rows_of_a_gpu_are_named_for_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    found = results([1000.0], {WORKSHOP: [100.0], FROM_MEMORY: [1100.0]}, "cuda")
    assert found.ratios[f"cuda, {WORKSHOP}"].median == 10
    assert found.ratios[f"cuda, {FROM_MEMORY}"].median == pytest.approx(1 / 1.1)
    assert found.measured["gpu"] == "a GPU"
    assert not found.not_measured


@pytest.mark.parametrize("words", [["--epochs", "1"], ["--rounds", "0"], []])
def test_what_cannot_be_measured_is_told_in_one_line(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sys.argv", ["training", "--data", str(tmp_path / "nowhere"), *words])
    with pytest.raises(SystemExit, match="nowhere" if not words else "--epochs takes 2 or more"):
        training.main()
