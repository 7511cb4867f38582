"""What a JPEG's header says of how it is coded, read as libjpeg reads it.

Some kinds are refused by name: arithmetic coding, since its decoder goes on for ever where data is
missing, and samples of more than 8 bits, which Pillow does not read. Others would be costly.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from serving.errors import UnsupportedImageError

# A scan's marker (ITU-T T.81, table B.1) and the start of its header (B.2.3): a length of 6 plus 2
# for each of its 1 to 4 components, and the number of components.
_SCAN = re.compile(rb"\xff\xda\0(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")
# A marker is 0xFF and a byte that is neither 0 nor 0xFF; what stands before it is skipped.
_MARKER = re.compile(rb"\xff([^\xff\0])")
_ALONE = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})  # markers without a length: TEM, SOI, RSTn
_EOI, _SOS = 0xD9, 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # DHT, JPG and DAC are none
_PROGRESSIVE, _LOSSLESS, _FIRST_ARITHMETIC = 0xC2, 0xC3, 0xC9
_MAX_SEGMENTS = 4_000
_BYTES_PER_FURTHER_SEGMENT = 512
_BYTES_PER_BLOCK = 128  # libjpeg keeps 64 coefficients of 16 bits


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame header (B.2.2): how the picture is coded.

    Attributes:
        coding: the marker's second byte.
        sampling: of each component, horizontally and vertically.
        components_in_scan: how many of them the first scan holds.
    """

    coding: int
    bits: int
    size: tuple[int, int]
    sampling: tuple[tuple[int, int], ...]
    components_in_scan: int = 0

    @property
    def is_lossless(self) -> bool:
        return self.coding == _LOSSLESS

    @property
    def has_one_scan(self) -> bool:
        """Whether libjpeg takes the first scan for the only one, and reads no other."""
        return self.coding != _PROGRESSIVE and self.components_in_scan == len(self.sampling)

    def coefficient_bytes(self, scans: int) -> int:
        """The memory for the coefficients of a picture that comes in several scans."""
        if self.coding != _PROGRESSIVE and scans < 2:
            return 0
        widest = max((h for h, _ in self.sampling), default=1) or 1
        tallest = max((v for _, v in self.sampling), default=1) or 1
        width, height = (-(-side // 8) for side in self.size)
        blocks = sum(-(-width * h // widest) * -(-height * v // tallest) for h, v in self.sampling)
        return blocks * _BYTES_PER_BLOCK


def read_frame(data: bytes) -> Frame | None:
    """The frame header that libjpeg would find; None when there is none before the first scan.

    Raises:
        UnsupportedImageError: it is of a kind that is not read.
    """
    frame = None
    for kind, position in _segments(data):
        if kind in _FRAMES and frame is None:
            frame = _checked(kind, data[position : position + 1_024])
        if kind == _SOS and frame is not None:
            return replace(
                frame, components_in_scan=int.from_bytes(data[position + 2 : position + 3])
            )
    return frame


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """The second byte of each marker up to the first scan, and where its segment begins."""
    position = 2
    for _ in range(_MAX_SEGMENTS + len(data) // _BYTES_PER_FURTHER_SEGMENT):
        if (marker := _MARKER.search(data, position)) is None:
            return
        kind, position = marker[1][0], marker.end()
        if kind in _ALONE:
            continue
        yield kind, position
        if kind in (_EOI, _SOS):
            return
        position += int.from_bytes(data[position : position + 2])


def _checked(coding: int, header: bytes) -> Frame | None:
    if len(header) < 8:
        return None
    bits, height, width, count = struct.unpack_from(">BHHB", header, 2)
    components = [header[9 + 3 * i : 10 + 3 * i] for i in range(count)]
    sampling = tuple((one[0] >> 4, one[0] & 15) for one in components if one)
    if coding >= _FIRST_ARITHMETIC:
        raise _unread("an arithmetic-coded JPEG")
    if bits != 8:
        raise _unread(f"a {bits}-bit JPEG")
    if coding > _LOSSLESS:
        raise _unread("a hierarchical JPEG")
    return Frame(coding, bits, (width, height), sampling)


def _unread(kind: str) -> UnsupportedImageError:
    return UnsupportedImageError(
        f"The file is {kind}, a kind of JPEG that is not read. Save it as an ordinary JPEG."
    )


def scans(data: bytes) -> int:
    """The number of scans that start in a JPEG.

    A scan's marker cannot occur inside a scan, but it does in the video that some phones append to
    a photo. So the start of the scan's header is matched as well.
    """
    return sum(1 for _ in _SCAN.finditer(data))


def with_ends(data: bytes) -> tuple[bytes, bytes]:
    """A JPEG without its end marker, ended in two ways.

    If its pixels are all there, both decode to the same picture. If some are missing, those are
    made of the different bits that are put before the end.
    """
    whole = data.rstrip(b"\xff")
    return whole + b"\0" * 64 + b"\xff\xd9", whole + b"\xb6" * 64 + b"\xff\xd9"
