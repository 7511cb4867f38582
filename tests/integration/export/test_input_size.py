"""`train frontier` on a real run of a small network, as ONNX files through serving."""

import json
import shutil
from pathlib import Path

import pytest

from tests.training import tiny_config
from train.evaluate.verb import EvaluateConfig, evaluate
from train.export.input_size import FrontierConfig, frontier
from train.fit.loop import fit

pytestmark = pytest.mark.slow


def test_the_sizes_of_a_run_are_compared_on_what_it_held_out(
    drawn_data: Path, photo_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    reading = {"choose_on": "holdout", "holdout": 0.3}
    run = tmp_path / "run"
    network = {"backbone": "resnet18"}
    fit(tiny_config(drawn_data, photo_cache, run, network=network, reading=reading))
    frontier(FrontierConfig(run, sizes=(96, 32), cache=photo_cache))
    found = json.loads((run / "frontier.json").read_text())
    small, large = found["points"]
    assert (small["input_px"], large["input_px"]) == (32, 96)
    assert small["time_ratio"] < large["time_ratio"] == 1
    assert f"{found['chosen_px']} pixels" in capsys.readouterr().out

    # The ONNX file of a size answers as the run itself does at that size.
    evaluate(EvaluateConfig(run, data=drawn_data, split="holdout", input_px=96, cache=photo_cache))
    report = json.loads((run / "report.json").read_text())
    assert large["correct"] == report["splits"]["holdout"]["correct"]


def test_without_held_out_photos_sizes_are_compared_on_validation(
    tiny_run: Path, photo_cache: Path, tmp_path: Path
):
    shutil.copy(tiny_run / "model.pt", tmp_path)
    frontier(FrontierConfig(tmp_path, sizes=(32,), cache=photo_cache))
    (point,) = json.loads((tmp_path / "frontier.json").read_text())["points"]
    assert point["photos"] == 18
