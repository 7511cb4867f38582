"""Small image files that are costly to decode, as a hostile client might send."""

import struct
import zlib
from collections.abc import Callable

from PIL import Image

from tests.drawn import encoded, png, png_chunk


def png_of_50_000_squared() -> bytes:
    return png(50_000, 50_000, b"\0" * 300_000)


def png_that_nests_text() -> bytes:
    """Many compressed chunks of a megabyte each before the first pixel."""
    text = b"comment\0\0" + zlib.compress(b"\0" * 1_000_000, 9)
    return png(10, 10, b"\0" * 300, before=png_chunk(b"zTXt", text) * 1_000)


def png_that_nests_text_without_a_name() -> bytes:
    """Pillow's own limit of text counts only what has a name."""
    text = b"\0\0" + zlib.compress(b"\0" * 1_000_000, 9)
    return png(10, 10, b"\0" * 300, before=png_chunk(b"zTXt", text) * 2_000)


def png_that_nests_text_of_no_encoding() -> bytes:
    """Nor does it count international text that is not UTF-8."""
    text = b"comment\0\1\0\0\0" + zlib.compress(b"\xff" * 1_000_000, 9)
    return png(10, 10, b"\0" * 300, before=png_chunk(b"iTXt", text) * 2_000)


def png_of_empty_chunks() -> bytes:
    return png(10, 10, b"\0" * 300, before=png_chunk(b"teSt") * 370_000)


def png_of_empty_pixel_chunks() -> bytes:
    return png(10, 10, b"\0" * 300, before=png_chunk(b"IDAT") * 370_000)


def png_of_one_huge_text() -> bytes:
    text = b"comment\0\0" + zlib.compress(b"\0" * 100_000_000, 1)
    return png(10, 10, b"\0" * 300, before=png_chunk(b"zTXt", text))


def png_of_a_huge_profile() -> bytes:
    profile = b"profile\0\0" + zlib.compress(b"\0" * 60_000_000, 1)
    return png(10, 10, b"\0" * 300, before=png_chunk(b"iCCP", profile))


def png_of_more_rows_than_it_says() -> bytes:
    return png(1_000, 1, b"\0" * 60_000_000)


def gif_of_65_535_squared() -> bytes:
    screen = struct.pack("<HH", 65_535, 65_535)
    return b"GIF89a" + screen + b"\x80\0\0" + b"\0" * 6 + _gif_frame(65_535, 65_535) + b";"


def gif_of_a_frame_larger_than_its_screen() -> bytes:
    screen = struct.pack("<HH", 10, 10)
    return b"GIF89a" + screen + b"\x80\0\0" + b"\0" * 6 + _gif_frame(65_535, 65_535) + b";"


def gif_that_disposes_of_a_huge_frame() -> bytes:
    """Disposal to the background is prepared while the file is opened, before its size is known."""
    control = b"!\xf9\x04\x08\0\0\0\0"
    screen = struct.pack("<HH", 10, 10)
    return (
        b"GIF89a" + screen + b"\x80\0\0" + b"\0" * 6 + control + _gif_frame(40_000, 40_000) + b";"
    )


def _gif_frame(width_px: int, height_px: int) -> bytes:
    return b"," + struct.pack("<HHHHB", 0, 0, width_px, height_px, 0) + b"\x02\x02\x4c\x01\0"


def gif_of_tiny_comments() -> bytes:
    data = encoded(Image.new("1", (16, 16)), "GIF")
    before_frame = data.index(b",")
    return data[:before_frame] + b"!\xfe\1a\0" * 900_000 + data[before_frame:]


def webp_of_16_384_squared() -> bytes:
    size = (16_383).to_bytes(3, "little")  # the header holds each side less 1
    extended = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + size * 2
    return _riff(extended + b"ANIM" + struct.pack("<I", 6) + b"\0" * 6)


def webp_lossless_of_16_384_squared() -> bytes:
    bits = 16_383 | 16_383 << 14
    content = b"\x2f" + struct.pack("<I", bits) + b"\0" * 3
    return _riff(b"VP8L" + struct.pack("<I", len(content)) + content)


def _riff(chunks: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def jpeg_of_65_500_squared() -> bytes:
    data = bytearray(encoded(Image.new("L", (16, 16))))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 65_500, 65_500)
    return bytes(data)


def jpeg_of_empty_segments() -> bytes:
    data = encoded(Image.new("L", (16, 16)))
    return data[:2] + b"\xff\xe5\0\2" * 1_100_000 + data[2:]


def jpeg_of_padding() -> bytes:
    data = encoded(Image.new("L", (16, 16)))
    return data[:2] + b"\xff" * 4_400_000 + data[2:]


def jpeg_of_a_thousand_scans() -> bytes:
    data = encoded(Image.new("L", (6_000, 6_000), 128), progressive=True)
    last_scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last_scan * 1_000 + data[-2:]


def bmp_of_a_million_squared() -> bytes:
    data = bytearray(encoded(Image.new("L", (8, 8)), "BMP"))
    data[18:26] = struct.pack("<ii", 1_000_000, 1_000_000)
    return bytes(data)


def bmp_of_rows_that_end_at_once() -> bytes:
    """Run-length encoded: Pillow fills up each row pixel by pixel."""
    rows = b"\1\7\0\0" * 7_000 + b"\0\1"
    fields = (40, 7_000, 7_000, 1, 8, 1, len(rows), 0, 0, 256, 0)
    header = struct.pack("<IHHI", 1_078 + len(rows), 0, 0, 1_078)
    return b"BM" + header + struct.pack("<IiiHHIIiiII", *fields) + bytes(1_024) + rows


def tiff_of_a_million_squared() -> bytes:
    return _tiff(1_000_000, 1_000_000, 16, 16, b"\0" * 256)


def tiff_of_one_huge_tile() -> bytes:
    return _tiff(10, 10, 8_000, 8_000, b"\0" * 64_000_000)


def tiff_of_many_tags() -> bytes:
    return b"II*\0" + struct.pack("<IH", 8, 65_535) + struct.pack("<HHII", 270, 2, 1, 0) * 65_535


def jpeg_of_exif_that_claims_itself_over_and_over() -> bytes:
    return _jpeg_with_exif(_directory_of_claims(5_000))


def jpeg_of_exif_over_many_segments() -> bytes:
    """Pillow joins the segments to one block."""
    return _jpeg_with_exif(_directory_of_claims(60_000))


def _jpeg_with_exif(block: bytes) -> bytes:
    parts = [b"Exif\0\0" + block[start : start + 65_000] for start in range(0, len(block), 65_000)]
    segments = [b"\xff\xe1" + struct.pack(">H", len(part) + 2) + part for part in parts]
    data = encoded(Image.new("L", (16, 16)))
    return data[:2] + b"".join(segments) + data[2:]


def webp_of_exif_that_claims_itself_over_and_over() -> bytes:
    return encoded(Image.new("RGB", (16, 16)), "WEBP", exif=_directory_of_claims(60_000))


def png_of_exif_that_claims_itself_over_and_over() -> bytes:
    return png(10, 10, b"\0" * 300, before=png_chunk(b"eXIf", _directory_of_claims(60_000)))


def _directory_of_claims(count: int) -> bytes:
    """A TIFF directory in which each entry claims the same, nearly all, bytes of the block."""
    claimed = 12 * count
    entries = [struct.pack("<HHII", 1_000 + i, 7, claimed, 8) for i in range(count)]
    return b"II*\0" + struct.pack("<IH", 8, count) + b"".join(entries) + b"\0" * 4


def _tiff(width_px: int, height_px: int, tile_w: int, tile_h: int, pixels: bytes) -> bytes:
    """A grey, deflated TIFF of one tile (TIFF 6.0, sections 2 and 15)."""
    data = zlib.compress(pixels, 1)
    long, short = 4, 3
    tags = [
        (256, long, width_px),
        (257, long, height_px),
        (258, short, 8),  # bits per sample
        (259, short, 8),  # compression: deflate
        (262, short, 1),  # black is zero
        (277, short, 1),  # samples per pixel
        (322, long, tile_w),
        (323, long, tile_h),
        (324, long, 8 + 2 + 12 * 10 + 4),  # where the tile is
        (325, long, len(data)),
    ]
    entries = b"".join(
        struct.pack("<HHI", tag, kind, 1) + struct.pack("<I", value) for tag, kind, value in tags
    )
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0" * 4 + data


def avif_of_65_535_squared() -> bytes:
    data = bytearray(encoded(Image.new("RGB", (16, 16)), "AVIF"))
    size = data.index(b"ispe") + 8
    data[size : size + 8] = struct.pack(">II", 65_535, 65_535)
    return bytes(data)


BOMBS: tuple[Callable[[], bytes], ...] = (
    png_of_50_000_squared,
    png_of_empty_chunks,
    png_of_empty_pixel_chunks,
    gif_of_65_535_squared,
    gif_of_a_frame_larger_than_its_screen,
    gif_that_disposes_of_a_huge_frame,
    gif_of_tiny_comments,
    webp_of_16_384_squared,
    webp_lossless_of_16_384_squared,
    jpeg_of_65_500_squared,
    jpeg_of_a_thousand_scans,
    jpeg_of_empty_segments,
    jpeg_of_padding,
    bmp_of_a_million_squared,
    bmp_of_rows_that_end_at_once,
    tiff_of_a_million_squared,
    tiff_of_many_tags,
    avif_of_65_535_squared,
)

# Whole pictures with what would be costly to read and is skipped, or costs little in the end.
HEAVY: tuple[Callable[[], bytes], ...] = (
    jpeg_of_exif_that_claims_itself_over_and_over,
    jpeg_of_exif_over_many_segments,
    webp_of_exif_that_claims_itself_over_and_over,
    png_of_exif_that_claims_itself_over_and_over,
    png_of_more_rows_than_it_says,
    png_that_nests_text,
    png_that_nests_text_without_a_name,
    png_that_nests_text_of_no_encoding,
    png_of_one_huge_text,
    png_of_a_huge_profile,
    tiff_of_one_huge_tile,
)
