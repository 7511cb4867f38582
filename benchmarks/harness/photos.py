"""Drawn photos of 400x533 and of 12 megapixels.

They are drawn, so that every machine can measure without a data set. They have what a JPEG
decoder's time depends on: soft light, edges, texture at every scale and a sensor's noise, and files
as large as a photo's. Photos of mixed sizes and formats are in benchmarks/harness/mixture.py.
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

QUALITY = 87  # phones and web shops write 80 to 95
_SUBSAMPLING = "4:2:0"
_LIGHT = 0.35  # strength of the clouds
# Standard deviation, of 255. Files get about 50 kB and 2.5 MB, like photos of these sizes.
_NOISE = 6.0


SIZES_PX = {"400x533": (400, 533), "12mp": (3000, 4000)}
"""Width and height, by the name that rows use."""


def jpeg(size: str, *, seed: int = 0) -> bytes:
    """A 4:2:0 JPEG of one of SIZES_PX: the same bytes for the same seed and Pillow version."""
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
    picture += noise * grain  # the same in all channels: 4:2:0 keeps little colour noise
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


def _clouds(random: np.random.Generator, width_px: int, height_px: int) -> NDArray[np.float32]:
    """(H, W, 3) around 0: noise of every scale; each octave is half as strong as the last."""
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
