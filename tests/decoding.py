"""Decode pictures and compare them."""

import struct

import numpy as np
from PIL import Image

from serving.errors import UnsupportedImageError
from serving.images.decode import decode_scaled
from tests.drawn import encoded

CORNERS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "black": (0, 0, 0)}


def decode(data, **options):
    whole = {"max_pixels": 3_000_000, "for_size": None, "close": True}
    return decode_scaled(data, **{**whole, **options}).image


def difference(decoded, expected) -> int:
    """The largest difference of any channel of any pixel, 0..255."""
    assert decoded.mode == "RGB"
    assert decoded.size == expected.size
    a, b = np.asarray(decoded, np.int16), np.asarray(expected, np.int16)
    return int(np.abs(a - b).max())


def difference_or_name(data: bytes, expected) -> float | str:
    """The largest difference of a value, 0..255, or the sentence that refuses the kind by name."""
    try:
        found = np.asarray(decode(data), np.int16)
    except UnsupportedImageError as error:
        if "a kind of " not in error.detail:
            raise
        return error.detail
    return float(np.abs(found - expected.astype(np.int16)).max())


def four_corners(size=(48, 32)) -> Image.Image:
    """Red, green, blue and black corners, clockwise from the upper left."""
    drawn = Image.new("RGB", size)
    half = (size[0] // 2, size[1] // 2)
    drawn.paste(CORNERS["red"], (0, 0, *half))
    drawn.paste(CORNERS["green"], (half[0], 0, size[0], half[1]))
    drawn.paste(CORNERS["blue"], (*half, *size))
    return drawn


def with_exif(block: bytes) -> bytes:
    """A JPEG of four corners whose EXIF is these bytes."""
    data = encoded(four_corners(), "JPEG", quality=100, subsampling=0)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]
