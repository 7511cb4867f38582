"""Files or URLs in, predictions out, from the command line."""

import urllib.parse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from serving import image
from serving.classifier import softmax
from serving.fetch import Fetcher
from serving.preprocess import Preprocessor
from serving.settings import Settings
from train.errors import UsageError
from train.inference import open_model


@dataclass(frozen=True, slots=True)
class PredictConfig:
    """Classify files or URLs."""

    model: tyro.conf.Positional[Path]
    """A run's folder, or an ONNX file."""
    images: tyro.conf.Positional[tuple[str, ...]]
    """Files or http(s) URLs."""
    top_k: int = 5
    """How many classes to show."""


def predict(config: PredictConfig) -> None:
    """Print the likeliest classes of each image."""
    if not config.images:
        raise UsageError("Name at least one image: a file or an http(s) URL.")
    if config.top_k < 1:
        raise UsageError(f"--top-k takes a number 1 or more; found {config.top_k}.")
    model = open_model(config.model)
    settings = Settings()
    preprocess = Preprocessor(model.contract.preprocess)
    for source in config.images:
        data = read_image(source, settings)
        picture = image.decode(
            data,
            max_pixels=settings.image_max_pixels,
            for_size=(preprocess.spec.width_px, preprocess.spec.height_px),
        )
        logits = model.logits(preprocess(picture)).astype(np.float64)  # (1, C)
        probabilities = softmax(logits / model.contract.temperature)[0]  # (C,)
        print(source)
        for index in np.argsort(-probabilities, kind="stable")[: config.top_k]:
            print(f"  {probabilities[index]:7.4f}  {model.contract.classes[index]}")


def read_image(source: str, settings: Settings) -> bytes:
    """The bytes of a file, or of what an http(s) URL points to."""
    if urllib.parse.urlsplit(source).scheme in ("http", "https"):
        return Fetcher(settings)(source, timeout_s=settings.fetch_timeout_s)
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise UsageError(f"{source} cannot be read: {error.strerror}.") from error
