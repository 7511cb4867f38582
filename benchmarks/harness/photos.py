"""Drawn photos: of 400x533 and of 12 megapixels, as the handlers are measured on.

Nothing is photographed, so they can be drawn on any machine. They share with photos what a JPEG
decoder's time depends on: soft light, an object with edges, texture at every scale, and a sensor's
noise, which together make files of a photo's size in bytes. Photos of mixed sizes and formats are
in benchmarks/harness/mixture.py.
"""

from io import BytesIO
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samples import draw as samples
from serving.model.contract import Contract
from serving.model.preprocess import Preprocessor

QUALITY = 87  # what phones and web shops write lies between 80 and 95
_SUBSAMPLING = "4:2:0"
_LIGHT = 0.35  # of the clouds' strength
# Standard deviation, of 255, for files of about 50 kB and 3 MB, as photos of these sizes have.
_NOISE = 6.0


SIZES_PX = {"400x533": (400, 533), "12mp": (3000, 4000)}
"""Width and height by the name that the rows have."""


def jpeg(size: str, *, seed: int = 0) -> bytes:
    """A JPEG of one of SIZES_PX, 4:2:0, the same bytes for the same seed and Pillow."""
    buffer = BytesIO()
    image = draw(*SIZES_PX[size], noise=_NOISE, seed=seed)
    image.save(buffer, "JPEG", quality=QUALITY, subsampling=_SUBSAMPLING)
    return buffer.getvalue()


def draw(
    width_px: int, height_px: int, *, garment: str = "pants", noise: float = 4.0, seed: int = 0
) -> Image.Image:
    """A sample picture's garment under soft light, with texture and noise.

    Args:
        noise: standard deviation of the noise in each pixel, of 255.
    """
    random = np.random.default_rng(seed)
    sample = samples.draw(garment).resize((width_px, height_px), Image.Resampling.BICUBIC)
    picture = np.asarray(sample, np.float32) + _LIGHT * _clouds(random, width_px, height_px)
    grain = random.standard_normal((height_px, width_px, 1), np.float32)
    picture += noise * grain  # the same in all channels: 4:2:0 keeps little of noise in colour
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


def _clouds(random: np.random.Generator, width_px: int, height_px: int) -> NDArray[np.float32]:
    """(H, W, 3) around 0: noise of every scale, each octave half as strong as the coarser one."""
    total = np.zeros((height_px, width_px, 3), np.float32)
    cells, strength = 2, 60.0
    while cells < max(width_px, height_px) // 4:
        coarse = random.normal(0, strength, (cells, cells, 3))
        for channel in range(3):
            layer = Image.fromarray(coarse[..., channel].astype(np.float32))
            scaled = layer.resize((width_px, height_px), Image.Resampling.BICUBIC)
            total[..., channel] += np.asarray(scaled)
        cells, strength = cells * 2, strength * 0.5
    return total


def write(folder: Path) -> dict[str, str]:
    """Write one JPEG of each size; returns the files by size."""
    files = {}
    for size in SIZES_PX:
        path = folder / f"{size}.jpg"
        path.write_bytes(jpeg(size))
        files[size] = str(path)
    return files


def pictures(contract: Contract, count: int) -> NDArray[np.float32]:
    """(count, 3, H, W) float32: drawn pictures as the network's input."""
    preprocess = Preprocessor(contract.preprocess)
    garments = enumerate(islice(cycle(samples.GARMENTS), count))
    drawn = (draw(300, 400, garment=garment, seed=n) for n, garment in garments)
    return np.concatenate([preprocess(picture) for picture in drawn])
