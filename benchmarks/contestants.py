"""Who is measured: handlers that take a JPEG, and runtimes that take a batch of one.

Each is a class that loads itself from the files that it is given and prepares a request from a
file's bytes, which is not timed. Each has one thread. Libraries are imported inside, so that one
that is not installed is missing alone.

The workshop's handler and torch's get the JPEG as the bytes that a download would have given them:
decoding base64, reading an event and writing a log line are our handler's alone to pay for.
"""

import base64
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks import litert

Models = Mapping[str, Any]  # files by what they are for, "classes" and "px", the input's size


def _file(models: Models, name: str) -> str:
    """A model file; raises RuntimeError saying why it was not made."""
    if name not in models:
        raise RuntimeError(models.get(f"no {name}", f"there is no {name} file"))
    file: str = models[name]
    return file


class Contestant(Protocol):
    """One way of answering."""

    def request_of(self, data: bytes) -> Any:
        """What `answer` takes, from a file's bytes; not timed."""
        ...

    def answer(self, request: Any) -> Any:
        """What is timed."""
        ...

    def facts(self) -> dict[str, Any]:
        """What to note of it beside its times."""
        ...


class _Plain:
    """A contestant that takes the bytes as they are and has nothing to tell."""

    def request_of(self, data: bytes) -> Any:
        return data

    def facts(self) -> dict[str, Any]:
        return {}


class _Context:
    """What Lambda tells the handler of an invocation."""

    aws_request_id = "00000000-0000-0000-0000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        return 29_000


class Ours(_Plain):
    """lambda_function.lambda_handler with the bundled model and everything on.

    The event is API Gateway's (payload format 2.0) with the photo as the request's body.
    """

    def __init__(self, models: Models) -> None:
        from lambda_function import lambda_handler

        self._handler, self._context = lambda_handler, _Context()

    def request_of(self, data: bytes) -> Any:
        from local.gateway import HttpRequest, event_of

        headers = (("Content-Type", "image/jpeg"), ("Accept", "*/*"), ("User-Agent", "curl/8.5.0"))
        return event_of(HttpRequest("POST", "/predict", headers, data))

    def answer(self, request: Any) -> Any:
        answer = self._handler(request, self._context)
        assert answer["statusCode"] == 200, answer
        return answer


class OursDirect(Ours):
    """The same by direct invocation: the event is {"image": base64}."""

    def request_of(self, data: bytes) -> Any:
        return {"image": base64.b64encode(data).decode("ascii")}

    def answer(self, request: Any) -> Any:
        answer = self._handler(request, self._context)
        assert "predictions" in answer, answer
        return answer


class OursBatch(Ours):
    """The same photo 16 times in one request, as JSON."""

    images = 16

    def request_of(self, data: bytes) -> Any:
        from local.gateway import HttpRequest, event_of

        return event_of(HttpRequest("POST", "/predict", JSON_HEADERS, batch_body(data)))


JSON_HEADERS = (("Content-Type", "application/json"),)


def batch_body(data: bytes, images: int = OursBatch.images) -> bytes:
    """The JSON body of a request for one photo several times."""
    import json

    item = {"image": base64.b64encode(data).decode("ascii")}
    return json.dumps({"images": [item] * images}).encode()


class Workshop(_Plain):
    """The workshop's handler: ONNX Runtime, keras-image-helper, raw scores.

    Its session has default options but for the threads: by default ONNX Runtime starts two on two
    cores, also for a process pinned to one, where each then waits for the other and an inference
    takes twice the time. One thread is the better case for it.
    """

    def __init__(self, models: Models) -> None:
        import onnxruntime
        from keras_image_helper import create_preprocessor

        mean = np.array([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1)
        std = np.array([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)

        def preprocess(pixels: Any) -> Any:  # (1, 224, 224, 3) float32 -> (1, 3, 224, 224)
            scaled = (pixels / 255.0).transpose(0, 3, 1, 2)
            return ((scaled - mean) / std).astype(np.float32)

        self._preprocessor = create_preprocessor(preprocess, target_size=(224, 224))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(_file(models, "workshop"), options)
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[0].name
        self._classes = models["classes"]

    def answer(self, request: Any) -> Any:
        from PIL import Image

        image = Image.open(BytesIO(request))
        batch = self._preprocessor.convert_to_tensor(image)
        scores = self._session.run([self._output], {self._input: batch})[0][0]
        return dict(zip(self._classes, scores.tolist(), strict=True))


class TorchHandler(_Plain):
    """What torch alone would serve with: PIL, torchvision's transforms, the network eagerly."""

    scripted = False

    def __init__(self, models: Models) -> None:
        import torch
        from torchvision.transforms import v2

        from train.config import NetworkConfig
        from train.network import build

        torch.set_num_threads(1)
        self._torch, self._classes = torch, models["classes"]
        network = build(NetworkConfig(weights="none"), len(self._classes)).eval()
        network.load_state_dict(torch.load(models["workshop_weights"], weights_only=True))
        self._network = frozen(network, 224) if self.scripted else network
        self._transform = v2.Compose(
            [
                v2.Resize((224, 224)),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ]
        )

    def answer(self, request: Any) -> Any:
        from PIL import Image

        image = Image.open(BytesIO(request)).convert("RGB")
        with self._torch.inference_mode():
            scores = self._network(self._transform(image)[None])[0]
        return dict(zip(self._classes, scores.tolist(), strict=True))


class TorchScriptHandler(TorchHandler):
    """The same with the network traced and frozen."""

    scripted = True


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


class _Runtime:
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


class OnnxRuntime(_Runtime):
    """serving.classifier on a model file, as the function loads it."""

    file = "bundled"

    def _load(self, models: Models) -> None:
        from serving.classifier import Classifier

        self._classifier = Classifier.load(Path(_file(models, self.file)))

    def answer(self, request: Any) -> Any:
        return self._classifier.logits(request)


class OnnxRuntimeInt8(OnnxRuntime):
    """The same on the int8 file."""

    file = "int8"


class OpenVino(_Runtime):
    """OpenVINO on an ONNX file, its input fixed to one image, which it runs faster."""

    file = "float"

    def _load(self, models: Models) -> None:
        import openvino

        core = openvino.Core()
        model = core.read_model(_file(models, self.file))
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


class LiteRt(_Runtime):
    """LiteRT on its int8 file, which takes int8 NHWC: that step is before the clock starts."""

    def _load(self, models: Models) -> None:
        sys.path.append(str(litert.packages()))
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(_file(models, "tflite"), num_threads=1)
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


class Torch(_Runtime):
    """The network in eager mode."""

    def _load(self, models: Models) -> None:
        import torch

        from benchmarks.models import network_of

        torch.set_num_threads(1)
        self._torch, self._network = torch, network_of(Path(models["bundled"]))

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


BY_NAME: Mapping[str, Callable[[Models], Contestant]] = {
    "ours": Ours,
    "ours, direct invocation": OursDirect,
    "ours, batch of 16": OursBatch,
    "workshop": Workshop,
    "torch eager": TorchHandler,
    "TorchScript, frozen": TorchScriptHandler,
    "ONNX Runtime": OnnxRuntime,
    "ONNX Runtime int8": OnnxRuntimeInt8,
    "OpenVINO float32": OpenVino,
    "OpenVINO int8": OpenVinoInt8,
    "LiteRT int8": LiteRt,
    "torch eager inference": Torch,
    "TorchScript inference": TorchScript,
}
HANDLERS: Sequence[str] = tuple(list(BY_NAME)[:2]) + tuple(list(BY_NAME)[3:6])
RUNTIMES: Sequence[str] = tuple(list(BY_NAME)[6:])
