"""A file's name or a URL in, the photo's bytes out; and what one photo is as numbers."""

import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serving.errors import RemoteError, RequestError
from serving.fetch.fetcher import Fetcher
from serving.images.decode import UPRIGHT, decode, orientation
from serving.images.formats import NAMES
from serving.images.limits import pillow_limits
from serving.model.preprocess import PreprocessSpec, normalize
from serving.settings import Settings
from train.errors import UsageError
from train.photos.manifest import MAX_PIXELS, file_pixels


def read_image(source: str, settings: Settings) -> bytes:
    """The bytes of a file, or of what an http(s) URL points to.

    Raises:
        UsageError: the file cannot be read, or the URL is none.
        ServingError: the URL cannot be fetched.
    """
    try:
        scheme = urllib.parse.urlsplit(source).scheme
    except ValueError as error:
        raise UsageError(f"{source} is no URL: {error}.") from error
    if scheme in ("http", "https"):
        return Fetcher(settings)(source, timeout_s=settings.fetch_timeout_s)
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise UsageError(f"{source} cannot be read: {error.strerror}.") from error


@contextmanager
def naming(source: str) -> Iterator[None]:
    """Turn what is wrong with an image, or with its server, into a UsageError that names it."""
    try:
        yield
    except (RequestError, RemoteError) as error:
        raise UsageError(f"{source}: {error.detail}") from error


@contextmanager
def opened(content: bytes) -> Iterator[Image.Image]:
    """A file that serving decodes, opened to be asked what it says of itself; not decoded."""
    with (
        pillow_limits(MAX_PIXELS),
        Image.open(BytesIO(content), formats=NAMES) as file,
    ):
        yield file


def describe_image(source: str, input_px: int) -> list[str]:
    """One photo as an array, and as the network's input, in lines.

    Raises:
        UsageError: the file cannot be read or is no photo, or the URL cannot be fetched.
    """
    settings = Settings()
    with naming(source):
        content = read_image(source, settings)
        picture = decode(content, max_pixels=settings.image_max_pixels)
    with opened(content) as file:
        turn = orientation(file)
        first = f"{file.format}, mode {file.mode}, {file.width} x {file.height} pixels"
    pixels = np.asarray(picture)  # (H, W, 3) uint8
    spec = PreprocessSpec.square(input_px)
    stretched = file_pixels(content, spec, settings.image_max_pixels)  # (S, S, 3) uint8
    batch = normalize(stretched[None], spec)  # (1, 3, S, S) float32
    turned = "upright" if turn == UPRIGHT else f"turned upright (EXIF {turn})"
    corners = {
        "top left": pixels[0, 0],
        "top right": pixels[0, -1],
        "bottom left": pixels[-1, 0],
        "bottom right": pixels[-1, -1],
    }
    return [
        f"{source}: {len(content):,} bytes, {first}, {turned}",
        f"as an array (height, width, channel): {_array(pixels)}",
        f"  mean of red, green, blue: {_numbers(pixels.mean(axis=(0, 1)))}",
        *(f"  {name} pixel: {tuple(int(v) for v in pixel)}" for name, pixel in corners.items()),
        f"the network's input (photo, channel, height, width): {_array(batch)}",
        f"  mean of red, green, blue: {_numbers(batch.mean(axis=(0, 2, 3)))}",
    ]


def _array(array: NDArray[np.generic]) -> str:
    low, high = array.min(), array.max()
    return f"shape {array.shape}, {array.dtype}, values {low:.4g} to {high:.4g}"


def _numbers(values: NDArray[np.floating[Any]]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)
