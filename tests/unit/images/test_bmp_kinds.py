"""All kinds of BMP are read rightly, or refused by their names."""

import struct
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.errors import UnsupportedImageError
from tests.decoding import decode, difference_or_name
from tests.drawn import encoded, picture

DRAWN = picture("red", width_px=64, height_px=48)
RGB = np.asarray(DRAWN)
Pixels = NDArray[Any]


def bmp(
    bits: int, pixels: Pixels, *, masks: tuple[int, ...] = (), palette: Pixels | None = None,
    compression: int = 0, header: int = 40, upside_down: bool = True,
) -> bytes:  # fmt: skip
    """A BMP of rows of bytes, the first one at the top."""
    height = len(pixels)
    rows = [row.tobytes() + bytes(-len(row) % 4) for row in pixels.view(np.uint8)]
    body = b"".join(rows[::-1] if upside_down else rows)
    width = pixels.view(np.uint8).shape[1] * 8 // bits
    if header == 12:
        head = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        signed = height if upside_down else -height
        head = struct.pack(
            "<IiiHHIIiiII", header, width, signed, 1, bits, compression, len(body), 0, 0, 0, 0
        )
        head = (head + struct.pack(f"<{len(masks)}I", *masks)).ljust(header, b"\0")
    if palette is not None:
        head += np.pad(palette[:, ::-1], ((0, 0), (0, int(header != 12)))).tobytes()
    offset = 14 + len(head)
    return b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + head + body


def packed(shifts: tuple[int, ...], bits: tuple[int, ...], kind: str) -> tuple[Pixels, Pixels]:
    """RGB in so many bits at these places of a number, and how they look."""
    kept = [RGB[..., n].astype(np.uint32) >> (8 - count) for n, count in enumerate(bits)]
    numbers = sum(part << shift for part, shift in zip(kept, shifts, strict=True))
    shown = [
        part * 255 // (2**count - 1) for part, count in zip(kept, bits, strict=True)
    ]  # rounded down by Pillow
    return np.asarray(numbers).astype(kind), np.dstack(shown)


PLAIN = np.ascontiguousarray(RGB[..., ::-1]).reshape(len(RGB), -1)


@pytest.mark.parametrize("options", [{}, {"header": 12}, {"header": 64}, {"upside_down": False}])
def test_a_bmp_of_24_bits_is_read_with_any_header(options: dict[str, Any]):
    assert difference_or_name(bmp(24, PLAIN, **options), RGB) == 0


@pytest.mark.parametrize(
    ("shifts", "bits", "options"),
    [
        ((10, 5, 0), (5, 5, 5), {}),
        ((10, 5, 0), (5, 5, 5), {"compression": 3, "masks": (0x7C00, 0x3E0, 0x1F)}),
        ((11, 5, 0), (5, 6, 5), {"compression": 3, "masks": (0xF800, 0x7E0, 0x1F)}),
        ((8, 4, 0), (4, 4, 4), {"compression": 3, "masks": (0xF00, 0xF0, 0xF)}),
    ],
)
def test_a_bmp_of_16_bits_looks_the_same_or_is_named(shifts, bits, options: dict[str, Any]):
    numbers, expected = packed(shifts, bits, "<u2")
    header = 40 + 4 * len(options.get("masks", ()))
    found = difference_or_name(bmp(16, numbers, **{"header": header, **options}), expected)
    assert "bitfields layout" in found if isinstance(found, str) else found <= 2


@pytest.mark.parametrize("compression", [3, 6])
@pytest.mark.parametrize("alpha", [255, 0])
@pytest.mark.parametrize("shifts", [(16, 8, 0, 24), (0, 8, 16, 24), (8, 16, 24, 0), (24, 16, 8, 0)])
def test_a_bmp_of_32_bits_looks_the_same_or_is_named(shifts, alpha: int, compression: int):
    numbers, expected = packed(shifts[:3], (8, 8, 8), "<u4")
    numbers = numbers | np.uint32(alpha << shifts[3])
    masks = tuple(255 << shift for shift in shifts)
    data = bmp(32, numbers, masks=masks, compression=compression, header=108)
    found = difference_or_name(data, expected)
    if isinstance(found, str):
        assert "bitfields layout" in found or "compression (6)" in found
    else:
        assert found == 0


@pytest.mark.parametrize("header", [12, 40])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_bmp_with_a_palette_looks_the_same_or_is_named(bits: int, header: int):
    paletted = DRAWN.quantize(2**bits)
    indices = np.asarray(paletted)
    palette = np.zeros((2**bits, 3), np.uint8)
    known = np.array(paletted.getpalette(), np.uint8).reshape(-1, 3)[: 2**bits]
    palette[: len(known)] = known
    each = indices.reshape(len(indices), -1, 8 // bits).astype(np.uint32)
    places = np.arange(8 - bits, -1, -bits)
    rows = (each << places).sum(axis=2).astype(np.uint8)
    found = difference_or_name(bmp(bits, rows, palette=palette, header=header), palette[indices])
    assert "pixel depth (2)" in found if isinstance(found, str) else found == 0


@pytest.mark.parametrize("compression", [4, 5])  # BI_JPEG, BI_PNG: for printers
def test_a_bmp_around_another_file_is_named(compression: int):
    inside = np.frombuffer(encoded(DRAWN).ljust(4_000, b"\0")[:4_000], np.uint8).reshape(1, -1)
    with pytest.raises(UnsupportedImageError, match="a kind of BMP that is not read"):
        decode(bmp(24, inside, compression=compression))
