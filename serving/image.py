"""Bytes of an image file in, an upright 8-bit RGB image out.

The format is read from the content, never from a name or a header. Refused: other formats
(UnsupportedImageError), more pixels than allowed, checked before a pixel is decoded, and files that
Pillow cannot decode to their last row (UndecodableImageError).
"""

import importlib
import logging
import math
import struct
import warnings
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

import numpy as np
from PIL import Image, JpegImagePlugin, UnidentifiedImageError

from serving import draft
from serving.errors import UndecodableImageError, UnsupportedImageError

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
# That limit forgets chunks without a key and those that are not UTF-8, each of which may inflate to
# a megabyte: 2 MB of file kept Pillow busy for 5 seconds. ImageMagick, which is fond of such
# chunks, writes at most seven.
_INFLATED_CHUNKS = (b"zTXt", b"iTXt", b"iCCP")
_MAX_INFLATED_CHUNKS = 12

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

# Each scan of a JPEG costs time in proportion to its pixels, and may take a few bytes: 200 kB can
# keep a decoder busy for hours. A progressive JPEG has about 10 (libjpeg's default script).
_MAX_SCANS_AT_PIXEL_CAP = 20

# Pillow steps through a file's segments, chunks, blocks and tags in Python, with two or three reads
# for each, and 4 MB can hold a million. A PNG has an IDAT chunk for every 8 kB (libpng's default).
_MAX_CHUNKS = 1_000
_BYTES_PER_FURTHER_CHUNK = 2_048
_MAX_READS = 4_000
_BYTES_PER_FURTHER_READ = 512

# A camera writes about 20 entries into the directory that holds the orientation.
_MAX_EXIF_ENTRIES = 1_000

_ORIENTATION_TAG = 274  # EXIF 2.32, table 4
_TILE_SIZE_TAGS = (322, 323)  # TIFF 6.0, section 15: TileWidth and TileLength
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
        file_px: the file's own width and height in pixels.
        scale: what these were divided by; None where the file is no JPEG.
        box: the part of the image that the file's pixels fill; None where it is all.
    """

    image: Image.Image
    file_px: tuple[int, int]
    scale: int | None
    box: draft.Box | None

    def serves(self, size: tuple[int, int], *, close: bool) -> bool:
        """Whether the file would be decoded to this very image for `size`, too."""
        return self.scale in (None, draft.scale_for(self.file_px, size, close=close))


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
            larger is then decoded at a fraction of its size (serving/draft.py). None decodes it
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
        _check_chunks(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of damaged metadata, which is not used
            # Pillow refuses what has more than twice as many, before it prepares for the pixels.
            Image.MAX_IMAGE_PIXELS = max_pixels / 2  # type: ignore[assignment]  # may be odd
            image = Image.open(_MeteredFile(data), formats=(file_format,))
            _check_cost(image, data, max_pixels)
            file_px = image.size
            scale = _draft(image, for_size, close=close)
            image.load()
            turn = _turn(image)
            box = draft.filled_part(file_px, scale, turn) if scale else None
            upright = image if turn is None else image.transpose(turn)
            return Decoded(_to_rgb(upright), file_px, scale, box)
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


class _MeteredFile(BytesIO):
    """A file in memory that ends the decoding of what takes far too many reads."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._reads_left = _MAX_READS + len(data) // _BYTES_PER_FURTHER_READ

    def read(self, size: int | None = -1, /) -> bytes:
        self._reads_left -= 1
        if self._reads_left < 0:
            raise _costly(None)
        return super().read(size)


def _load_exif(exif: Image.Exif, data: bytes) -> None:
    """Pillow's `Exif.load`, for whichever plugin calls it, of directories that are not huge.

    60,000 entries take half a second. The SyntaxError is what Pillow itself raises of damaged EXIF.
    """
    base = 0
    while data.startswith(b"Exif\0\0", base) and base < 12:  # Pillow takes it twice, too
        base += 6
    order: Literal["little", "big"] = "little" if data[base : base + 2] == b"II" else "big"
    start = base + int.from_bytes(data[base + 4 : base + 8], order)
    if int.from_bytes(data[start : start + 2], order) > _MAX_EXIF_ENTRIES:
        raise SyntaxError("the EXIF directory is too large")
    _pillows_load_exif(exif, data)


_pillows_load_exif = Image.Exif.load
Image.Exif.load = _load_exif  # type: ignore[method-assign,assignment]


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


def _check_chunks(data: bytes) -> None:
    """Refuse a PNG of far too many chunks, or of too many that Pillow would inflate."""
    position, inflated = 8, 0  # after the signature
    for _ in range(_MAX_CHUNKS + len(data) // _BYTES_PER_FURTHER_CHUNK):
        if position + 8 > len(data):
            return  # cut short: Pillow finds that, too
        length, kind = struct.unpack_from(">I4s", data, position)
        inflated += kind in _INFLATED_CHUNKS
        if inflated > _MAX_INFLATED_CHUNKS:
            break
        if kind == b"IEND":
            return
        position += 12 + length
    raise _costly("PNG")


def _check_cost(image: Image.Image, data: bytes, max_pixels: int) -> None:
    """Refuse files that would cost far more to decode than their pixels tell."""
    cost, allowed = image.width * image.height, max_pixels
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        cost *= data.count(b"\xff\xda")  # start of scan; cannot occur inside one
        allowed *= _MAX_SCANS_AT_PIXEL_CAP
    elif image.format == "TIFF":
        tags = getattr(image, "tag_v2", {})
        tile = [tags.get(tag, 0) for tag in _TILE_SIZE_TAGS]
        cost = math.prod(side for side in tile if isinstance(side, int))
    if cost > allowed:
        raise _costly(image.format)


def _costly(file_format: str | None) -> UndecodableImageError:
    name = f"{file_format} image" if file_format else "image"
    return UndecodableImageError(
        f"The {name} is built so that it would be costly to decode. Open it and save it anew."
    )


def _draft(image: Image.Image, for_size: tuple[int, int] | None, *, close: bool) -> int | None:
    """Let a JPEG that is larger than needed be decoded at a fraction of its size; the scale."""
    if not isinstance(image, JpegImagePlugin.JpegImageFile):
        return None
    scale = draft.scale_for(image.size, for_size, close=close) if for_size is not None else 1
    if scale > 1:
        image.draft(None, (image.width // scale, image.height // scale))
    return scale


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What turns the image upright; None where it is."""
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG)  # Pillow has turned TIFF files already
    except _DECODER_FAULTS:
        return None  # a damaged EXIF block says nothing about the pixels, which are whole
    return _UPRIGHT_BY_ORIENTATION.get(orientation) if isinstance(orientation, int) else None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):  # 16 bits of grey in 16 or 32: keep the upper 8
        grey = np.clip(np.asarray(image), 0, 65_535).astype(np.uint16) >> 8
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        paper = Image.new("RGB", layers.size, "white")
        paper.paste(layers, mask=layers)
        return paper
    return image.convert("RGB")
