"""Where the milliseconds of our handler go: by stage of a request, and by kind of layer.

    python -m benchmarks.breakdown [--quick]

Stages are those that an answer's `timings_ms` tell; what is left of the whole is the event, base64,
the limits and the answer. Layers are those of the bundled model's first network, timed by ONNX
Runtime's profiler, beside the multiply-adds that each kind needs. A large matrix product, int8 and
float32, shows what this processor reaches where nothing else is in the way. One core, one thread.
"""

import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import tyro
from onnx import TensorProto, helper

from benchmarks import models, photos
from benchmarks.contestants import Ours
from benchmarks.networks import layer_weights
from benchmarks.results import RESULTS, Results
from benchmarks.rounds import on_last_cores
from serving.model.classifier import Classifier, session_options

NAME = "breakdown"
STAGES = ("decode", "preprocess", "inference")
REST, WHOLE = "all else", "handler"
_CONVOLUTIONS = ("Conv", "QLinearConv")
_SIDE = 1_024  # of the matrices of the products


@dataclass(frozen=True, slots=True)
class Config:
    """Tell where the milliseconds of the handler go."""

    rounds: int = 100
    """Requests with each photo, inferences, and matrix products."""
    quick: bool = False
    """A trial of 3, whose figures mean little."""
    out: Path = RESULTS
    """Folder for the figures."""


@dataclass(frozen=True, slots=True)
class Layers:
    """One kind of layer: how many there are, and what one inference spends on them."""

    count: int
    mean_ms: float
    multiply_adds: int


def stages(rounds: int) -> dict[str, dict[str, float]]:
    """Of each photo, the median milliseconds of each stage, the rest, and the whole."""
    ours = Ours({})
    requests = {kind: ours.request_of(photos.jpeg(kind)) for kind in photos.KINDS}
    found: dict[str, dict[str, list[float]]] = {kind: defaultdict(list) for kind in requests}
    for request in requests.values():
        ours.answer(request)  # the first of each loads what is loaded late
    for _ in range(rounds):
        for kind, request in requests.items():
            started = time.perf_counter()
            answer = ours.answer(request)
            whole_ms = (time.perf_counter() - started) * 1000
            timings_ms = json.loads(answer["body"])["timings_ms"]
            row = {stage: timings_ms[stage] for stage in STAGES}
            row |= {REST: whole_ms - sum(row.values()), WHOLE: whole_ms}
            for stage, duration_ms in row.items():
                found[kind][stage].append(duration_ms)
    return {
        kind: {stage: float(np.median(all_)) for stage, all_ in of.items()}
        for kind, of in found.items()
    }


def layers(path: Path, rounds: int) -> dict[str, Layers]:
    """The kinds of layer of a network, the dearest first."""
    contract = Classifier.load(path).contract
    with tempfile.TemporaryDirectory() as folder:
        options = session_options(threads=1)
        options.enable_profiling = True
        options.profile_file_prefix = f"{folder}/profile"
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        batch = {session.get_inputs()[0].name: photos.pictures(contract, 1)}
        for _ in range(rounds):
            session.run(None, batch)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    nodes = [e for e in events if e["cat"] == "Node" and e["name"].endswith("_kernel_time")]
    weights = [w.shape for _, w, _ in layer_weights(onnx.load(str(path))) if w.ndim == 4]
    return _by_kind(nodes, weights, rounds)


def _by_kind(
    nodes: Sequence[Mapping[str, Any]], weights: Sequence[tuple[int, ...]], rounds: int
) -> dict[str, Layers]:
    """The profiler's events, `rounds` inferences one after another, by kind of layer.

    Convolutions are told by their weights' shapes, (out, in per group, height, width), which come
    in the order in which the network, a chain, goes through them.
    """
    calls: dict[str, int] = defaultdict(int)
    spent_us: dict[str, float] = defaultdict(float)
    multiply_adds: dict[str, int] = defaultdict(int)
    convolutions = 0
    for node in nodes:
        operator, kind = node["args"]["op_name"], "all else"
        if operator in _CONVOLUTIONS:
            shape = weights[convolutions % len(weights)]
            convolutions += 1
            kind = _kind(operator, shape)
            [[output]] = [list(one.values()) for one in node["args"]["output_type_shape"]]
            multiply_adds[kind] += int(np.prod(output)) * int(np.prod(shape[1:]))
        calls[kind] += 1
        spent_us[kind] += node["dur"]
    if convolutions != rounds * len(weights):
        raise ValueError("The profile has other convolutions than the file.")
    return {
        kind: Layers(calls[kind] // rounds, spent / rounds / 1000, multiply_adds[kind] // rounds)
        for kind, spent in sorted(spent_us.items(), key=lambda item: -item[1])
    }


def _kind(operator: str, shape: tuple[int, ...]) -> str:
    numbers = "int8" if operator == "QLinearConv" else "float32"
    if shape[2:] == (1, 1):
        return f"pointwise convolutions, {numbers}"
    return f"{'depthwise' if shape[1] == 1 else 'full'} convolutions, {numbers}"


def products_per_s(rounds: int) -> dict[str, float]:
    """Multiply-adds a second of a product of two large matrices, by what they hold."""
    random, shape = np.random.default_rng(0), (_SIDE, _SIDE)
    left = random.integers(0, 255, shape, np.uint8)
    right = random.integers(-64, 64, shape, np.int8)  # 7 bits, as the bundled model's weights
    float_left, float_right = left.astype(np.float32), right.astype(np.float32)
    products = {
        "int8": (left, _product("MatMulInteger", left, right, TensorProto.INT32)),
        "float32": (float_left, _product("MatMul", float_left, float_right, TensorProto.FLOAT)),
    }
    found = {}
    for name, (matrix, session) in products.items():
        durations_s = []
        for _ in range(rounds):
            started = time.perf_counter()
            session.run(None, {"left": matrix})
            durations_s.append(time.perf_counter() - started)
        found[name] = _SIDE**3 / float(np.median(durations_s))
    return found


def _product(operator: str, left: Any, right: Any, result: int) -> onnxruntime.InferenceSession:
    graph = helper.make_graph(
        [helper.make_node(operator, ["left", "right"], ["product"])],
        "product",
        [
            helper.make_tensor_value_info(
                "left", helper.np_dtype_to_tensor_dtype(left.dtype), left.shape
            )
        ],
        [helper.make_tensor_value_info("product", result, left.shape)],
        [onnx.numpy_helper.from_array(right, "right")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    options = session_options(threads=1)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def told(
    by_stage: Mapping[str, Mapping[str, float]],
    by_kind: Mapping[str, Layers],
    per_s: Mapping[str, float],
) -> str:
    """Both tables, and how far each kind of layer is from a large matrix product."""
    rows = [*STAGES, REST, WHOLE]
    lines = [f"{'milliseconds':<34}" + "".join(f"{kind:>18}" for kind in by_stage)]
    lines += [
        f"{row:<34}" + "".join(f"{of[row]:>18.1f}" for of in by_stage.values()) for row in rows
    ]
    lines.append(f"\n{'layers of the first network':<34}{'count':>6}{'ms':>7}{'M mult-adds':>13}")
    for kind, of in by_kind.items():
        rate = f"{of.multiply_adds / of.mean_ms / 1e6:>8.0f} G/s" if of.multiply_adds else ""
        lines.append(
            f"{kind:<34}{of.count:>6}{of.mean_ms:>7.2f}{of.multiply_adds / 1e6:>13.1f}{rate}"
        )
    lines += [
        f"a large matrix product, {name}: {rate / 1e9:.0f} G/s" for name, rate in per_s.items()
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write the JSON."""
    config = tyro.cli(Config, args=arguments, description=Config.__doc__)
    rounds = 3 if config.quick else config.rounds
    with on_last_cores():
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):  # log lines
            by_stage = stages(rounds)
        by_kind, per_s = layers(models.BUNDLED, rounds), products_per_s(rounds)
    print(told(by_stage, by_kind, per_s))
    found = Results(NAME)
    found.measured = {
        "stages_ms": by_stage,
        "layers": {
            kind: {"count": of.count, "ms": of.mean_ms, "multiply_adds": of.multiply_adds}
            for kind, of in by_kind.items()
        },
        "product_multiply_adds_per_s": per_s,
    }
    print(f"The figures are in {found.write(config.out)}.")


if __name__ == "__main__":
    main()
