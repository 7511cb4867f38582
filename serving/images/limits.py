"""Limits on files that cost far more to decode than their number of pixels suggests.

A few hundred kilobytes can keep a decoder busy for hours. Such a file is refused with an
UndecodableImageError.
"""

import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from typing import Any, Literal

from PIL import Image

from serving.errors import CostlyImageError

# Each scan of a JPEG takes time in proportion to its pixels, and can be a few bytes long: 200 kB
# can keep a decoder busy for hours. A progressive JPEG has about 10 (libjpeg's default script).
_MAX_SCANS_AT_PIXEL_CAP = 20
# For a JPEG's coefficients and its decoded pixels; a larger IMAGE_MAX_PIXELS allows more.
_MAX_JPEG_BYTES = 360_000_000
_JPEG_BYTES_PER_PIXEL = 7
_BYTES_PER_PIXEL = 4  # Pillow's, in most modes

# Pillow walks through a file's segments, blocks and tags in Python, with two or three reads for
# each, and 4 MB can hold a million.
_MAX_READS = 4_000
_BYTES_PER_FURTHER_READ = 512
# Pillow reads each run of a run-length encoded BMP separately and fills each row pixel by pixel:
# this many of either take a tenth of a second.
_MAX_READS_OF_A_BMP = 250_000
_MAX_RUN_LENGTH_ENCODED_PIXELS = 1_000_000
_RUN_LENGTH_ENCODED = (1, 2)  # BI_RLE8 and BI_RLE4 of the bitmap's header

# A picture of one row of 50 million pixels would take longer to resize than to decode, in memory
# for each column. JPEG and GIF cannot have longer sides than this.
_MAX_SIDE_PX = 65_535

# A camera writes about 20 entries into the directory that holds the orientation.
_MAX_EXIF_ENTRIES = 1_000

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
    DecompressionBombError.
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
        self._format = file_format
        most = _MAX_READS_OF_A_BMP if file_format == "BMP" else _MAX_READS
        self._reads_left = most + len(data) // _BYTES_PER_FURTHER_READ

    def read(self, size: int | None = -1, /) -> bytes:
        self._reads_left -= 1
        if self._reads_left < 0:
            raise CostlyImageError.built(self._format)
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


def check_cost(image: Image.Image, *, max_pixels: int) -> None:
    """Refuse an opened file with sides that are far too long, or with too many runs.

    Args:
        image: the file as Pillow has opened it, not yet decoded.
        max_pixels: the most pixels (width times height) that are decoded.

    Raises:
        CostlyImageError: it has.
    """
    if max(image.size) > _MAX_SIDE_PX:
        raise CostlyImageError(
            f"The image is {image.width:,} x {image.height:,} pixels; no side may be longer than "
            f"{_MAX_SIDE_PX:,}. Cut it."
        )
    runs = image.format == "BMP" and image.info.get("compression") in _RUN_LENGTH_ENCODED
    if runs and image.width * image.height > min(max_pixels, _MAX_RUN_LENGTH_ENCODED_PIXELS):
        raise CostlyImageError.built("BMP")


def check_jpeg(
    file_px: tuple[int, int],
    decoded_px: tuple[int, int],
    *,
    scans: int,
    coefficient_bytes: int,
    max_pixels: int,
) -> None:
    """Refuse a JPEG with far too many scans, or which needs far too much memory.

    Args:
        file_px, decoded_px: its width and height, and those at which it will be decoded.
        coefficient_bytes: what libjpeg keeps between its scans.

    Raises:
        CostlyImageError: it has.
    """
    scanned = file_px[0] * file_px[1] * scans
    needed = coefficient_bytes + decoded_px[0] * decoded_px[1] * _BYTES_PER_PIXEL
    most_bytes = max(_MAX_JPEG_BYTES, _JPEG_BYTES_PER_PIXEL * max_pixels)
    if scanned > _MAX_SCANS_AT_PIXEL_CAP * max_pixels or needed > most_bytes:
        raise CostlyImageError.built("JPEG")
