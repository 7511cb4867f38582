"""Bytes of an image file in, an upright 8-bit RGB image out.

The format is read from the content, never from a name or a header. Refused: other formats
(UnsupportedImageError), more pixels than allowed, which is checked before any pixel is decoded, and
files that Pillow cannot decode to their last row (UndecodableImageError). Training caches decoded
photos: raise its cache version when a file decodes to other pixels here.
"""

import logging
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin, UnidentifiedImageError

from serving.errors import UndecodableImageError
from serving.images import draft, limits
from serving.images.formats import Format, import_plugin, recognise

Image._initialized = max(Image._initialized, 1)  # skip Pillow's eager import of five plugins
logging.getLogger("PIL").setLevel(logging.CRITICAL)  # a damaged file is answered, not logged

# What Pillow's decoders are known to raise on damaged files.
_DECODER_FAULTS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    EOFError,
    OverflowError,
    MemoryError,
    RuntimeError,  # AVIF's decoder, and NotImplementedError
    struct.error,
    zlib.error,
    UnidentifiedImageError,
)

_PNG_BIT_DEPTH = 24  # the byte's place in the file: PNG, 11.2.1
_PHOTOMETRIC_TAG = 262  # TIFF 6.0, PhotometricInterpretation
_ORIENTATION_TAG = 274  # EXIF 2.32, table 4
UPRIGHT = 1
_UPRIGHT_BY_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class Decoded:
    """An upright RGB image of a file.

    Attributes:
        box: the part of the image that the file's pixels fill; None when it is all of it.
    """

    image: Image.Image
    box: draft.Box | None


Levels = tuple[float, float]
"""Which values become black and white, as shares of the full range of the file's bits."""


def decode(data: bytes, *, max_pixels: int, levels: Levels | None = None) -> Image.Image:
    """Decode an image file at its full size; otherwise like `decode_scaled`."""
    return decode_scaled(
        data, max_pixels=max_pixels, for_size=None, close=True, levels=levels
    ).image


def decode_scaled(
    data: bytes,
    *,
    max_pixels: int,
    for_size: tuple[int, int] | None,
    close: bool,
    levels: Levels | None = None,
) -> Decoded:
    """Decode an image file to an upright RGB image. An animation gives its first frame.

    Args:
        data: a whole file in one of `formats.FORMATS`.
        max_pixels: the most pixels (width times height) that are decoded.
        for_size: the width and height in pixels that the image will be resized to; a larger JPEG
            is decoded at a fraction of its size (serving/images/draft.py). None decodes it at its
            full size.
        close: whether that may change the resized pixels by at most draft.CLOSE_TOLERANCE.
        levels: values to stretch to the whole range, before 16 bits become 8; None: all of them.

    Returns:
        An image of mode RGB, turned as its EXIF orientation says, with transparency laid over
        white.

    Raises:
        UnsupportedImageError: the bytes are not an image in a supported format.
        UndecodableImageError: the image is damaged, cut short, or larger than `max_pixels`.
    """
    file_format = recognise(data)
    import_plugin(file_format)
    if file_format.name == "PNG":
        limits.check_chunks(data)
    try:
        with limits.pillow_limits(max_pixels):
            return _decoded(data, file_format, max_pixels, for_size, close, levels)
    except Image.DecompressionBombError as error:
        raise UndecodableImageError(
            f"The image has more than {max_pixels:,} pixels, which is the limit. "
            "Send a smaller one."
        ) from error
    except _DECODER_FAULTS as error:
        raise UndecodableImageError(
            f"The {file_format.name} image is damaged or cut short and cannot be decoded. "
            "Check that the file opens elsewhere and was sent completely."
        ) from error


def _decoded(
    data: bytes,
    file_format: Format,
    max_pixels: int,
    for_size: tuple[int, int] | None,
    close: bool,
    levels: Levels | None,
) -> Decoded:
    file = limits.MeteredFile(data, file_format.name)
    image: Image.Image = Image.open(file, formats=(file_format.name,))
    limits.check_cost(image, data, max_pixels)
    file_px = image.size
    scale = _draft(image, for_size, close=close)
    image.load()
    if file_format.name == "PNG":
        _scale_transparency(image, bit_depth=data[_PNG_BIT_DEPTH])
    elif file_format.name == "TIFF":
        image = _black_is_zero(image)
    turn = _UPRIGHT_BY_ORIENTATION.get(orientation(image))
    box = draft.filled_part(file_px, scale, turn) if scale else None
    upright = image if turn is None else image.transpose(turn)
    return Decoded(_to_rgb(upright, levels), box)


def _draft(image: Image.Image, for_size: tuple[int, int] | None, *, close: bool) -> int | None:
    """Have a JPEG that is larger than needed decoded at a fraction of its size.

    Returns:
        What its sides are divided by; None when it is no JPEG.
    """
    if not isinstance(image, JpegImagePlugin.JpegImageFile):
        return None
    scale = draft.scale_for(image.size, for_size, close=close) if for_size is not None else 1
    if scale > 1:
        image.draft(None, (image.width // scale, image.height // scale))
    return scale


def orientation(image: Image.Image) -> int:
    """The EXIF orientation of an opened file, 1 to 8; UPRIGHT when it has none or it is damaged.

    A loaded TIFF is always UPRIGHT, since Pillow has turned it already. Call it inside
    `limits.pillow_limits`.
    """
    try:
        value = image.getexif().get(_ORIENTATION_TAG)
    except _DECODER_FAULTS:
        return UPRIGHT  # a damaged EXIF block says nothing about the pixels, which are whole
    return value if isinstance(value, int) and value in _UPRIGHT_BY_ORIENTATION else UPRIGHT


def _scale_transparency(image: Image.Image, *, bit_depth: int) -> None:
    """Scale a PNG's transparent value to 8 bits; Pillow scales only its pixels."""
    through = image.info.get("transparency")
    if isinstance(through, int) and image.mode == "L" and bit_depth < 8:
        highest = 2**bit_depth - 1
        image.info["transparency"] = (through & highest) * 255 // highest
    elif isinstance(through, tuple) and bit_depth == 16:
        image.info["transparency"] = tuple(value >> 8 for value in through)


def _black_is_zero(image: Image.Image) -> Image.Image:
    """Invert a TIFF of 16-bit grey in which 0 is white; Pillow inverts only 8 bits."""
    is_white_zero = getattr(image, "tag_v2", {}).get(_PHOTOMETRIC_TAG) == 0
    if not (is_white_zero and image.mode.startswith("I;16")):
        return image
    return Image.fromarray(65_535 - np.asarray(image).astype(np.uint16))


def _to_rgb(image: Image.Image, levels: Levels | None) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, stored in 16 or 32 bits: keep the upper 8
        values = np.clip(np.asarray(image), 0, 65_535).astype(np.uint16)
        grey = (values >> 8).astype(np.uint8) if levels is None else _stretch(values, levels)
        if isinstance(through := image.info.get("transparency"), int):
            grey[values == through] = 255
        return Image.fromarray(grey).convert("RGB")
    if image.mode == "F":  # 0 to 1 or 0 to 255
        shares = np.nan_to_num(np.array(image), copy=False)
        shares *= 255 if shares.max() <= 1 else 1
        if levels is not None:
            shares = (shares - 255 * levels[0]) / (levels[1] - levels[0])
        return Image.fromarray(np.clip(shares, 0, 255, out=shares).astype(np.uint8)).convert("RGB")
    rgb = _without_transparency(image)
    if levels is None:
        return rgb
    return rgb.point(_stretch(np.arange(256) * 257, levels).tolist() * 3)  # 255 * 257 is 65,535


def _without_transparency(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.has_transparency_data:
        layers = image if image.mode == "RGBA" else image.convert("RGBA")
        paper = Image.new("RGB", layers.size, "white")
        paper.paste(layers, mask=layers)
        return paper
    return image.convert("RGB")


def _stretch(values: NDArray[Any], levels: Levels) -> NDArray[np.uint8]:
    """Values of 0..65,535 -> 0..255, such that the levels become black and white."""
    low, high = (65_535 * level for level in levels)
    spread = (values.astype(np.float32) - low) * (255 / (high - low))
    eight_bits: NDArray[np.uint8] = np.clip(spread.round(), 0, 255).astype(np.uint8)
    return eight_bits
