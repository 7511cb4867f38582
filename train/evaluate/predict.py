"""The verb `predict`: files or URLs in, predictions out, by a run, an ONNX file, or a pretrained
network with ImageNet's classes.
"""

import sys
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from serving.errors import RemoteError, RequestError
from serving.fetch.fetcher import Fetcher
from serving.model.classifier import Inference, calibrated
from serving.model.contract import Contract
from serving.settings import Settings
from train.errors import CheckFailedError, UsageError, require
from train.evaluate.inference import Model, infer_images, open_model, pixels_of_files
from train.evaluate.metrics import is_unfamiliar, is_unsure


@dataclass(frozen=True, slots=True)
class PredictConfig:
    """Classify files or URLs."""

    sources: tyro.conf.Positional[
        Annotated[tuple[str, ...], tyro.conf.arg(metavar="[MODEL] IMAGE [IMAGE ...]")]
    ]
    """A run's folder or an ONNX file, then files or http(s) URLs; no model with --backbone."""
    backbone: str | None = None
    """A torchvision classification model, to predict ImageNet's classes with it."""
    weights: str = "default"
    """With --backbone: `default`, a state-dict file, or `none`."""
    top_k: int = 5
    """Number of classes to show."""


def predict(config: PredictConfig) -> None:
    """Print the most probable classes of each image.

    Raises:
        UsageError: the model cannot be opened, no image is given, or the only one is unreadable.
        CheckFailedError: some of several images could not be read; the others were classified.
    """
    require(config.top_k >= 1, "--top-k", "a number 1 or more", config.top_k)
    model, images = _model_and_images(config)
    unread = 0
    for source in images:
        try:
            print("\n".join(_answer(model, source, config.top_k)))
        except UsageError as error:
            if len(images) == 1:
                raise
            print(f"train predict: {error}", file=sys.stderr)
            unread += 1
    if unread:
        raise CheckFailedError(f"{unread} of {len(images)} images could not be read; see above.")


def _answer(model: Model, source: str, top_k: int) -> list[str]:
    """Lines with an image's name and its classes; raises UsageError if it cannot be read."""
    settings, contract = Settings(), model.contract
    with naming(source):
        files = [read_image(source, settings)]
        pixels = pixels_of_files(files, contract.preprocess, settings.image_max_pixels)
        inferred = infer_images(model, pixels)  # logits (1, C)
    probabilities = calibrated(inferred.logits, contract)[0]  # (C,)
    return [
        source + _unsure(inferred, contract),
        *(
            f"  {probabilities[index]:7.4f}  {contract.classes[index]}"
            for index in np.argsort(-probabilities, kind="stable")[:top_k]
        ),
    ]


def _unsure(inferred: Inference, contract: Contract) -> str:
    """Why the answer about one image is unsure, to follow its name; empty if it is not."""
    if is_unfamiliar(inferred, contract).any():
        return ": unsure, unlike the training photos"
    if is_unsure(inferred, contract).any():
        return f": unsure, below {contract.unsure_below:g}"
    return ""


def _model_and_images(config: PredictConfig) -> tuple[Model, tuple[str, ...]]:
    given = 0 if config.backbone else 1
    images = config.sources[given:]
    if not images:
        needed = "at least one image" if config.backbone else "a model and at least one image"
        raise UsageError(f"Give {needed}: a file or an http(s) URL.")
    if config.backbone is None:
        if config.weights != "default":
            raise UsageError("--weights goes with --backbone; a trained model has its own weights.")
        return open_model(Path(config.sources[0])), images
    from train.networks.imagenet import open_pretrained

    return open_pretrained(config.backbone, config.weights), images


def read_image(source: str, settings: Settings) -> bytes:
    """The bytes of a file, or of what an http(s) URL points to.

    Raises:
        UsageError: the file cannot be read, or the URL is malformed.
        ServingError: the URL cannot be fetched.
    """
    try:
        scheme = urllib.parse.urlsplit(source).scheme
    except ValueError as error:
        raise UsageError(f"{source} is not a valid URL: {error}.") from error
    if scheme in ("http", "https"):
        return Fetcher(settings)(source, timeout_s=settings.fetch_timeout_s)
    if Path(source).is_dir():
        raise UsageError(
            f"{source} is a folder. `python -m local classify {source}` classifies every photo "
            "below it with the bundled model."
        )
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise UsageError(f"{source} cannot be read: {error.strerror}.") from error


@contextmanager
def naming(source: str) -> Iterator[None]:
    """Turn errors about an image, or about its server, into a UsageError that names the source."""
    try:
        yield
    except (RequestError, RemoteError) as error:
        raise UsageError(f"{source}: {error.detail}") from error
