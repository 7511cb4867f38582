"""Limits on files that cost far more to decode than their number of pixels suggests.

A few hundred kilobytes can keep a decoder busy for hours. Such a file is refused with an
UndecodableImageError.
"""

import math
import re
import struct
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from typing import Any, Literal

from PIL import Image, JpegImagePlugin

from serving.errors import UndecodableImageError

# Text chunks are inflated while a PNG is opened, and the text is not used: Pillow's own limit is
# 64 MB. That limit does not count chunks without a keyword, nor those that are not UTF-8, and each
# may inflate to a megabyte: 2 MB of file kept Pillow busy for 5 seconds. ImageMagick, which writes
# many such chunks, writes at most seven.
_MAX_PNG_TEXT_BYTES = 4_000_000
_INFLATED_CHUNKS = (b"zTXt", b"iTXt", b"iCCP")
_MAX_INFLATED_CHUNKS = 12

# Each scan of a JPEG takes time in proportion to its pixels, and can be a few bytes long: 200 kB
# can keep a decoder busy for hours. A progressive JPEG has about 10 (libjpeg's default script).
_MAX_SCANS_AT_PIXEL_CAP = 20
# A scan's marker (ITU-T T.81, table B.1) and the start of its header (B.2.3): a length of 6 plus 2
# for each of its 1 to 4 components, and the number of components.
_SCAN = re.compile(rb"\xff\xda\0(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")

# Pillow walks through a file's segments, chunks, blocks and tags in Python, with two or three reads
# for each, and 4 MB can hold a million. A PNG has an IDAT chunk for every 8 kB (libpng's default).
_MAX_CHUNKS = 1_000
_BYTES_PER_FURTHER_CHUNK = 2_048
_MAX_READS = 4_000
_BYTES_PER_FURTHER_READ = 512
# Pillow reads each run of a run-length encoded BMP separately and fills each row pixel by pixel:
# this many of either take a tenth of a second.
_MAX_READS_OF_A_BMP = 250_000
_MAX_RUN_LENGTH_ENCODED_PIXELS = 1_000_000
_RUN_LENGTH_ENCODED = (1, 2)  # BI_RLE8 and BI_RLE4 of the bitmap's header

# A camera writes about 20 entries into the directory that holds the orientation.
_MAX_EXIF_ENTRIES = 1_000

_TILE_SIZE_TAGS = (322, 323)  # TIFF 6.0, section 15: TileWidth and TileLength

_pillows_load_exif = Image.Exif.load


class _Scope:
    """Pillow's process-wide settings, changed while any thread decodes and then restored.

    Other code in the process, such as a training, then sees Pillow unchanged. Threads share a scope
    because `warnings.catch_warnings` is not thread-safe: one thread would restore what another set.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads = 0
        self._restoring = ExitStack()

    def enter(self) -> None:
        with self._lock:
            if not self._threads:
                # Pillow warns about damaged metadata, which is not used.
                self._restoring.enter_context(warnings.catch_warnings(action="ignore"))
                self._set(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
                self._set(Image.Exif, "load", _load_exif)
            self._threads += 1

    def limit(self, max_pixels: int) -> None:
        # Pillow refuses an image of more than twice this, before it prepares for the pixels.
        Image.MAX_IMAGE_PIXELS = max_pixels / 2  # type: ignore[assignment]  # may be odd
        if (png := sys.modules.get("PIL.PngImagePlugin")) is not None:
            with self._lock:
                if png.MAX_TEXT_MEMORY != _MAX_PNG_TEXT_BYTES:
                    self._set(png, "MAX_TEXT_MEMORY", _MAX_PNG_TEXT_BYTES)

    def leave(self) -> None:
        with self._lock:
            self._threads -= 1
            if not self._threads:
                self._restoring.close()

    def _set(self, where: Any, name: str, value: Any) -> None:
        self._restoring.callback(setattr, where, name, getattr(where, name))
        setattr(where, name, value)


_SCOPE = _Scope()


@contextmanager
def pillow_limits(max_pixels: int) -> Iterator[None]:
    """Within the block, Pillow keeps to our limits and is silent about damaged metadata.

    It opens images of at most `max_pixels` (width times height); larger ones raise Pillow's
    DecompressionBombError. Import a format's plugin before.
    """
    _SCOPE.enter()
    try:
        _SCOPE.limit(max_pixels)
        yield
    finally:
        _SCOPE.leave()


class MeteredFile(BytesIO):
    """A file in memory that stops a decoder which makes far too many reads."""

    def __init__(self, data: bytes, file_format: str) -> None:
        super().__init__(data)
        most = _MAX_READS_OF_A_BMP if file_format == "BMP" else _MAX_READS
        self._reads_left = most + len(data) // _BYTES_PER_FURTHER_READ

    def read(self, size: int | None = -1, /) -> bytes:
        self._reads_left -= 1
        if self._reads_left < 0:
            raise _costly(None)
        return super().read(size)


def _load_exif(exif: Image.Exif, data: bytes) -> None:
    """Pillow's `Exif.load`, whichever plugin calls it, without directories that are huge.

    60,000 entries take half a second. Huge or damaged EXIF counts as none: it says nothing about
    the pixels, and some plugins would refuse the whole file for it.
    """
    base = 0
    while data.startswith(b"Exif\0\0", base) and base < 12:  # Pillow accepts it twice, too
        base += 6
    order: Literal["little", "big"] = "little" if data[base : base + 2] == b"II" else "big"
    start = base + int.from_bytes(data[base + 4 : base + 8], order)
    is_huge = int.from_bytes(data[start : start + 2], order) > _MAX_EXIF_ENTRIES
    try:
        _pillows_load_exif(exif, b"" if is_huge else data)
    except Exception:  # noqa: BLE001 - a damaged file can raise nearly anything in a decoder
        _pillows_load_exif(exif, b"")


def check_chunks(data: bytes) -> None:
    """Refuse a PNG with far too many chunks, or with too many that Pillow would inflate.

    Raises:
        UndecodableImageError: it has.
    """
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


def check_cost(image: Image.Image, data: bytes, max_pixels: int) -> None:
    """Refuse an opened file with far too many scans, far too large tiles, or too many runs.

    Args:
        image: the file as Pillow has opened it, not yet decoded.
        data: the file.
        max_pixels: the most pixels (width times height) that are decoded.

    Raises:
        UndecodableImageError: it has.
    """
    cost, allowed = image.width * image.height, max_pixels
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        cost *= _scans(data)
        allowed *= _MAX_SCANS_AT_PIXEL_CAP
    elif image.format == "TIFF":
        tags = getattr(image, "tag_v2", {})
        tile = [tags.get(tag, 0) for tag in _TILE_SIZE_TAGS]
        cost = math.prod(side for side in tile if isinstance(side, int))
    elif image.format == "BMP" and image.info.get("compression") in _RUN_LENGTH_ENCODED:
        allowed = min(allowed, _MAX_RUN_LENGTH_ENCODED_PIXELS)
    if cost > allowed:
        raise _costly(image.format)


def _scans(data: bytes) -> int:
    """The number of scans that start in a JPEG.

    A scan's marker cannot occur inside a scan, but it does in the video that some phones append to
    a photo. So the start of the scan's header is matched as well.
    """
    return sum(1 for _ in _SCAN.finditer(data))


def _costly(file_format: str | None) -> UndecodableImageError:
    name = f"{file_format} image" if file_format else "image"
    return UndecodableImageError(
        f"The {name} is built so that it would be costly to decode. Open it in an image editor "
        "and save it again."
    )
