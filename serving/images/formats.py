"""The image formats that are supported, and how a file's first bytes tell them apart.

This is the only table of them. To add a format, add a row here and a row to docs/images.md.
"""

import importlib
import re
from dataclasses import dataclass

from serving.errors import UnsupportedImageError

_SIGNATURE_BYTES = 64


@dataclass(frozen=True, slots=True)
class Format:
    """One image format.

    Attributes:
        name: what Pillow calls it.
        plugin: the module of Pillow that reads it.
        media_type: its registered media type.
        suffixes: how file names of this format end, in lower case.
        signature: a regular expression that the file's first 64 bytes match.
    """

    name: str
    plugin: str
    media_type: str
    suffixes: tuple[str, ...]
    signature: bytes


# AVIF and HEIC are ISO base media files: a box `ftyp` that lists brands of four bytes.
_BRANDS = rb".{4}ftyp(?:.{4}){0,13}?"

FORMATS = (
    Format("JPEG", "JpegImagePlugin", "image/jpeg", (".jpg", ".jpeg"), rb"\xff\xd8\xff"),
    Format("PNG", "PngImagePlugin", "image/png", (".png",), rb"\x89PNG\r\n\x1a\n"),
    Format("WEBP", "WebPImagePlugin", "image/webp", (".webp",), rb"RIFF.{4}WEBP"),
    Format("GIF", "GifImagePlugin", "image/gif", (".gif",), rb"GIF8[79]a"),
    Format("BMP", "BmpImagePlugin", "image/bmp", (".bmp",), rb"BM"),
    Format("TIFF", "TiffImagePlugin", "image/tiff", (".tif", ".tiff"), rb"II\*\0|MM\0\*"),
    Format("AVIF", "AvifImagePlugin", "image/avif", (".avif",), _BRANDS + rb"(?:avif|avis)"),
)
_HEIC = _BRANDS + rb"(?:heic|heix|hevc|heim|heis|mif1|msf1)"

NAMES = tuple(known.name for known in FORMATS)
"""The formats' names, as Pillow's `Image.open(formats=…)` takes them."""


def recognise(data: bytes) -> Format:
    """The format that a file's first bytes announce; names and headers are not looked at.

    Raises:
        UnsupportedImageError: it is none of FORMATS.
    """
    for known in FORMATS:
        if _matches(known.signature, data):
            return known
    if _matches(_HEIC, data):
        raise UnsupportedImageError(
            "HEIC photos are not supported. Send a JPEG: on the phone, share the photo as "
            "'most compatible', or set the camera to it."
        )
    raise UnsupportedImageError(
        f"These {len(data):,} bytes are not an image in a supported format: {', '.join(NAMES)}."
    )


def _matches(signature: bytes, data: bytes) -> bool:
    return re.match(signature, data[:_SIGNATURE_BYTES], re.DOTALL) is not None


def import_plugin(known: Format) -> None:
    """Import the one module of Pillow that reads a format.

    By itself, Pillow imports five of them for its first image and all of them for the first image
    that it does not recognise, which takes longer than a prediction.
    """
    importlib.import_module(f"PIL.{known.plugin}")
