"""Runtimes that are measured on inference alone: each takes a batch of one, ready for the network.

Each loads itself from the files that it is given and reads its batch from a file's bytes, which is
not timed. Each has one thread. Libraries are imported inside, so that one that is not installed is
the only one missing.
"""

import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import litert

Models = Mapping[str, Any]  # files by what they are for, "classes" and "px", the input's size


def file_of(models: Models, name: str) -> str:
    """A model file; raises RuntimeError saying why it was not made."""
    if name not in models:
        raise RuntimeError(models.get(f"no {name}", f"there is no {name} file"))
    file: str = models[name]
    return file


class Runtime:
    """A runtime that takes a (1, 3, H, W) float32 batch, read from a file's bytes."""

    def __init__(self, models: Models) -> None:
        self._px: int = models["px"]
        self._load(models)

    def _load(self, models: Models) -> None:
        raise NotImplementedError

    def request_of(self, data: bytes) -> Any:
        return np.frombuffer(data, np.float32).reshape(-1, 3, self._px, self._px)

    def facts(self) -> dict[str, Any]:
        return {}


class OnnxRuntime(Runtime):
    """serving.model.classifier on a model file, as the function loads it."""

    file = "bundled"

    def _load(self, models: Models) -> None:
        from serving.model.classifier import Classifier

        self._classifier = Classifier.load(Path(file_of(models, self.file)))

    def answer(self, request: Any) -> Any:
        return self._classifier.logits(request)


class OnnxRuntimeInt8(OnnxRuntime):
    """The same on the int8 file."""

    file = "int8"


class OpenVino(Runtime):
    """OpenVINO on an ONNX file, its input fixed to one image, which it runs faster."""

    file = "float"

    def _load(self, models: Models) -> None:
        import openvino

        core = openvino.Core()
        model = core.read_model(file_of(models, self.file))
        model.reshape([1, 3, self._px, self._px])
        options = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
        self._compiled = core.compile_model(model, "CPU", options)
        self._request = self._compiled.create_infer_request()

    def answer(self, request: Any) -> Any:
        return self._request.infer({0: request}, share_inputs=True)[0]

    def facts(self) -> dict[str, Any]:
        """Which implementation runs how many convolutions: whether int8 really is int8."""
        counts: dict[str, int] = {}
        for node in self._compiled.get_runtime_model().get_ordered_ops():
            told = node.get_rt_info()
            if _text(told["layerType"]) == "Convolution":
                kind = _text(told["primitiveType"])  # such as jit_avx2_I8
                counts[kind] = counts.get(kind, 0) + 1
        return {"convolutions_by_implementation": counts}


def _text(told: Any) -> str:
    """A fact of OpenVINO's runtime model, which some versions wrap."""
    return str(getattr(told, "value", told))


class OpenVinoInt8(OpenVino):
    """OpenVINO on the int8 file."""

    file = "int8"


class LiteRt(Runtime):
    """LiteRT on its int8 file, which takes int8 NHWC: that step is before the clock starts."""

    def _load(self, models: Models) -> None:
        sys.path.append(str(litert.packages()))
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(file_of(models, "tflite"), num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]["index"]

    def request_of(self, data: bytes) -> Any:
        batch = super().request_of(data).transpose(0, 2, 3, 1)  # (1, H, W, 3)
        scale, zero = self._input["quantization"]
        limits = np.iinfo(self._input["dtype"])
        steps = np.clip(np.round(batch / scale + zero), limits.min, limits.max)
        return np.ascontiguousarray(steps.astype(self._input["dtype"]))

    def answer(self, request: Any) -> Any:
        self._interpreter.set_tensor(self._input["index"], request)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)


class Torch(Runtime):
    """The network in eager mode."""

    def _load(self, models: Models) -> None:
        import torch

        from benchmarks.models import seeded_network

        file_of(models, "float")  # exists only where the bundled model has these layers
        torch.set_num_threads(1)
        self._torch, self._network = torch, seeded_network(self._px)

    def request_of(self, data: bytes) -> Any:
        return self._torch.from_numpy(super().request_of(data).copy())

    def answer(self, request: Any) -> Any:
        with self._torch.inference_mode():
            return self._network(request)


class TorchScript(Torch):
    """The network traced and frozen."""

    def _load(self, models: Models) -> None:
        super()._load(models)
        self._network = frozen(self._network, self._px)


def frozen(network: Any, px: int) -> Any:
    """A network as frozen TorchScript, which folds batch-norm, after its optimising first runs."""
    import torch

    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, and says so at each call
        images = torch.zeros(1, 3, px, px)
        traced = torch.jit.trace(network, images)  # type: ignore[no-untyped-call]
        script = torch.jit.freeze(torch.jit.script(traced).eval())
        for _ in range(3):
            script(images)
    return script
