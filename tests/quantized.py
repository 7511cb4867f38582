"""Fixtures of int8: a drawn run that held photos out, quantised behind the gate."""

from collections.abc import Callable
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest

from tests.drawn import write_class_folders
from tests.training import tiny_config
from train.evaluate.inference import Clock
from train.export.onnx import ExportConfig, export
from train.export.quantize import QuantizeConfig, quantize
from train.fit.loop import fit


def clock_that_takes(float32_s: float, int8_s: float) -> Clock:
    """A clock by which the first of two that take turns needs one time and the second another."""
    steps = chain.from_iterable(repeat((0.0, float32_s, 0.0, int8_s)))
    return lambda: next(steps)


def faster() -> Clock:
    return clock_that_takes(1.0, 0.5)


@pytest.fixture(scope="session")
def held_out_run(tmp_path_factory: pytest.TempPathFactory, photo_cache: Path) -> Path:
    """A run that held photos out, trained and exported; read-only by agreement."""
    root = tmp_path_factory.mktemp("int8")
    data = write_class_folders(root / "colours", train=20)
    reading = {"choose_on": "holdout", "holdout": 0.4}
    network = {"backbone": "resnet18"}
    config = tiny_config(
        data, photo_cache, root / "run", epochs=20, reading=reading, network=network
    )
    fit(replace(config, keep="last"))
    export(ExportConfig(run=root / "run", cache=photo_cache))
    return root / "run"


@pytest.fixture
def copied_run(held_out_run: Path, tmp_path: Path) -> Path:
    """The same run in a folder of the test's own."""
    run = tmp_path / "run"
    run.mkdir()
    for path in held_out_run.iterdir():
        (run / path.name).write_bytes(path.read_bytes())
    return run


@pytest.fixture
def small(copied_run: Path, photo_cache: Path) -> Callable[..., QuantizeConfig]:
    """Settings that make one candidate of the run, held to limits that a drawn run meets."""

    def config(**changes) -> QuantizeConfig:
        settings: dict[str, Any] = {
            "photos": 12,
            "methods": ("minmax",),
            "weights": ("paired",),
            "float_first": (1,),
            "min_agreement": 0.9,
            "max_accuracy_loss": 0.1,
        }
        return QuantizeConfig(run=copied_run, cache=photo_cache, **settings | changes)

    return config


@pytest.fixture(scope="session")
def int8_run(
    held_out_run: Path, tmp_path_factory: pytest.TempPathFactory, photo_cache: Path
) -> Path:
    """The run with its int8 file; read-only by agreement."""
    run = tmp_path_factory.mktemp("quantized") / "run"
    run.mkdir()
    for path in held_out_run.iterdir():
        (run / path.name).write_bytes(path.read_bytes())
    config = QuantizeConfig(
        run=run,
        cache=photo_cache,
        photos=12,
        methods=("minmax",),
        weights=("eight", "paired"),
        float_first=(1,),
        min_agreement=0.9,
        max_accuracy_loss=0.1,
    )
    quantize(config, clock=faster())
    return run
