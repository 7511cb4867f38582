"""Kinds of files that Pillow reads wrongly or not at all: read rightly, or refused by name."""

import struct
from io import BytesIO

import numpy as np
import pillow_heif
import pytest
import tifffile
from PIL import Image

from serving.errors import UndecodableImageError, UnsupportedImageError
from tests.decoding import decode, difference, four_corners
from tests.drawn import encoded, picture
from tests.hostile_files import LONG, grey, jpeg_of_arithmetic_coding, tiff

DRAWN = picture("red", width_px=40, height_px=30)
PIXELS = np.asarray(DRAWN)


def written(pixels: np.ndarray, **options) -> bytes:
    """A TIFF by tifffile, which shares no code with Pillow."""
    buffer = BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def decoded_or_named(data: bytes) -> Image.Image | None:
    """The picture; None when the file is refused as a kind that is not read."""
    try:
