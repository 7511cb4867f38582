"""The hook's comparison: which answers pass and which do not."""

import json

import pytest

from ops.hook import pretraffic
from ops.hook.pretraffic import Golden, check, differences, load, softmax, verdict

GOLDEN = Golden("red.jpg", b"jpeg", "red", {"red": 0.7, "green": 0.2, "blue": 0.1}, 1e-3)


def answer(**probabilities):
    ordered = sorted(probabilities.items(), key=lambda pair: -pair[1])
    predictions = [{"label": label, "probability": p} for label, p in ordered]
    return {"label": ordered[0][0], "predictions": predictions}


def test_an_answer_within_the_tolerance_agrees():
    assert differences(GOLDEN, answer(red=0.7005, green=0.1995, blue=0.1)) == []


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (answer(red=0.71, green=0.19, blue=0.1), "probability of"),
        (answer(red=0.2, green=0.7, blue=0.1), "label green, expected red"),
        (answer(red=float("nan"), green=0.2, blue=0.1), "probability of red nan"),
        (answer(red=0.7, green=0.2), "unexpected classes"),
        (answer(red=0.7, green=0.2, violet=0.1), "unexpected classes"),
        ({"status": 415, "detail": "no image"}, "not a prediction: no image"),
        ({"errorMessage": "it crashed"}, "not a prediction: it crashed"),
        (None, "not a prediction: null"),
        ([1], "not a prediction: [1]"),
        (True, "not a prediction: true"),
        ({"predictions": [0.1, 0.9]}, "not a prediction: {"),
        ({"predictions": "red"}, "not a prediction: {"),
        ({"predictions": [{"label": "red"}]}, "not a prediction: {"),
    ],
)
def test_an_answer_that_differs_is_told(said, line):
    assert line in "\n".join(differences(GOLDEN, said))


def test_the_expected_probabilities_are_calibrated():
    # e^(2/2) : e^(0/2) = e : 1
    assert softmax([2.0, 0.0], 2.0) == pytest.approx([0.7310585786, 0.2689414214])
    assert softmax([2000.0, 0.0], 1.0) == [1.0, 0.0]


def test_every_difference_of_every_picture_is_told():
    wrong = answer(red=0.2, green=0.7, blue=0.1)
    assert len(check([GOLDEN, GOLDEN], lambda event: wrong)) == 4


def test_a_check_that_fails_to_run_blocks_the_version(tmp_path):
    (line,) = verdict(tmp_path, lambda event: answer(red=1.0))
    assert "failed to run" in line


def test_expectations_without_a_picture_are_refused(tmp_path):
    text = json.dumps({"classes": [], "pictures": []})
    (tmp_path / pretraffic.EXPECTATIONS).write_text(text)
    with pytest.raises(ValueError, match="no picture"):
        load(tmp_path)


def test_the_pictures_that_ship_with_the_hook_are_our_own_drawings():
    drawn = pretraffic.GOLDEN.parents[2] / "samples"
    goldens = load()
    assert len(goldens) >= 10
    for golden in goldens:
        assert golden.picture == (drawn / golden.name).read_bytes()
