"""The gate on int8 files: what it refuses, by how much, and what it chooses of the rest."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from train.export.gate import Candidate, Limits, Measured, closest, rank, refusals
from train.export.int8 import Recipe, largest_pair, pair_sums

LIMITS = Limits(min_agreement=0.99, max_accuracy_loss=0.01, max_time_ratio=1.0)
GOOD = Measured(
    photos=300,
    agreed=297,
    correct_float32=273,
    correct_int8=270,
    unsure_changed=4,
    mean_difference=0.002,
    largest_difference=0.2,
    time_ratio=0.7,
    largest_pair=128,
)


def test_a_file_that_just_keeps_every_limit_passes():
    assert refusals(GOOD, LIMITS) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"agreed": 296}, "on 4 of 300 photos: agreement 0.9867, at least 0.99 is needed"),
        ({"correct_int8": 269}, "269 of 300, float32's 273: 0.0133 lost, at most 0.01"),
        ({"time_ratio": 1.0}, "1.00 times float32's time, less than 1 is needed"),
        ({"time_ratio": float("nan")}, "less than 1 is needed"),
        (
            {"largest_pair": 129},
            "two weights is 129, at most 128 is exact on processors without VNNI",
        ),
    ],
)
def test_what_breaks_one_limit_is_refused_by_how_much(change, said):
    (line,) = refusals(replace(GOOD, **change), LIMITS)
    assert said in line


def test_a_file_that_gains_accuracy_passes():
    assert refusals(replace(GOOD, correct_int8=290), LIMITS) == []


def test_figures_carry_their_intervals():
    figures = GOOD.figures()
    low, high = figures["agreement_interval_95"]
    # Wilson's formula by hand: (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n), p = 0.99.
    assert (round(low, 4), round(high, 4)) == (0.9710, 0.9966)
    assert figures["accuracy_int8"] == 0.9


def test_of_those_that_pass_the_closest_to_float32_comes_first():
    def candidate(first: int, refused: list[str], **change) -> Candidate:
        return Candidate(Recipe("minmax", "paired", first), replace(GOOD, **change), refused)

    refused = candidate(0, ["slow"], mean_difference=0.0)
    far = candidate(1, [], mean_difference=0.004)
    slow = candidate(2, [], mean_difference=0.001, time_ratio=0.8)
    fast = candidate(3, [], mean_difference=0.001, time_ratio=0.6)
    assert rank([refused, far, slow, fast]) == [fast, slow, far]


def test_the_closest_failure_has_the_fewest_reasons():
    recipe = Recipe("minmax", "paired", 0)
    near = Candidate(recipe, replace(GOOD, mean_difference=0.01), ["slow"])
    far = Candidate(recipe, replace(GOOD, mean_difference=0.02), ["slow"])
    worse = Candidate(recipe, GOOD, ["slow", "wrong"])
    assert closest([worse, far, near]) is near


def test_a_pair_is_the_two_largest_weights_of_one_sign():
    rows = np.array([[100, 27, -90, -30], [127, -1, -2, -3], [-64, -64, -64, 0], [5, 0, 0, 0]])
    assert pair_sums(rows).tolist() == [127, 127, 128, 5]
    assert pair_sums(np.array([[-7]])).tolist() == [7]


def write_dequantized(path, weights: np.ndarray, operator: str) -> None:
    """A graph of one operator whose weights are stored as int8."""
    nodes = [
        helper.make_node("DequantizeLinear", ["w8", "scale"], ["w"]),
        helper.make_node(operator, ["x", "w"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("x", "y")]
    tensors = [
        numpy_helper.from_array(weights.astype(np.int8), "w8"),
        numpy_helper.from_array(np.array(1, np.float32), "scale"),
    ]
    graph = helper.make_graph(nodes, "one", values[:1], values[1:], tensors)
    onnx.save(helper.make_model(graph), str(path))


def test_a_convolution_pairs_weights_of_one_output_channel_only(tmp_path):
    weights = np.array([[100, 5], [90, 7]])
    write_dequantized(tmp_path / "conv.onnx", weights.reshape(2, 2, 1, 1), "Conv")
    write_dequantized(tmp_path / "matmul.onnx", weights, "MatMul")
    assert largest_pair(tmp_path / "conv.onnx") == 105
    assert largest_pair(tmp_path / "matmul.onnx") == 190


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--photos", "0"), "--photos"),
        (("--float-first", "-1"), "--float-first"),
    ],
)
def test_numbers_out_of_range_name_their_flag(flags, named, capsys):
    from train.__main__ import main

    assert main(["quantize", "run", *flags]) == 2
    assert named in capsys.readouterr().err
