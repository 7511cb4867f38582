"""Drawn photos of the two sizes that the handlers are measured on: 400x533, and 12 megapixels.

Nothing is photographed, so they can be drawn anew anywhere. What they share with photos is what
a JPEG decoder's time depends on: soft light, an object with edges, texture at every scale, and a
sensor's noise, which together make files of a photo's size in bytes.
"""

from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

SIZES_PX = {"400x533": (400, 533), "12mp": (3000, 4000)}
QUALITY = 87  # what phones and web shops write lies between 80 and 95
_SUBSAMPLING = "4:2:0"
# Standard deviation of the noise, of 255, for files of about 40 kB and 3 MB, as photos of these
# sizes have.
_NOISE = {"400x533": 6.0, "12mp": 6.2}


def jpeg(size: str, *, seed: int = 0) -> bytes:
    """A JPEG of one of SIZES_PX, 4:2:0, the same bytes for the same seed and Pillow."""
    buffer = BytesIO()
    image = draw(*SIZES_PX[size], noise=_NOISE[size], seed=seed)
    image.save(buffer, "JPEG", quality=QUALITY, subsampling=_SUBSAMPLING)
    return buffer.getvalue()


def draw(width_px: int, height_px: int, *, noise: float = 4.0, seed: int = 0) -> Image.Image:
    """A garment-like shape on a lit ground, with texture and noise.

    Args:
        noise: standard deviation of the noise in each pixel, of 255.
    """
    random = np.random.default_rng(seed)
    picture = _clouds(random, width_px, height_px)  # (H, W, 3) float32
    shape = Image.new("L", (width_px, height_px))
    ImageDraw.Draw(shape).polygon(
        [
            (int(x * width_px), int(y * height_px))
            for x, y in (
                *((0.4, 0.1), (0.28, 0.16), (0.1, 0.5), (0.2, 0.56), (0.3, 0.4), (0.28, 0.9)),
                *((0.72, 0.9), (0.7, 0.4), (0.8, 0.56), (0.9, 0.5), (0.72, 0.16), (0.6, 0.1)),
            )
        ],
        fill=255,
    )
    inside = np.asarray(shape.filter(ImageFilter.GaussianBlur(1)), np.float32)[..., None] / 255
    weave = np.sin(np.arange(width_px) * 0.9)[None, :, None] * 6  # (1, W, 1): a fabric's threads
    colour = random.uniform(30, 200, 3)
    picture += inside * (colour - picture * 0.8 + weave)
    grain = random.standard_normal((height_px, width_px, 1), np.float32)
    picture += noise * grain  # the same in all channels: 4:2:0 keeps little of noise in colour
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


def _clouds(random: np.random.Generator, width_px: int, height_px: int) -> NDArray[np.float32]:
    """(H, W, 3): noise of every scale, each octave half as strong as the next coarser one."""
    total = np.full((height_px, width_px, 3), 128, np.float32)
    cells, strength = 2, 60.0
    while cells < max(width_px, height_px) // 4:
        coarse = random.normal(0, strength, (cells, cells, 3))
        for channel in range(3):
            layer = Image.fromarray(coarse[..., channel].astype(np.float32))
            scaled = layer.resize((width_px, height_px), Image.Resampling.BICUBIC)
            total[..., channel] += np.asarray(scaled)
        cells, strength = cells * 2, strength * 0.5
    return total


def write(folder: Path, sizes: tuple[str, ...] = tuple(SIZES_PX)) -> dict[str, str]:
    """Write one JPEG of each size; returns the files by size."""
    files = {}
    for size in sizes:
        path = folder / f"{size}.jpg"
        path.write_bytes(jpeg(size))
        files[size] = str(path)
    return files
