"""A float32 ONNX file and calibration photos in, int8 candidates out, one for each recipe.

Activations become uint8 and weights int8 with a scale per output channel, in the QDQ form. On x86
processors without VNNI, one instruction (VPMADDUBSW) multiplies two pairs of uint8 and int8 and
adds the products in 16 bits, where they silently saturate: 2 x 255 x 127 is 64,770, and the maximum
is 32,767. Lambda guarantees only AVX2, so `paired` weights are scaled to avoid this. Biases are
corrected for the shift of each layer's mean (train/export/bias_correction.py).
"""

import contextlib
import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quant_pre_process,
    quantize_static,
)

from serving.model.preprocess import PreprocessSpec, normalize
from train.export.bias_correction import correct_biases, layer_means
from train.export.explanation import hide
from train.export.onnx import contract_in, with_contract
from train.photos.pixels import PixelRows

Method = Literal["minmax", "percentile", "entropy"]
Weights = Literal["eight", "seven", "paired"]

_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}

# Products of two weights of one sign fit into 16 bits if the weights' sum is at most this:
# 255 x 128 = 32,640.
SAFE_PAIR = 128
_LARGEST = 127

# Photos whose activations are in memory at once; about 25 MB each for MobileNetV2.
_STRIDE = 10

# Photos for the bias correction, all in memory at once. For one MobileNetV2, 25, 50 and 100 photos
# each removed two thirds of the difference from float32.
_CORRECTED_ON = 25


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a candidate is made.

    Attributes:
        method: how the range of an activation is calibrated.
        weights: `eight` bits, which may saturate; `seven` bits, which cannot; `paired`, the finest
            scale per channel that cannot.
        float_first: this many of the first convolutions, and the last layer, stay float32; 0
            quantises all layers.
    """

    method: Method
    weights: Weights
    float_first: int

    def __str__(self) -> str:
        kept = f", first {self.float_first} and last float32" if self.float_first else ""
        return f"{self.method}, {self.weights} weights{kept}"


def recipes(
    methods: Sequence[Method], weights: Sequence[Weights], float_first: Sequence[int]
) -> list[Recipe]:
    """Every combination, in the order given."""
    return [Recipe(*parts) for parts in itertools.product(methods, weights, float_first)]


class Quantizer:
    """Makes candidates of one float32 file; activation ranges are measured once per method."""

    def __init__(
        self, float32: Path, spec: PreprocessSpec, pixels: PixelRows, folder: Path
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._spec, self._pixels = folder, spec, pixels
        self._prepared = folder / "prepared.onnx"
        # Folds constants and batch-norm; symbolic shapes are not needed for these networks.
        model = onnx.load(str(float32))
        hide(model)  # each int8 file exposes its own
        self._contract = contract_in(model)
        bare = folder / "bare.onnx"
        onnx.save(model, str(bare))
        quant_pre_process(str(bare), str(self._prepared), skip_symbolic_shape=True)
        self._graph = onnx.load(str(self._prepared)).graph

    @cached_property
    def _correction_batch(self) -> NDArray[np.float32]:
        """Some of the photos, spread over the classes, as the network's input."""
        chosen = np.linspace(0, len(self._pixels) - 1, min(_CORRECTED_ON, len(self._pixels)))
        return normalize(self._pixels[chosen.astype(int)], self._spec)

    @cached_property
    def _means(self) -> dict[str, NDArray[np.float64]]:
        return layer_means(self._prepared, self._correction_batch)

    def path_of(self, recipe: Recipe) -> Path:
        """The file that `make` writes for a recipe."""
        return self._folder / f"{recipe.method}-{recipe.weights}-{recipe.float_first}.onnx"

    def make(self, recipe: Recipe) -> Path:
        """Write the candidate of a recipe; its contract is the float32 file's."""
        out = self.path_of(recipe)
        with contextlib.redirect_stdout(io.StringIO()):  # the calibrators print progress
            quantize_static(
                self._prepared,
                out,
                _Photos(self._graph.input[0].name, self._spec, self._pixels),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=recipe.weights != "eight",
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=[
                    *_kept_in_float(self._graph, recipe.float_first),
                    *of_distance(self._graph),
                ],
                calibrate_method=_METHODS[recipe.method],
                calibration_cache_path=self._folder / f"{recipe.method}.json",
                extra_options={
                    "CalibStridedMinMax": _stride(len(self._pixels)),
                    "TensorQuantOverrides": (
                        paired_scales(self._graph) if recipe.weights == "paired" else {}
                    ),
                },
            )
        correct_biases(out, self._means, self._correction_batch)
        out.write_bytes(with_contract(onnx.load(str(out)), self._contract))
        return out


def _stride(photos: int) -> int:
    """The calibrators need strides of one size: the largest one that divides the photos."""
    return max(size for size in range(1, _STRIDE + 1) if photos % size == 0)


class _Photos(CalibrationDataReader):  # type: ignore[misc]
    """Calibration photos as the network's input, one after another."""

    def __init__(self, name: str, spec: PreprocessSpec, pixels: PixelRows) -> None:
        self._name, self._spec, self._pixels = name, spec, pixels
        self.set_range(0, len(pixels))

    def __len__(self) -> int:
        return len(self._pixels)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._left = iter(range(start_index, end_index))

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        index = next(self._left, None)
        if index is None:
            return None
        return {self._name: normalize(self._pixels[index : index + 1], self._spec)}


def _kept_in_float(graph: onnx.GraphProto, first: int) -> list[str]:
    if not first:
        return []
    aside = set(of_distance(graph))
    convolutions = [node.name for node in graph.node if node.op_type == "Conv"]
    linear = [
        node.name
        for node in graph.node
        if node.op_type in ("Gemm", "MatMul") and node.name not in aside
    ]
    return convolutions[:first] + linear[-1:]


def of_distance(graph: onnx.GraphProto) -> list[str]:
    """The nodes that only the second output, the distance, needs; they stay float32."""
    logits, *others = (output.name for output in graph.output)
    makers = {name: node for node in graph.node for name in node.output}

    def needed(output: str) -> set[str]:
        found: set[str] = set()
        names = [output]
        while names:
            node = makers.get(names.pop())
            if node is not None and node.name not in found:
                found.add(node.name)
                names += node.input
        return found

    return sorted(set().union(*map(needed, others)) - needed(logits))


def paired_scales(graph: onnx.GraphProto) -> dict[str, list[dict[str, Any]]]:
    """For each output channel of a convolution, the weight range in which no two products saturate.

    Rounding moves each weight by at most half a step, so two weights of 127 steps become at most
    128.
    """
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    names = {node.input[1] for node in graph.node if node.op_type == "Conv"} & weights.keys()
    return {
        name: [
            {
                "quant_type": QuantType.QInt8,
                "axis": 0,
                "symmetric": True,
                "reduce_range": False,
                "rmin": np.float32(-widest),
                "rmax": np.float32(widest),
            }
            for widest in pair_sums(weights[name].reshape(len(weights[name]), -1))
        ]
        for name in sorted(names)
    }


def pair_sums(rows: NDArray[Any]) -> NDArray[Any]:
    """(R, W) weights -> (R,): the largest absolute sum of two weights of one sign in each row."""
    ordered = np.sort(rows, axis=1)
    positive = np.maximum(ordered[:, -2:], 0).sum(axis=1)
    negative = np.maximum(-ordered[:, :2], 0).sum(axis=1)
    largest: NDArray[Any] = np.maximum(positive, negative)
    return largest


def largest_pair(model: Path) -> int:
    """The largest sum of two int8 weights of one sign whose products may be added in 16 bits.

    Up to SAFE_PAIR nothing saturates, whichever two weights the kernel pairs.
    """
    graph = onnx.load(str(model)).graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    consumers = {name: node.op_type for node in graph.node for name in node.input}
    largest = 0
    for node in graph.node:
        stored = tensors.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if stored is None or stored.data_type != onnx.TensorProto.INT8 or len(stored.dims) < 2:
            continue
        values = numpy_helper.to_array(stored).astype(np.int64)
        # A convolution adds products of one output channel; other operators may add any two.
        channels = len(values) if consumers.get(node.output[0]) == "Conv" else 1
        largest = max(largest, int(pair_sums(values.reshape(channels, -1)).max()))
    return largest
