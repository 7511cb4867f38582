"""Drawn photos with the contents, sizes and formats that people send; each from its seed.

| share | format | longer side, pixels |
| --- | --- | --- |
| 60 % | JPEG | 200 to 1,600 |
| 7 % | progressive JPEG | 200 to 1,600 |
| 4 % | JPEG from a phone | 2,000 to 4,000 |
| 4 % | greyscale JPEG | 200 to 800 |
| 15 % | PNG | 200 to 800 |
| 10 % | WebP | 200 to 800 |

The logarithm of the size is uniform. The 4 % from phones are the largest, so the p99 is mostly of
these. Contents are the garments of samples/draw.py, cropped, mirrored, lit and with noise,
different in each photo.
"""

from dataclasses import dataclass
from functools import cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from benchmarks.harness import photos
from samples import draw as samples

_BASE_PX = (600, 800)  # size of the pictures that photos are cropped from
_NOISE = 6.0  # standard deviation, of 255
_LEAST_CROP = 0.6  # smallest part of the picture's width and height


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of photo: its share, the range of its longer side, how Pillow writes it."""

    share: float
    longer_px: tuple[int, int]
    file_format: str
    mode: str = "RGB"
    options: tuple[tuple[str, int | bool], ...] = ()


KINDS = (
    Kind(0.60, (200, 1600), "JPEG"),
    Kind(0.07, (200, 1600), "JPEG", options=(("progressive", True),)),
    Kind(0.04, (2000, 4000), "JPEG"),
    Kind(0.04, (200, 800), "JPEG", mode="L"),
    Kind(0.15, (200, 800), "PNG", options=(("compress_level", 1),)),
    Kind(0.10, (200, 800), "WEBP", options=(("method", 0),)),
)
# What a request can carry: Lambda takes 6 MB of event, in which the photo is base64.
_MAX_BYTES = 4_400_000
_LARGEST_PX = max(kind.longer_px[1] for kind in KINDS)
_SHIFT_PX = 400  # how far a photo's part of the noise field is moved at most


def photo(seed: int) -> bytes:
    """An image file's bytes: the same for the same seed and Pillow version."""
    random = np.random.default_rng(seed)
    kind = KINDS[int(random.choice(len(KINDS), p=[kind.share for kind in KINDS]))]
    longer_px = round(float(np.exp(random.uniform(*np.log(kind.longer_px)))))
    shorter_px = round(longer_px * random.uniform(0.6, 1.0))
    size_px = (shorter_px, longer_px) if random.random() < 0.8 else (longer_px, shorter_px)
    image = picture(random, size_px).convert(kind.mode)
    quality = int(random.integers(75, 95))
    while len(data := _written(image, kind, quality)) > _MAX_BYTES:
        quality -= 5
    return data


def _written(image: Image.Image, kind: Kind, quality: int) -> bytes:
    buffer = BytesIO()
    lossy = {} if kind.file_format == "PNG" else {"quality": quality}
    image.save(buffer, kind.file_format, **lossy, **dict(kind.options))
    return buffer.getvalue()


def picture(random: np.random.Generator, size_px: tuple[int, int]) -> Image.Image:
    """An RGB picture of this size: part of a drawn garment, perhaps mirrored, lit, with noise."""
    base = _base(int(random.integers(len(samples.GARMENTS))))
    if random.random() < 0.5:
        base = ImageOps.mirror(base)
    left, top = random.uniform(0, (1 - _LEAST_CROP) / 2, 2)
    right, bottom = 1 - random.uniform(0, (1 - _LEAST_CROP) / 2, 2)
    width_px, height_px = _BASE_PX
    box = (left * width_px, top * height_px, right * width_px, bottom * height_px)
    resized = base.resize(size_px, Image.Resampling.BILINEAR, box=box)
    light = random.uniform(0.7, 1.15)
    lit = resized.point([min(255, round(level * light)) for level in range(256)] * 3)
    pixels = np.asarray(lit, np.int16) + _grain(random, size_px)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@cache
def _base(number: int) -> Image.Image:
    garment = sorted(samples.GARMENTS)[number]
    return photos.draw(*_BASE_PX, garment=garment, noise=0.0, seed=number)


@cache
def _field() -> NDArray[np.int16]:
    side_px = _LARGEST_PX + _SHIFT_PX
    noise = np.random.default_rng(0).standard_normal((side_px, side_px, 1), np.float32)
    return (_NOISE * noise).round().astype(np.int16)


def _grain(random: np.random.Generator, size_px: tuple[int, int]) -> NDArray[np.int16]:
    """(H, W, 1): part of one field of noise, which is cheaper than new noise for each photo."""
    width_px, height_px = size_px
    field = _field()
    top, left = random.integers(0, _SHIFT_PX, 2)
    return field[top : top + height_px, left : left + width_px]
