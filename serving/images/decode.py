"""Bytes of an image file in, an upright 8-bit RGB image out.

The format is read from the content, never from a name or a header. Refused: other formats
(UnsupportedImageError), more pixels than allowed, checked before a pixel is decoded, and files that
Pillow cannot decode to their last row (UndecodableImageError). Training caches what is decoded:
when a file comes to give other pixels here, CACHE_VERSION of train/photos/manifest.py is raised.
"""

import importlib
import logging
import struct
import threading
import warnings
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image, JpegImagePlugin, UnidentifiedImageError

from serving.errors import UndecodableImageError, UnsupportedImageError
from serving.images import draft
from serving.images import limits as bombs

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")

# Pillow imports five plugins on the first image and all of them on the first that it does not know,
# which takes longer than a prediction. So the format is told here, by each format's signature, and
# only that format's plugin is imported.
Image._initialized = max(Image._initialized, 1)  # the five are as good as imported
_PLUGINS = {
    "PNG": "PngImagePlugin",
    "WEBP": "WebPImagePlugin",
    "GIF": "GifImagePlugin",
    "BMP": "BmpImagePlugin",
    "TIFF": "TiffImagePlugin",
    "AVIF": "AvifImagePlugin",
}
_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"BM", "BMP"),
)
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")

# Damaged files are answered, not logged.
logging.getLogger("PIL").setLevel(logging.CRITICAL)
# Text chunks are inflated while a PNG is opened: 64 MB of them by default, for nothing.
_MAX_PNG_TEXT_BYTES = 4_000_000

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


class _NoWarnings:
    """Keeps warnings off while any thread is inside; `catch_warnings` alone is for one thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._caught = warnings.catch_warnings(action="ignore")
                self._caught.__enter__()
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._caught.__exit__(None, None, None)


NO_WARNINGS = _NoWarnings()  # Pillow warns of damaged metadata, which is not used


@dataclass(frozen=True, slots=True)
class Decoded:
    """An upright RGB image of a file.

    Attributes:
        box: the part of the image that the file's pixels fill; None where it is all.
    """

    image: Image.Image
    box: draft.Box | None


def decode(data: bytes, *, max_pixels: int) -> Image.Image:
    """The image alone of what `decode_scaled` gives, whole."""
    return decode_scaled(data, max_pixels=max_pixels, for_size=None, close=True).image


def decode_scaled(
    data: bytes, *, max_pixels: int, for_size: tuple[int, int] | None, close: bool
) -> Decoded:
    """Decode an image file to an upright RGB image; of an animation, the first frame.

    Args:
        data: a whole file of one of FORMATS.
        max_pixels: the most pixels (width times height) that are decoded.
        for_size: the width and height in pixels that the image will be resized to; a JPEG that is
            larger is then decoded at a fraction of its size (serving/images/draft.py). None decodes it
            whole.
        close: whether that may change the resized pixels by draft.CLOSE_TOLERANCE at most.

    Returns:
        An image of mode RGB, turned as its EXIF orientation says, with transparency laid over
        white.

    Raises:
        UnsupportedImageError: the bytes are no image of an allowed format.
        UndecodableImageError: the image is damaged, cut short, or larger than `max_pixels`.
    """
    file_format = _format(data)
    if file_format == "PNG":
        bombs.check_chunks(data)
    try:
        with NO_WARNINGS:
            # Pillow refuses what has more than twice as many, before it prepares for the pixels.
            Image.MAX_IMAGE_PIXELS = max_pixels / 2  # type: ignore[assignment]  # may be odd
            image: Image.Image = Image.open(
                bombs.MeteredFile(data, file_format), formats=(file_format,)
            )
            bombs.check_cost(image, data, max_pixels)
            file_px = image.size
            scale = _draft(image, for_size, close=close)
            image.load()
            if file_format == "PNG":
                _scale_transparency(image, bit_depth=data[_PNG_BIT_DEPTH])
            elif file_format == "TIFF":
                image = _black_is_zero(image)
            turn = _UPRIGHT_BY_ORIENTATION.get(orientation(image))
            box = draft.filled_part(file_px, scale, turn) if scale else None
            upright = image if turn is None else image.transpose(turn)
            return Decoded(_to_rgb(upright), box)
    except Image.DecompressionBombError as error:
        raise UndecodableImageError(
            f"The image has more than {max_pixels:,} pixels, the most that are decoded. "
            "Send a smaller one."
        ) from error
    except _DECODER_FAULTS as error:
        raise UndecodableImageError(
            f"The {file_format} image is damaged or cut short and cannot be decoded. "
            "Check that the file opens elsewhere and was sent whole."
        ) from error


def _format(data: bytes) -> str:
    """The format that the file's first bytes announce, with its plugin imported."""
    found = next((name for start, name in _SIGNATURES if data.startswith(start)), None)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        found = "WEBP"
    elif data[4:8] == b"ftyp":  # ISO base media file format: brands follow
        brands = {data[start : start + 4] for start in range(8, min(len(data), 64), 4)}
        if brands & {b"avif", b"avis"}:
            found = "AVIF"
        elif brands.intersection(_HEIF_BRANDS):
            raise UnsupportedImageError(
                "HEIC photos are not taken. Send a JPEG: on the phone, share the photo as "
                "'most compatible', or set the camera to it."
            )
    if found is None:
        raise UnsupportedImageError(
            f"The {len(data):,} bytes are not an image of a type that is taken: "
            f"{', '.join(FORMATS)}."
        )
    if found in _PLUGINS:
        plugin = importlib.import_module(f"PIL.{_PLUGINS[found]}")
        if found == "PNG":
            plugin.MAX_TEXT_MEMORY = _MAX_PNG_TEXT_BYTES  # type: ignore[attr-defined]
    return found


def _draft(image: Image.Image, for_size: tuple[int, int] | None, *, close: bool) -> int | None:
    """Let a JPEG that is larger than needed be decoded at a fraction of its size; the scale."""
    if not isinstance(image, JpegImagePlugin.JpegImageFile):
        return None
    scale = draft.scale_for(image.size, for_size, close=close) if for_size is not None else 1
    if scale > 1:
        image.draft(None, (image.width // scale, image.height // scale))
    return scale


def orientation(image: Image.Image) -> int:
    """The EXIF orientation of an opened file, 1 to 8; UPRIGHT where it has none, or a damaged one.

    Of a TIFF that is loaded it is UPRIGHT: Pillow has turned it already.
    """
    try:
        value = image.getexif().get(_ORIENTATION_TAG)
    except _DECODER_FAULTS:
        return UPRIGHT  # a damaged EXIF block says nothing about the pixels, which are whole
    return value if isinstance(value, int) and value in _UPRIGHT_BY_ORIENTATION else UPRIGHT


def _scale_transparency(image: Image.Image, *, bit_depth: int) -> None:
    """Pillow scales a PNG's pixels to 8 bits, but not the value that the file calls transparent."""
    through = image.info.get("transparency")
    if isinstance(through, int) and image.mode == "L" and bit_depth < 8:
        highest = 2**bit_depth - 1
        image.info["transparency"] = (through & highest) * 255 // highest
    elif isinstance(through, tuple) and bit_depth == 16:
        image.info["transparency"] = tuple(value >> 8 for value in through)


def _black_is_zero(image: Image.Image) -> Image.Image:
    """A TIFF file's grey as all others have it: Pillow leaves 16 bits in which white is 0 so."""
    is_white_zero = getattr(image, "tag_v2", {}).get(_PHOTOMETRIC_TAG) == 0
    if not (is_white_zero and image.mode.startswith("I;16")):
        return image
    return Image.fromarray(65_535 - np.asarray(image).astype(np.uint16))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):  # 16 bits of grey in 16 or 32: keep the upper 8
        values = np.clip(np.asarray(image), 0, 65_535).astype(np.uint16)
        grey = (values >> 8).astype(np.uint8)
        if isinstance(through := image.info.get("transparency"), int):
            grey[values == through] = 255
        return Image.fromarray(grey).convert("RGB")
    if image.mode == "F":  # of 0 to 1 or of 0 to 255
        levels = np.nan_to_num(np.array(image), copy=False)
        levels *= 255 if levels.max() <= 1 else 1
        return Image.fromarray(np.clip(levels, 0, 255, out=levels).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layers = image if image.mode == "RGBA" else image.convert("RGBA")
        paper = Image.new("RGB", layers.size, "white")
        paper.paste(layers, mask=layers)
        return paper
    return image.convert("RGB")
