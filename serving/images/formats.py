"""The image formats that are supported, and how a file's first bytes tell them apart.

This is the only table of them. To add a format, add a row here and a row to docs/images.md.
"""

import importlib
import re
from dataclasses import dataclass

from serving.errors import UnsupportedImageError

_SIGNATURE_BYTES = 64

# The default of IMAGE_MAX_PIXELS: the largest photo of common phones, 8,160 x 6,144, and a little.
DEFAULT_MAX_PIXELS = 51_000_000


@dataclass(frozen=True, slots=True)
class Format:
    """One image format.

    Attributes:
        name: what people call it, and Pillow, too, except for HEIC.
        plugin: the module that reads it.
        media_type: its registered media type.
        suffixes: how file names of this format end, in lower case.
        signature: a regular expression that the file's first 64 bytes match.
        share: of IMAGE_MAX_PIXELS; decoding takes memory and time for each pixel, measured so that
            the largest picture by default takes at most 400 MB.
        confined: whether its library cannot be bounded from inside, so that it is decoded in a
            child process (serving/images/confined.py).
        cpu_s: the most CPU time that the child may take for one file.
    """

    name: str
    plugin: str
    media_type: str
    suffixes: tuple[str, ...]
    signature: bytes
    share: float = 0.5
    confined: bool = False
    cpu_s: float = 1.5

    def most_pixels(self, max_pixels: int) -> int:
        """The most pixels of this format under a setting of IMAGE_MAX_PIXELS.

        A setting that is below the share of the default holds for every format.
        """
        return min(max_pixels, int(self.share * max(max_pixels, DEFAULT_MAX_PIXELS)))


# AVIF and HEIC are ISO base media files: a box `ftyp` that lists brands of four bytes.
_BRANDS = rb".{4}ftyp(?:.{4}){0,13}?"

FORMATS = (
    # Decoded at a fraction of its size, or within the limit of the others (serving/images/jpeg.py).
    Format("JPEG", "PIL.JpegImagePlugin", "image/jpeg", (".jpg", ".jpeg"), rb"\xff\xd8\xff", 1.0),
    Format("PNG", "PIL.PngImagePlugin", "image/png", (".png",), rb"\x89PNG\r\n\x1a\n"),
    Format("WEBP", "PIL.WebPImagePlugin", "image/webp", (".webp",), rb"RIFF.{4}WEBP", 0.35),
    Format("GIF", "PIL.GifImagePlugin", "image/gif", (".gif",), rb"GIF8[79]a"),
    Format("BMP", "PIL.BmpImagePlugin", "image/bmp", (".bmp",), rb"BM"),
    Format(
        "TIFF",
        "PIL.TiffImagePlugin",
        "image/tiff",
        (".tif", ".tiff"),
        rb"II[*+]\0|MM\0[*+]",  # 42, and 43 for BigTIFF
        confined=True,
    ),
    Format(
        "AVIF",
        "PIL.AvifImagePlugin",
        "image/avif",
        (".avif",),
        _BRANDS + rb"(?:avif|avis)",
        confined=True,
    ),
    Format(
        "HEIC",
        "pi_heif",
        "image/heic",
        (".heic", ".heif"),
        # ISO/IEC 23008-12, annex B: of HEVC's images and sequences, and of any codec's.
        _BRANDS + rb"(?:hei[cxms]|hev[cxms]|mif[123]|msf1)",
        confined=True,
        cpu_s=4.5,
    ),
)

NAMES = tuple(known.name for known in FORMATS)


def recognise(data: bytes) -> Format:
    """The format that a file's first bytes announce; names and headers are not looked at.

    Raises:
        UnsupportedImageError: it is none of FORMATS.
    """
    for known in FORMATS:
        if _matches(known.signature, data):
            return known
    raise UnsupportedImageError(
        f"These {len(data):,} bytes are not an image in a supported format: {', '.join(NAMES)}."
    )


def named(name: str) -> Format:
    """The format of this name."""
    return next(known for known in FORMATS if known.name == name)


def _matches(signature: bytes, data: bytes) -> bool:
    return re.match(signature, data[:_SIGNATURE_BYTES], re.DOTALL) is not None


def import_plugin(known: Format) -> None:
    """Import the one module that reads a format.

    By itself, Pillow imports five of them for its first image and all of them for the first image
    that it does not recognise, which takes longer than a prediction.
    """
    importlib.import_module(known.plugin)
