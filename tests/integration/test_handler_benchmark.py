"""The benchmark of the handlers from start to end, a request each: its structure, no times."""

import json

import pytest
from benchmarks import handlers
from benchmarks.rounds import UnavailableError, Worker

SIZE = "400x533"


@pytest.mark.slow
def test_every_handler_is_measured_and_one_that_cannot_run_is_a_row_with_its_reason(tmp_path):
    contestants = ["ours", "workshop", "torch eager", "nobody"]
    arguments = ["--rounds", "2", "--count", "1", "--sizes", SIZE, "--out", str(tmp_path)]

    handlers.main([*arguments, "--contestants", *contestants])

    found = json.loads((tmp_path / "handlers.json").read_text())
    assert found["ratios"].keys() == {f"workshop, {SIZE}", f"torch eager, {SIZE}"}
    assert all(ratio["rounds"] == 2 for ratio in found["ratios"].values())
    assert all(latency["requests"] == 2 for latency in found["measured"][SIZE].values())
    assert found["not_measured"] == {f"nobody, {SIZE}": "KeyError: 'nobody'"}
    assert found["machine"]["packages"]["onnxruntime"]


def test_a_handler_that_answers_with_a_problem_cannot_be_measured(tmp_path):
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"no photo")
    setup = {"core": None, "inputs": {SIZE: str(photo)}, "models": {}}

    with pytest.raises(UnavailableError) as found:
        Worker("ours", setup, tmp_path / "log")

    assert "415" in found.value.reason
