"""Who is measured: handlers that take a JPEG, and runtimes that take a batch of one.

Each class loads its model files and prepares a request from a file's bytes; neither is timed. Each
uses one thread. Libraries are imported inside the classes, so that a library that is not installed
only costs its own row.

The workshop's and torch's handlers get the JPEG's bytes, as after a download. Only ours also
decodes base64, reads an event and writes a log line.
"""

import zipfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np

Models = Mapping[str, Any]  # what `benchmarks.peers.models.prepare` returns


class Contestant(Protocol):
    """One way to answer a request."""

    def request_of(self, data: bytes) -> Any:
        """Prepare what `answer` takes from a file's bytes; not timed."""
        ...

    def answer(self, request: Any) -> Any:
        """Answer the request; this is timed."""
        ...

    def facts(self) -> dict[str, Any]:
        """What to record beside the times."""
        ...


class _Plain:
    """A contestant that takes the file's bytes and records nothing else."""

    def request_of(self, data: bytes) -> Any:
        return data

    def facts(self) -> dict[str, Any]:
        return {}


class _Context:
    """Lambda's context of an invocation."""

    aws_request_id = "00000000-0000-0000-0000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        return 29_000


class Ours(_Plain):
    """lambda_function.lambda_handler with the bundled model and default settings.

    The event is API Gateway's (payload format 2.0) with the photo as its body.
    """

    def __init__(self, models: Models) -> None:
        from lambda_function import lambda_handler

        self._handler, self._context = lambda_handler, _Context()

    def request_of(self, data: bytes) -> Any:
        from local.gateway import HttpRequest, event_of

        kind = "application/octet-stream"
        headers = (("Content-Type", kind), ("Accept", "*/*"), ("User-Agent", "curl/8.5.0"))
        return event_of(HttpRequest("POST", "/predict", headers, data))

    def answer(self, request: Any) -> Any:
        answer = self._handler(request, self._context)
        assert answer["statusCode"] == 200, answer
        return answer


class Workshop(_Plain):
    """The workshop's handler: ONNX Runtime, keras-image-helper, raw scores.

    Its session has default options except for the threads. By default ONNX Runtime starts a thread
    for each core of the machine; pinned to one core, they wait for each other, and inference takes
    twice the time. One thread is faster for it.
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
        self._session = onnxruntime.InferenceSession(models["workshop"], options)
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
    """Serving with torch: PIL, torchvision's transforms, the network in eager mode."""

    def __init__(self, models: Models) -> None:
        import torch
        from torchvision.transforms import v2

        from train.config import NetworkConfig
        from train.networks.transfer import build

        torch.set_num_threads(1)
        self._torch, self._classes = torch, models["classes"]
        self._network = build(NetworkConfig(weights="none"), len(self._classes)).eval()
        self._network.load_state_dict(torch.load(models["workshop_weights"], weights_only=True))
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


class TorchBatches(TorchHandler):
    """torch with many photos at once, from an archive of them: what a script for a folder does."""

    def request_of(self, data: bytes) -> Any:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            return [archive.read(name) for name in archive.namelist()]

    def answer(self, request: Any) -> Any:
        from PIL import Image

        images = [Image.open(BytesIO(data)).convert("RGB") for data in request]
        batch = self._torch.stack([self._transform(image) for image in images])  # (N, 3, 224, 224)
        with self._torch.inference_mode():
            return self._network(batch).argmax(1).tolist()


class Runtime:
    """A runtime that takes a (1, 3, H, W) float32 batch, read from a file's bytes."""

    _file = "bundled"  # of `Models`

    def __init__(self, models: Models) -> None:
        self._px: int = models["px"]
        self._load(models[self._file])

    def _load(self, file: str) -> None:
        raise NotImplementedError

    def request_of(self, data: bytes) -> Any:
        return np.frombuffer(data, np.float32).reshape(-1, 3, self._px, self._px)

    def facts(self) -> dict[str, Any]:
        return {}


class OnnxRuntime(Runtime):
    """serving.model.classifier on the bundled model, as the function loads it."""

    def _load(self, file: str) -> None:
        from serving.model.classifier import Classifier

        self._classifier = Classifier.load(Path(file))

    def answer(self, request: Any) -> Any:
        return self._classifier.logits(request)


class OpenVino(Runtime):
    """OpenVINO on the bundled model. Its input is fixed to one image, which runs faster."""

    _file = "bare"

    def _load(self, file: str) -> None:
        import openvino

        core = openvino.Core()
        model = core.read_model(file)
        model.reshape([1, 3, self._px, self._px])
        options = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
        self._compiled = core.compile_model(model, "CPU", options)
        self._request = self._compiled.create_infer_request()

    def answer(self, request: Any) -> Any:
        return self._request.infer({0: request}, share_inputs=True)[0]

    def facts(self) -> dict[str, Any]:
        """How many convolutions each implementation runs: shows whether int8 is used."""
        counts: dict[str, int] = {}
        for node in self._compiled.get_runtime_model().get_ordered_ops():
            info = node.get_rt_info()
            if _text(info["layerType"]) == "Convolution":
                kind = _text(info["primitiveType"])  # such as jit_avx2_I8
                counts[kind] = counts.get(kind, 0) + 1
        return {"convolutions_by_implementation": counts}


def _text(value: Any) -> str:
    """A value of OpenVINO's runtime information, which some versions wrap."""
    return str(getattr(value, "value", value))


HANDLERS: Mapping[str, Callable[[Models], Contestant]] = {
    "ours": Ours,
    "workshop": Workshop,
    "torch eager": TorchHandler,
}
RUNTIMES: Mapping[str, Callable[[Models], Contestant]] = {
    "ONNX Runtime": OnnxRuntime,
    "OpenVINO": OpenVino,
}
BATCHES: Mapping[str, Callable[[Models], Contestant]] = {"torch in batches": TorchBatches}
BY_NAME = {**HANDLERS, **RUNTIMES, **BATCHES}
