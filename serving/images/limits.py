"""Files that would cost far more to decode than their pixels tell: a few hundred kilobytes can keep
a decoder busy for hours. Each is refused with an UndecodableImageError.
"""

import math
import re
import struct
from io import BytesIO
from typing import Literal

from PIL import Image, JpegImagePlugin

from serving.errors import UndecodableImageError

# Pillow's limit of a PNG's text (serving/images/decode.py) forgets chunks without a key and those that are
# not UTF-8, each of which may inflate to a megabyte: 2 MB of file kept Pillow busy for 5 seconds.
# ImageMagick, which is fond of such chunks, writes at most seven.
_INFLATED_CHUNKS = (b"zTXt", b"iTXt", b"iCCP")
_MAX_INFLATED_CHUNKS = 12

# Each scan of a JPEG costs time in proportion to its pixels, and may take a few bytes: 200 kB can
# keep a decoder busy for hours. A progressive JPEG has about 10 (libjpeg's default script).
_MAX_SCANS_AT_PIXEL_CAP = 20
# A scan's marker (ITU-T T.81, table B.1) and the start of its header (B.2.3): a length of 6 and 2
# for each of its 1 to 4 components, and their number.
_SCAN = re.compile(rb"\xff\xda\0(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")

# Pillow steps through a file's segments, chunks, blocks and tags in Python, with two or three reads
# for each, and 4 MB can hold a million. A PNG has an IDAT chunk for every 8 kB (libpng's default).
_MAX_CHUNKS = 1_000
_BYTES_PER_FURTHER_CHUNK = 2_048
_MAX_READS = 4_000
_BYTES_PER_FURTHER_READ = 512
# Of a run-length encoded BMP it reads each run by itself and fills up each row pixel by pixel: so
# many of either take a tenth of a second.
_MAX_READS_OF_A_BMP = 250_000
_MAX_RUN_LENGTH_ENCODED_PIXELS = 1_000_000
_RUN_LENGTH_ENCODED = (1, 2)  # BI_RLE8 and BI_RLE4 of the bitmap's header

# A camera writes about 20 entries into the directory that holds the orientation.
_MAX_EXIF_ENTRIES = 1_000

_TILE_SIZE_TAGS = (322, 323)  # TIFF 6.0, section 15: TileWidth and TileLength


class MeteredFile(BytesIO):
    """A file in memory that ends the decoding of what takes far too many reads."""

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
    """Pillow's `Exif.load`, for whichever plugin calls it, of directories that are not huge.

    60,000 entries take half a second. Such EXIF and damaged one are as good as none: they say
    nothing about the pixels, and some plugins would refuse the whole file for them.
    """
    base = 0
    while data.startswith(b"Exif\0\0", base) and base < 12:  # Pillow takes it twice, too
        base += 6
    order: Literal["little", "big"] = "little" if data[base : base + 2] == b"II" else "big"
    start = base + int.from_bytes(data[base + 4 : base + 8], order)
    is_huge = int.from_bytes(data[start : start + 2], order) > _MAX_EXIF_ENTRIES
    try:
        _pillows_load_exif(exif, b"" if is_huge else data)
    except Exception:  # noqa: BLE001 - a decoder's fault may be of nearly any kind
        _pillows_load_exif(exif, b"")


_pillows_load_exif = Image.Exif.load
Image.Exif.load = _load_exif  # type: ignore[method-assign,assignment]


def check_chunks(data: bytes) -> None:
    """Refuse a PNG of far too many chunks, or of too many that Pillow would inflate.

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
    """Refuse an opened file of far too many scans, of far too large tiles, or of too many runs.

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
    """How many scans of a JPEG start.

    Their marker cannot occur inside a scan, but in a video that a phone hangs on a photo it does:
    hence the whole of the header.
    """
    return sum(1 for _ in _SCAN.finditer(data))


def _costly(file_format: str | None) -> UndecodableImageError:
    name = f"{file_format} image" if file_format else "image"
    return UndecodableImageError(
        f"The {name} is built so that it would be costly to decode. Open it and save it anew."
    )
