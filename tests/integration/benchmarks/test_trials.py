"""Each benchmark that needs no extra installation runs as a trial and measures its rows."""

import importlib
from pathlib import Path

import pytest

from benchmarks.figures.report import GOALS
from benchmarks.harness.results import read

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "name", ["handlers", "inference", "tail", "batch", "classify", "bulk", "training", "photos"]
)
def test_a_trial_measures_each_row_that_has_a_goal(name: str, tmp_path: Path):
    importlib.import_module(f"benchmarks.{name}").main(["--quick", "--out", str(tmp_path)])
    found = read(name, tmp_path)
    assert found is not None
    rows = {goal.row for goal in GOALS if goal.benchmark == name}
    assert rows <= found["ratios"].keys() | found["not_measured"].keys()
    assert found["ratios"].keys() <= found["sides"].keys()
    assert all(ratio["median"] > 0 for ratio in found["ratios"].values())


def test_no_stage_of_the_handler_takes_longer_than_the_whole(tmp_path: Path):
    importlib.import_module("benchmarks.breakdown").main(["--quick", "--out", str(tmp_path)])
    found = read("breakdown", tmp_path)
    assert found is not None
    for stages in found["measured"]["stages_ms"].values():
        assert all(0 < value <= stages["handler"] for value in stages.values())
