"""Files that would cost far more to decode than they weigh, one of each kind, drawn here."""

import random
import struct
import zlib
from collections.abc import Callable

from PIL import Image

from tests.drawn import encoded, png, png_chunk
from tests.hostile_boxes import (
    avif_of_a_grid,
    avif_that_lies,
    heic_of_a_grid,
    heic_that_claims_everything,
    heic_that_lies,
)

SHORT, LONG, BYTE, SLONG8, IFD8 = 3, 4, 1, 17, 18
_FORMATS = {SHORT: "H", LONG: "I", BYTE: "B", SLONG8: "q", IFD8: "Q"}
_TURNED = b"II*\0" + struct.pack("<IHHHIIIH", 8, 1, 274, SHORT, 1, 6, 0, 0)

Tag = tuple[int, int, list[int]]


def tiff(tags: list[Tag], data: bytes, *, places: int) -> bytes:
    """A TIFF; the values of the tag `places` count from the start of `data`."""
    size = 8 + 2 + 12 * len(tags) + 4
    outside, entries = b"", b""
    data_at = size + sum(
        len(values) * struct.calcsize(_FORMATS[kind])
        for _, kind, values in tags
        if len(values) * struct.calcsize(_FORMATS[kind]) > 4
    )
    for tag, kind, values in tags:
        if tag == places:
            values = [value + data_at for value in values]
        packed = struct.pack(f"<{len(values)}{_FORMATS[kind]}", *values)
        if len(packed) > 4:
            packed, outside = struct.pack("<I", size + len(outside)), outside + packed
        entries += struct.pack("<HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + outside + data


def grey(width: int, height: int, compression: int, *more: Tag) -> list[Tag]:
    """The tags of a grey TIFF of 8 bits."""
    return sorted(
        [
            (256, LONG, [width]),
            (257, LONG, [height]),
            (258, SHORT, [8]),
            (259, SHORT, [compression]),
            (262, SHORT, [1]),
            (277, SHORT, [1]),
            *more,
        ]
    )


def tiff_of_tiles_that_share_their_bytes() -> bytes:
    side, count = 7_040, 100
    blob = zlib.compress(bytes(side * side), 9)
    tiles: list[Tag] = [
        (322, LONG, [side]),
        (323, LONG, [side]),
        (324, LONG, [0] * count),
        (325, LONG, [len(blob)] * count),
    ]
    return tiff(grey(side * 1, count * 8, 8, *tiles), blob, places=324)


def tiff_of_shared_tiles_in_a_large_picture() -> bytes:
    """Every tile hides another 49 megapixels behind its edge."""
    side, count = 7_040, 400
    blob = zlib.compress(bytes(side * side), 9)
    tiles: list[Tag] = [
        (322, LONG, [16]),
        (323, LONG, [side]),
        (324, LONG, [0] * count),
        (325, LONG, [len(blob)] * count),
    ]
    return tiff(grey(16 * count, 3_000, 8, *tiles), blob, places=324)


def _tile_of_a_type(kind: int) -> bytes:
    value = 240 if kind == BYTE else 8_192
    blob = zlib.compress(bytes(value * value), 9)
    if kind == BYTE:
        sides: list[Tag] = [(322, BYTE, [value]), (323, BYTE, [value])]
    else:
        sides = [(322, kind, [value]), (323, kind, [value])]
    tiles: list[Tag] = [*sides, (324, LONG, [0]), (325, LONG, [len(blob)])]
    return tiff(grey(10, 10, 8, *tiles), blob, places=324)


def tiff_whose_tile_is_slong8() -> bytes:
    return _tile_of_a_type(SLONG8)


def tiff_whose_tile_is_ifd8() -> bytes:
    return _tile_of_a_type(IFD8)


def tiff_whose_tile_is_of_bytes() -> bytes:
    return _tile_of_a_type(BYTE)


def _fax(compression: int) -> bytes:
    noise = random.Random(0).randbytes(1_000_000)
    strips: list[Tag] = [(273, LONG, [0]), (278, LONG, [60_000]), (279, LONG, [len(noise)])]
    tags = [t if t[0] != 258 else (258, SHORT, [1]) for t in grey(400, 60_000, compression)]
    return tiff(sorted([*tags, *strips]), noise, places=273)


def fax_of_noise_2() -> bytes:
    return _fax(2)


def fax_of_noise_3() -> bytes:
    return _fax(3)


def fax_of_noise_4() -> bytes:
    return _fax(4)


def tiff_of_millions_of_strips() -> bytes:
    count = 2_000_000
    strips: list[Tag] = [(273, LONG, [0] * count), (278, LONG, [1]), (279, LONG, [1] * 2)]
    return tiff(grey(8, 60_000, 8, *strips), bytes(64), places=273)


def tiff_of_many_jpeg_strips() -> bytes:
    blob, count = encoded(Image.new("L", (8, 8), 99)), 8_000
    strips: list[Tag] = [
        (273, LONG, [0] * count),
        (278, LONG, [8]),
        (279, LONG, [len(blob)] * count),
    ]
    return tiff(grey(8, 8 * count, 7, *strips), blob, places=273)


def jpeg_of_arithmetic_coding(marker: int = 0xC9) -> bytes:
    """Headers of a picture of 49 megapixels and no data, which the decoder makes up for ever."""
    data = bytearray(encoded(Image.new("RGB", (16, 16))))
    frame = data.index(b"\xff\xc0")
    data[frame + 1] = marker
    data[frame + 5 : frame + 9] = struct.pack(">HH", 7_000, 7_000)
    return bytes(data)


def jpeg_of_progressive_arithmetic_coding() -> bytes:
    return jpeg_of_arithmetic_coding(0xCA)


def tiff_of_arithmetic_coding() -> bytes:
    blob = jpeg_of_arithmetic_coding()
    strips: list[Tag] = [(273, LONG, [0]), (278, LONG, [7_000]), (279, LONG, [len(blob)])]
    tags = grey(7_000, 7_000, 7, *strips)
    colour = {258: (258, SHORT, [8, 8, 8]), 262: (262, SHORT, [6]), 277: (277, SHORT, [3])}
    return tiff([colour.get(tag[0], tag) for tag in tags], blob, places=273)


def _bits(pairs: list[tuple[int, int]]) -> bytes:
    """Values with their widths, the lowest bit first, as VP8L has them."""
    number = at = 0
    parts = []
    for value, width in pairs:
        number |= value << at
        at += width
        while at >= 8:
            parts.append(number & 255)
            number >>= 8
            at -= 8
    return bytes([*parts, number])


def webp_of_huffman_groups() -> bytes:
    """A lossless WebP of a megapixel in which every 4 x 4 pixels have tables of their own."""
    side, groups = 1_024, 65_536
    one_symbol = [(1, 1), (0, 1), (0, 1), (0, 1)]  # a simple code of the symbol 0
    # A code of 256 symbols of 8 bits: code lengths 8 only, which is the third in their own order.
    order = [17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8]
    lengths = [(1 if symbol in (8, 7) else 0, 3) for symbol in order]
    eight = [(0, 1), (len(order) - 4, 4), *lengths, (0, 1)]
    plain = [(1, 1)] * 256  # the second of the two lengths, 8, for each literal
    green = [*eight, *plain, *([(0, 1)] * 0)]
    del green, plain
    header = [(0x2F, 8), (side - 1, 14), (side - 1, 14), (0, 1), (0, 3), (0, 1)]
    body = [(1, 1), (11, 4), (1, 1), (0, 3), (0, 1)]  # colour cache, Huffman image of 4 x 4
    return _webp_lossless([*header, *body, *_all_groups(groups), *one_symbol * 5 * groups])


def _all_groups(count: int) -> list[tuple[int, int]]:
    """The Huffman image: pixel i is group i, written as two bytes, green the lower one."""
    literal = _uniform_code(280)
    red = _uniform_code(256)
    zero = [(1, 1), (0, 1), (0, 1), (0, 1)]
    pixels: list[tuple[int, int]] = []
    for group in range(count):
        pixels += [(_reversed(group & 255), 8), (_reversed(group >> 8), 8)]
    return [*literal, *red, *zero, *zero, *zero, *pixels]


def _uniform_code(alphabet: int) -> list[tuple[int, int]]:
    """A code in which the first 256 symbols have 8 bits each, and the others none."""
    # Code lengths 0 and 8 have codes of one bit each; 0 comes first.
    order = [17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8]
    lengths = [(1 if symbol in (0, 8) else 0, 3) for symbol in order]
    symbols = [(1, 1)] * 256 + [(0, 1)] * (alphabet - 256)
    return [(0, 1), (len(order) - 4, 4), *lengths, (0, 1), *symbols]


def _reversed(byte: int) -> int:
    return int(f"{byte:08b}"[::-1], 2)


def _webp_lossless(pairs: list[tuple[int, int]]) -> bytes:
    content = _bits(pairs)
    return _riff(b"VP8L" + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2))


def _riff(chunks: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def webp_of_90_bytes_that_claims_50_megapixels(side: int = 7_070) -> bytes:
    size = (side - 1).to_bytes(3, "little")
    extended = b"VP8X" + struct.pack("<I", 10) + b"\x18\0\0\0" + size * 2
    bits = (side - 1) | (side - 1) << 14 | 1 << 28
    lossless = b"\x2f" + struct.pack("<I", bits) + b"\x88\x88\x08"
    picture_chunk = b"VP8L" + struct.pack("<I", len(lossless)) + lossless
    return _riff(extended + picture_chunk + b"EXIF" + struct.pack("<I", len(_TURNED)) + _TURNED)


def webp_of_90_bytes_that_claims_17_megapixels() -> bytes:
    return webp_of_90_bytes_that_claims_50_megapixels(4_200)


def png_without_its_palette() -> bytes:
    return png(4, 4, bytes(16), colour=3)


def png_of_one_row() -> bytes:
    return png(50_000_000, 1, bytes(50_000_000), colour=0)


def png_of_one_turned_column() -> bytes:
    return png(1, 25_000_000, b"", colour=6, before=png_chunk(b"eXIf", _TURNED))


def png_of_a_turned_picture() -> bytes:
    drawn = Image.new("RGBA", (5_040, 5_040), (1, 2, 3, 99))
    exif = Image.Exif()
    exif[274] = 6
    return encoded(drawn, "PNG", exif=exif)


def progressive_jpeg_of_a_large_picture() -> bytes:
    data = encoded(Image.new("RGB", (8_160, 6_144), (200, 10, 10)), progressive=True, subsampling=0)
    last_scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last_scan * 9 + data[-2:]


def gif_of_a_large_screen() -> bytes:
    return encoded(Image.new("P", (5_040, 5_040)), "GIF")


HOSTILE: tuple[Callable[[], bytes], ...] = (
    tiff_of_tiles_that_share_their_bytes,
    tiff_of_shared_tiles_in_a_large_picture,
    tiff_whose_tile_is_slong8,
    tiff_whose_tile_is_ifd8,
    tiff_whose_tile_is_of_bytes,
    fax_of_noise_2,
    fax_of_noise_3,
    fax_of_noise_4,
    tiff_of_millions_of_strips,
    tiff_of_many_jpeg_strips,
    tiff_of_arithmetic_coding,
    jpeg_of_arithmetic_coding,
    jpeg_of_progressive_arithmetic_coding,
    progressive_jpeg_of_a_large_picture,
    webp_of_huffman_groups,
    webp_of_90_bytes_that_claims_50_megapixels,
    webp_of_90_bytes_that_claims_17_megapixels,
    png_without_its_palette,
    png_of_one_row,
    png_of_one_turned_column,
    png_of_a_turned_picture,
    gif_of_a_large_screen,
    avif_that_lies,
    avif_of_a_grid,
    heic_that_lies,
    heic_that_claims_everything,
    heic_of_a_grid,
)
