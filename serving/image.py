"""Bytes of an image file in, an upright 8-bit RGB image out.

The format is read from the content, never from a name or a header. Refused: other formats
(UnsupportedImageError), more pixels than allowed, checked before a pixel is decoded, and files that
Pillow cannot decode to their last row (UndecodableImageError).
"""

import struct
import zlib
from io import BytesIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from serving.errors import UndecodableImageError, UnsupportedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")

# `decode` holds every image to its own cap before decoding; Pillow's guard would only warn, and at
# another size.
Image.MAX_IMAGE_PIXELS = None

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
    NotImplementedError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

_ORIENTATION_TAG = 0x0112  # EXIF 2.32, table 4
_UPRIGHT_BY_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(data: bytes, *, max_pixels: int) -> Image.Image:
    """Decode an image file to an upright RGB image; of an animation, the first frame.

    Args:
        data: a whole file of one of FORMATS.
        max_pixels: the most pixels (width times height) that are decoded.

    Returns:
        An image of mode RGB, turned as its EXIF orientation says, with transparency laid over
        white.

    Raises:
        UnsupportedImageError: the bytes are no image of an allowed format.
        UndecodableImageError: the image is damaged, cut short, or larger than `max_pixels`.
    """
    image = _open(data)
    if image.width * image.height > max_pixels:
        raise UndecodableImageError(
            f"The image has {image.width:,} x {image.height:,} pixels; at most {max_pixels:,} "
            "pixels are decoded. Send a smaller one."
        )
    try:
        image.load()
        return _to_rgb(_upright(image))
    except _DECODER_FAULTS as error:
        raise UndecodableImageError(
            f"The {image.format} image is damaged or cut short and cannot be decoded. "
            "Check that the file opens elsewhere and was sent whole."
        ) from error


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise UnsupportedImageError(
            f"The {len(data):,} bytes are not an image of a type that is taken "
            f"({', '.join(FORMATS)})."
        ) from error
    except _DECODER_FAULTS as error:
        raise UndecodableImageError(
            "The image's header is damaged. Check that the file opens elsewhere."
        ) from error


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG)
    except _DECODER_FAULTS:
        return image  # a damaged EXIF block says nothing about the pixels, which are whole
    turn = _UPRIGHT_BY_ORIENTATION.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):  # 16 bits of grey in 16 or 32: keep the upper 8
        grey = np.clip(np.asarray(image), 0, 65_535).astype(np.uint16) >> 8
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        paper = Image.new("RGBA", layers.size, "white")
        return Image.alpha_composite(paper, layers).convert("RGB")
    return image.convert("RGB")
