"""A run's folder or an ONNX file in, a model that turns photos into logits out.

Both use serving's preprocessing, so their figures differ only by the network.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from serving.model.classifier import Classifier, Inference
from serving.model.contract import Contract
from serving.model.preprocess import PreprocessSpec, normalize
from train.errors import UsageError
from train.networks.backbones import preprocessing, require_size
from train.networks.torch_model import TorchModel
from train.photos.manifest import Manifest
from train.photos.pixels import PixelRows, Pixels, cached_pixels, file_pixels
from train.runs.model import TrainedModel, load_model

_BATCH = 32
_ROUNDS, _WARM_UP = 31, 3  # of timing

Clock = Callable[[], float]


class Model(Protocol):
    """What evaluation and prediction need from a model."""

    @property
    def contract(self) -> Contract: ...

    def infer(self, batch: NDArray[np.float32]) -> Inference:
        """(N, 3, H, W) float32 -> (N, C) logits, and (N,) distances or None, float32."""
        ...


class ExplainingModel(Model, Protocol):
    """A model that can say which parts of a photo its answer comes from."""

    def explain(self, batch: NDArray[np.float32]) -> tuple[Inference, NDArray[np.float32] | None]:
        """As `infer`, and (N, h, w) maps of the most likely classes; None if not exact."""
        ...


def open_model(path: Path, input_px: int | None = None) -> ExplainingModel:
    """Open a run's folder or an ONNX file; a run can also be opened at another input size.

    Raises:
        UsageError: it is neither, or `input_px` is given for an ONNX file, whose size is fixed.
        ContractError: the ONNX file has no contract that serving can honour.
    """
    if path.is_dir():
        trained = load_model(path)
        return TorchModel(trained.network, contract_of(trained, input_px))
    if path.suffix == ".onnx" and path.is_file():
        if input_px is not None:
            raise UsageError(f"--input-px is for a run: the input size of {path} is fixed.")
        return Classifier.load(path, threads=torch.get_num_threads())
    raise UsageError(f"{path} is neither a run's folder nor an ONNX file.")


def contract_of(trained: TrainedModel, input_px: int | None = None) -> Contract:
    """The contract of a run, before calibration and measurement.

    `input_px` is another input size than the run's own. A network is often better at a somewhat
    larger size, because random crops make objects look larger in training (Touvron et al. 2019,
    "Fixing the train-test resolution discrepancy").

    Raises:
        UsageError: the network does not support that size.
    """
    config = trained.config
    own = config.network
    if input_px not in (None, own.input_px):
        require_size(trained.network, own.backbone, input_px, f"an input of {input_px} pixels")
    return Contract(
        name=f"{config.data.data.resolve().name}-{own.backbone}",
        classes=trained.classes,
        preprocess=preprocessing(own.backbone, input_px or own.input_px, config.data.levels),
        manifest_sha256=trained.manifest_sha256,
    )


def infer_split(model: Model, photos: Manifest, cache: Path) -> Inference:
    """What the model computes of every photo, through serving's preprocessing."""
    return infer_images(model, cached_pixels(photos, model.contract.preprocess, cache))


def split_logits(model: Model, photos: Manifest, cache: Path) -> NDArray[np.float32]:
    """(N, C) float32: the logits of every photo, through serving's preprocessing."""
    return infer_split(model, photos, cache).logits


def image_logits(model: Model, pixels: Pixels) -> NDArray[np.float32]:
    """(N, C) float32 of N pictures of the model's size, (N, H, W, 3) uint8."""
    return infer_images(model, pixels).logits


def infer_images(model: Model, pixels: PixelRows) -> Inference:
    """What the model computes of N pictures of its size, (N, H, W, 3) uint8."""
    parts = []
    few = len(pixels) <= _BATCH
    with tqdm(total=len(pixels), desc="evaluating", unit="img", leave=False, disable=few) as bar:
        for start in range(0, len(pixels), _BATCH):
            batch = normalize(pixels[start : start + _BATCH], model.contract.preprocess)
            parts.append(model.infer(batch))
            bar.update(len(batch))
    logits = np.concatenate([part.logits for part in parts])
    distances = [part.distances for part in parts if part.distances is not None]
    return Inference(logits, np.concatenate(distances) if distances else None)


def pixels_of_files(files: Sequence[bytes], spec: PreprocessSpec, max_pixels: int) -> Pixels:
    """(N, H, W, 3) uint8: image files as serving decodes and resizes them.

    Raises:
        RequestError: a file cannot be decoded.
    """
    return np.stack([file_pixels(content, spec, max_pixels) for content in files])


def medians_in_turns(computations: Sequence[Callable[[], object]], clock: Clock) -> list[float]:
    """The median time of each computation, all taking turns, after an uncounted warm-up.

    Taking turns spreads disturbances over all of them; a clock of the thread's processor time
    leaves out other processes.
    """
    taken: list[list[float]] = [[] for _ in computations]
    for _ in range(_WARM_UP + _ROUNDS):
        for compute, times in zip(computations, taken, strict=True):
            start = clock()
            compute()
            times.append(clock() - start)
    return [median(times[_WARM_UP:]) for times in taken]
