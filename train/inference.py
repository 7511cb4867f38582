"""A run's folder or an ONNX file in, something that turns photos into logits out.

Both go through serving's preprocessing, so their figures differ by the network alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from serving.classifier import Classifier, both, calibrated, is_second_asked
from serving.contract import Contract, Second
from serving.preprocess import PreprocessSpec, normalize
from train import data
from train.backbones import preprocessing
from train.data import Manifest, Pixels
from train.errors import UsageError
from train.network import require_size
from train.saved import Trained, TrainedCascade, TrainedModel, load_model

SECOND_FILE = "second.onnx"
"""What a cascade's second network is called, beside its first."""
_NOT_WRITTEN = "0" * 64  # for the hash of the second file, until there is one
_BATCH = 32

PixelsOf = Callable[[PreprocessSpec], Pixels]
"""The same images at a spec's size: N of (H, W, 3) uint8."""


class Model(Protocol):
    """What evaluation and prediction need of a model."""

    @property
    def contract(self) -> Contract: ...

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, 3, H, W) float32 -> (N, C) float32; of the first model, where there is a second."""
        ...

    def second(self) -> "Model":
        """The model that the contract's `second` names."""
        ...


class TorchModel:
    """A run's network, or a cascade's two, answering like the ONNX file that is exported of it."""

    def __init__(self, trained: Trained, contract: Contract) -> None:
        self._trained, self._network = trained, trained.parts[0].network
        self.contract = contract

    @torch.inference_mode()
    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, 3, H, W) float32 -> (N, C) float32."""
        output: NDArray[np.float32] = self._network(torch.from_numpy(batch)).numpy()
        return output

    def second(self) -> "TorchModel":
        """The second network of a cascade."""
        assert isinstance(self._trained, TrainedCascade)
        return TorchModel(self._trained.second, second_contract(self._trained))


def open_model(path: Path, input_px: int | None = None) -> Model:
    """Open a run's folder or an ONNX file; a run of one network also takes another input size.

    Raises:
        UsageError: it is neither, or what has its size fixed is asked for another.
        ContractError: the ONNX file does not hold a contract that serving can honour.
    """
    if path.is_dir():
        trained = load_model(path)
        return TorchModel(trained, contract_of(trained, input_px))
    if path.suffix == ".onnx" and path.is_file():
        if input_px is not None:
            raise UsageError(f"--input-px is for a run: {path} has its size fixed by its contract.")
        return Classifier.load(path, threads=torch.get_num_threads())
    raise UsageError(f"{path} is neither a run's folder nor an ONNX file.")


def contract_of(trained: Trained, input_px: int | None = None) -> Contract:
    """What training alone knows of a run's contract: not yet calibrated, not yet measured.

    A network often does better at a somewhat larger size than it was trained at, since random crops
    make things look larger in training than they are (Touvron et al. 2019, "Fixing the train-test
    resolution discrepancy"); `input_px` is that size, None the one it was trained for. A cascade
    has its temperatures and sizes from its rule.

    Raises:
        UsageError: a cascade is asked for another size, or a network for one that it does not take.
    """
    if isinstance(trained, TrainedModel):
        own = trained.config.network
        if input_px not in (None, own.input_px):
            require_size(trained.network, own.backbone, input_px, f"an input of {input_px} pixels")
        return _contract(trained, input_px or own.input_px)
    if input_px is not None:
        raise UsageError("--input-px is for one network: a cascade was made with its sizes.")
    rule = trained.rule
    first = _contract(trained.first, rule.first_px)
    names = "-".join(part.config.network.backbone for part in trained.parts)
    return replace(
        first,
        name=f"{trained.config.data.data.resolve().name}-{names}",
        temperature=rule.first_temperature,
        second=Second(SECOND_FILE, _NOT_WRITTEN, rule.sure_above),
    )


def second_contract(cascade: TrainedCascade) -> Contract:
    """The contract of a cascade's second file."""
    contract = _contract(cascade.second, cascade.rule.second_px)
    return replace(contract, temperature=cascade.rule.second_temperature)


def _contract(trained: TrainedModel, input_px: int) -> Contract:
    config = trained.config
    return Contract(
        name=f"{config.data.data.resolve().name}-{config.network.backbone}",
        classes=trained.classes,
        preprocess=preprocessing(config.network.backbone, input_px),
        manifest_sha256=trained.manifest_sha256,
    )


def split_logits(model: Model, photos: Manifest, cache: Path) -> NDArray[np.float32]:
    """(N, C) float32: `image_logits` for every photo, through serving's preprocessing."""
    return image_logits(model, lambda spec: data.pixels(photos, spec, cache))


def image_logits(model: Model, pixels_of: PixelsOf) -> NDArray[np.float32]:
    """(N, C) float32: the logits whose softmax, at the contract's temperature, is the answer.

    Where a second model was asked, that is the mean of both answers, and these are its logits.
    """
    contract = model.contract
    logits = _own_logits(model, pixels_of(contract.preprocess))
    if contract.second is None:
        return logits
    own = calibrated(logits, contract)  # (N, C)
    asked = np.flatnonzero(is_second_asked(contract, own))
    if len(asked):
        second = model.second()
        pixels = pixels_of(second.contract.preprocess)[asked]
        its = calibrated(_own_logits(second, pixels), second.contract)
        logits[asked] = contract.temperature * np.log(both(own[asked], its))
    return logits


def pixels_of_files(files: Sequence[bytes], spec: PreprocessSpec, max_pixels: int) -> Pixels:
    """(N, H, W, 3) uint8: image files as serving decodes and stretches them.

    Raises:
        RequestError: a file cannot be decoded.
    """
    return np.stack([data.file_pixels(content, spec, max_pixels) for content in files])


def _own_logits(model: Model, pixels: Pixels) -> NDArray[np.float32]:
    """(N, C) float32 of N pictures, (N, H, W, 3) uint8."""
    rows = []
    few = len(pixels) <= _BATCH
    with tqdm(total=len(pixels), desc="evaluating", unit="img", leave=False, disable=few) as bar:
        for start in range(0, len(pixels), _BATCH):
            batch = normalize(pixels[start : start + _BATCH], model.contract.preprocess)
            rows.append(model.logits(batch))
            bar.update(len(batch))
    return np.concatenate(rows)


def labelled_split(root: Path, split: str, cache: Path, classes: tuple[str, ...]) -> Manifest:
    """The readable photos of one split, their labels numbered as the model numbers them.

    Raises:
        UsageError: the split has a class that the model does not know, or no readable photo.
    """
    found = data.without_unreadable(data.scan(root, (split,)), cache, strict=False)
    strangers = set(found.classes) - set(classes)
    if strangers:
        raise UsageError(
            f"{root / split} has classes that the model does not know: "
            f"{', '.join(sorted(strangers))}."
        )
    if not found.photos:
        raise UsageError(f"{root / split} has no photo that can be read.")
    return Manifest(found.root, classes, found.photos)
