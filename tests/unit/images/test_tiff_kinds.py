"""All that Pillow and tifffile can write as TIFF is read rightly, or refused by its name."""

import struct
import zlib
from functools import cache
from io import BytesIO
from itertools import product
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms

from serving.errors import UnsupportedImageError
from tests.decoding import decode, difference_or_name
from tests.drawn import encoded, picture

DRAWN = picture("red", width_px=64, height_px=48)
RGB = np.asarray(DRAWN)
GREY = np.asarray(DRAWN.convert("L"))
Pixels = NDArray[Any]


def three(grey: Pixels) -> Pixels:
    return np.dstack([grey] * 3)


# --- by Pillow


def in_mode(mode: str) -> tuple[Image.Image, Pixels]:
    """The drawn picture in a mode of Pillow's, and how it looks then."""
    if mode in ("I;16", "I"):
        wide = GREY.astype(np.uint16 if mode == "I;16" else np.int32) * 257
        return Image.fromarray(wide), three(GREY)
    if mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        there = ImageCms.profileToProfile(DRAWN, srgb, lab, outputMode="LAB")
        assert there is not None
        return there, np.asarray(ImageCms.profileToProfile(there, lab, srgb, outputMode="RGB"))
    image = DRAWN.convert("P").convert("PA") if mode == "PA" else DRAWN.convert(mode)
    if mode in ("L", "LA", "F"):
        return image, three(GREY)
    return image, np.asarray(image.convert("RGB"))


@cache
def by_pillow(mode: str, compression: str) -> bytes | None:
    try:
        return encoded(in_mode(mode)[0], "TIFF", compression=compression)
    except (OSError, ValueError):  # the mode cannot be written so
        return None


LOSSLESS = (
    *("raw", "group3", "group4", "tiff_ccitt", "tiff_raw_16", "packbits", "tiff_lzw"),
    *("tiff_adobe_deflate", "tiff_deflate", "lzma", "zstd"),
)
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "I;16", "I", "F")


@pytest.mark.parametrize("mode", MODES)
def test_a_tiff_that_pillow_writes_looks_the_same_or_is_named(mode: str):
    expected = in_mode(mode)[1]
    read = []
    for compression in LOSSLESS:
        data = by_pillow(mode, compression)
        if data is not None:
            found = difference_or_name(data, expected)
            assert isinstance(found, str) or found <= 2, compression
            read.append(not isinstance(found, str))
    assert sum(read) >= 4


@pytest.mark.parametrize("mode", ["L", "RGB", "YCbCr", "CMYK"])
def test_a_jpeg_in_a_tiff_looks_about_the_same(mode: str):
    image, expected = in_mode(mode)
    data = encoded(image, "TIFF", compression="jpeg", quality=95)
    assert np.abs(np.asarray(decode(data), np.int16) - expected.astype(np.int16)).mean() < 4


# --- by tifffile


def samples(colours: str) -> tuple[Pixels, Pixels, dict[str, Any]]:
    """Values of 0..255, how they look, and what tifffile is to write of them."""
    full = np.full_like(GREY, 255)
    known: dict[str, tuple[Pixels, Pixels, dict[str, Any]]] = {
        "grey": (GREY, three(GREY), {"photometric": "minisblack"}),
        "inverted": (255 - GREY, three(GREY), {"photometric": "miniswhite"}),
        "grey, alpha": (
            np.dstack([GREY, full]),
            three(GREY),
            {"photometric": "minisblack", "extrasamples": ["unassalpha"]},
        ),
        "rgb": (RGB, RGB, {"photometric": "rgb"}),
        "rgb, alpha": (
            np.dstack([RGB, full]),
            RGB,
            {"photometric": "rgb", "extrasamples": ["unassalpha"]},
        ),
        "rgb, multiplied alpha": (
            np.dstack([RGB // 2, full // 2]),
            RGB // 2 + 128,  # over white
            {"photometric": "rgb", "extrasamples": ["assocalpha"]},
        ),
        "rgb, infrared": (
            np.dstack([RGB, GREY]),
            RGB,
            {"photometric": "rgb", "extrasamples": ["unspecified"]},
        ),
        "cmyk": (np.dstack([255 - RGB, 0 * GREY]), RGB, {"photometric": "separated"}),
        "lab": (RGB, RGB, {"photometric": "cielab"}),
    }
    return known[colours]


SCALES = {"u1": 1, "u2": 257, "u4": 2**24, "i1": 0.5, "i2": 128, "i4": 2**23}
SCALES |= {"f2": 1 / 255, "f4": 1 / 255, "f8": 1 / 255}
LAYOUTS = tuple(
    {"planarconfig": planar, "tile": tile, "compression": compression, "byteorder": order}
    for planar, tile, compression, order in product(
        ("contig", "separate"), (None, (16, 16)), (None, "zlib"), ("<", ">")
    )
)
COLOURS = (
    *("grey", "inverted", "grey, alpha", "rgb", "rgb, alpha", "rgb, multiplied alpha"),
    *("rgb, infrared", "cmyk"),
)


def by_tifffile(values: Pixels, **options: Any) -> bytes:
    if values.ndim < 3:
        options = {name: value for name, value in options.items() if name != "planarconfig"}
    elif options.get("planarconfig") == "separate":
        values = np.ascontiguousarray(values.transpose(2, 0, 1))
    buffer = BytesIO()
    tifffile.imwrite(buffer, values, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", SCALES)
@pytest.mark.parametrize("colours", COLOURS)
def test_a_tiff_that_tifffile_writes_looks_the_same_or_is_named(colours: str, kind: str):
    values, expected, options = samples(colours)
    scaled = (values * float(SCALES[kind])).astype(kind)
    if kind in ("i1", "i2") and colours == "grey":  # the brightest value is half of the range
        expected = expected // 2
    for layout in LAYOUTS:
        found = difference_or_name(by_tifffile(scaled, **layout, **options), expected)
        assert isinstance(found, str) or found <= 2, layout
        if kind == "u1" and colours != "grey, alpha":
            assert not isinstance(found, str), found


@pytest.mark.parametrize(
    ("colours", "planes"), [("lab", "3 x 8-bit unsigned"), ("grey, alpha", "2 x 8-bit unsigned")]
)
def test_planes_that_pillow_puts_together_wrongly_are_named(colours: str, planes: str):
    values, _, options = samples(colours)
    with pytest.raises(UnsupportedImageError, match=f"{planes} samples in separate planes"):
        decode(by_tifffile(values, planarconfig="separate", **options))


@pytest.mark.parametrize(
    ("values", "kind", "said"),
    [
        ([0, 100, -1], "i1", "8-bit signed .*, some of them negative"),
        ([0, 3_000, -1_000], "i2", "16-bit signed .*, some of them negative"),
        ([0, 3_000, -1_000], "i4", "32-bit signed .*, some of them negative"),
        ([0, 3_000, 65_536], "i4", "32-bit signed .*, some of them above 65,535"),
        ([0, 3_000, 65_536], "u4", "32-bit unsigned .*, some of them above 65,535"),
        ([0, 3_000, 2**31], "u4", "32-bit unsigned .*, some of them above 65,535"),
        ([-1, 0.5, 1], "f4", "floating-point .* neither from 0 to 1 nor from 0 to 255"),
        ([0, 100, 4_095], "f4", "floating-point .* neither from 0 to 1 nor from 0 to 255"),
        ([0, 1, np.inf], "f4", "floating-point .* neither from 0 to 1 nor from 0 to 255"),
    ],
)
def test_values_whose_brightness_nobody_knows_are_named(values: list[float], kind: str, said: str):
    with pytest.raises(UnsupportedImageError, match=said):
        decode(by_tifffile(np.array([values]).astype(kind), photometric="minisblack"))


@pytest.mark.parametrize(
    ("values", "kind", "shown"),
    [
        ([0, 256, 32_767], "i2", [0, 1, 127]),
        ([0, 32_768, 65_535], "i4", [0, 128, 255]),
        ([0, 32_768, 65_535], "u4", [0, 128, 255]),
        ([-0.1, 0.5, 1.3], "f4", [0, 127, 255]),  # as resizing and sharpening leave them
        ([-20, 127.5, 280], "f4", [0, 127, 255]),
    ],
)
def test_values_that_nearly_everybody_shows_alike_are_read(values, kind: str, shown: list[int]):
    data = by_tifffile(np.array([values]).astype(kind), photometric="minisblack")
    assert np.asarray(decode(data))[0, :, 0].tolist() == shown


@pytest.mark.parametrize(
    ("white_is_zero", "shown"), [(False, [0, 128, 255]), (True, [255, 127, 0])]
)
# --- by hand: what neither of them writes


def by_hand(size: tuple[int, int], data: bytes, **tags: list[int]) -> bytes:
    """A TIFF of one strip; `tags` are named t258, t259, ..."""
    fields = {256: [size[0]], 257: [size[1]], 259: [1], 273: [8], 277: [1], 278: [size[1]]}
    fields |= {279: [len(data)]} | {int(name[1:]): values for name, values in tags.items()}
    directory, after = struct.pack("<H", len(fields)), b""
    behind = 8 + len(data) + 2 + 12 * len(fields) + 4
    for tag, values in sorted(fields.items()):
        kind = "I" if tag in (273, 279) else "H"
        raw = struct.pack(f"<{len(values)}{kind}", *values)
        place = raw.ljust(4, b"\0") if len(raw) <= 4 else struct.pack("<I", behind + len(after))
        after += raw if len(raw) > 4 else b""
        directory += struct.pack("<HHI", tag, 4 if kind == "I" else 3, len(values)) + place
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory + bytes(4) + after


def test_twelve_bits_are_not_taken_for_sixteen():
    packed = bytes.fromhex("000800fff000")  # 0, 0x800, 0xfff, 0, each of 12 bits
    data = by_hand((4, 1), packed, t258=[12], t262=[1])
    assert np.asarray(decode(data))[0, :3, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize("is_compressed", [False, True])
@pytest.mark.parametrize("photometric", [0, 1, 3])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_tiff_of_few_bits_in_either_order_is_read(
    bits: int, photometric: int, is_compressed: bool, is_reversed: bool
):
    random = np.random.default_rng(0)
    indices = random.integers(0, 2**bits, (6, 16))
    rows = (indices.reshape(6, -1, 8 // bits) << np.arange(8 - bits, -1, -bits)).sum(axis=2)
    data = rows.astype(np.uint8).tobytes()
    tags = {"t258": [bits], "t262": [photometric]}
    grey = np.arange(2**bits) * 255 // (2**bits - 1)
    palette = three(grey[::-1] if photometric == 0 else grey)[0]
    if photometric == 3:
        palette = random.integers(0, 256, (2**bits, 3))
        tags["t320"] = (palette.T * 257).ravel().tolist()
    if is_compressed:
        data, tags["t259"] = zlib.compress(data), [8]
    if is_reversed:
        data, tags["t266"] = bytes(int(f"{byte:08b}"[::-1], 2) for byte in data), [2]
    found = decode(by_hand((16, 6), data, **tags))
    assert np.abs(np.asarray(found, np.int16) - palette[indices]).max() <= 1


@pytest.mark.parametrize("is_compressed", [False, True])
@pytest.mark.parametrize(("wide", "high"), [(1, 1), (2, 1), (2, 2), (4, 2)])
def test_subsampled_colours_of_a_tiff_are_read(wide: int, high: int, is_compressed: bool):
    light = np.random.default_rng(0).integers(60, 200, (8, 16))
    blocks = (
        light.reshape(8 // high, high, 16 // wide, wide).swapaxes(1, 2).reshape(-1, high * wide)
    )
    data = b"".join(bytes([*block, 110, 150]) for block in blocks.tolist())
    red, green, blue = 1.402 * 22, 0.344136 * 18 - 0.714136 * 22, 1.772 * -18
    expected = np.clip(np.dstack([light + red, light + green, light + blue]), 0, 255).round()
    tags = {"t258": [8, 8, 8], "t262": [6], "t277": [3], "t530": [wide, high], "t531": [1]}
    if is_compressed:
        data, tags["t259"] = zlib.compress(data), [8]
    found = decode(by_hand((16, 8), data, **tags))
    assert np.abs(np.asarray(found, np.int16) - expected).max() <= 2


def test_a_fax_of_word_aligned_rows_is_named():
    data = encoded(DRAWN.convert("1"), "TIFF", compression="tiff_raw_16")
    with pytest.raises(UnsupportedImageError, match="word-aligned fax"):
        decode(data)
