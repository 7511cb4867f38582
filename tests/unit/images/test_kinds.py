"""Kinds of files that Pillow reads wrongly or not at all: read rightly, or refused by name."""

import struct
from io import BytesIO

import numpy as np
import pillow_heif
import pytest
import tifffile
from PIL import Image

from serving.errors import UndecodableImageError, UnsupportedImageError
from tests.decoding import decode, difference, four_corners
from tests.drawn import encoded, picture
from tests.hostile_files import LONG, grey, jpeg_of_arithmetic_coding, tiff

DRAWN = picture("red", width_px=40, height_px=30)
PIXELS = np.asarray(DRAWN)


def written(pixels: np.ndarray, **options) -> bytes:
    """A TIFF by tifffile, which shares no code with Pillow."""
    buffer = BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def decoded_or_named(data: bytes) -> Image.Image | None:
    """The picture; None when the file is refused as a kind that is not read."""
    try:
        found: Image.Image = decode(data)
    except UnsupportedImageError as error:
        if "a kind of TIFF that is not read" not in error.detail:
            raise
        return None
    return found


# --- TIFF


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_tiff_of_any_layout_comes_back(order, planar, compression, kind):
    wide = PIXELS.astype(kind) * (257 if kind is np.uint16 else 1)
    stored = wide.transpose(2, 0, 1) if planar == "separate" else wide
    options = {"byteorder": order, "planarconfig": planar, "compression": compression}
    found = decoded_or_named(written(np.ascontiguousarray(stored), photometric="rgb", **options))
    assert found is None or difference(found, DRAWN) <= 2


@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "i2", "i4", "f2", "f4", "f8"])
@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_grey_tiff_of_any_number_comes_back_or_is_named(kind, white_is_zero, order):
    levels = np.linspace(0, 255, 1_200).reshape(30, 40)
    scale = {"u1": 1, "u2": 257, "f2": 1, "f4": 1, "f8": 1}.get(kind, 128)
    data = written(
        (levels * scale).astype(kind),
        photometric="miniswhite" if white_is_zero else "minisblack",
        byteorder=order,
    )
    found = decoded_or_named(data)
    if found is None:
        return
    shown = 255 - levels if white_is_zero else levels
    if kind in ("u4", "i2", "i4"):  # which range is black to white is not said
        return
    assert np.abs(np.asarray(found)[..., 0] - shown).max() <= 2


def test_a_big_tiff_is_read():
    assert difference(decode(written(PIXELS, photometric="rgb", bigtiff=True)), DRAWN) == 0


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (written(np.ones((8, 8), np.float16)), "16-bit floating-point"),
        (tiff(grey(8, 8, 34712, (273, LONG, [0])), bytes(64), places=273), "JPEG 2000"),
        (tiff(grey(8, 8, 50_002, (273, LONG, [0])), bytes(64), places=273), "JPEG XL"),
        (tiff(grey(8, 8, 4_711, (273, LONG, [0])), bytes(64), places=273), "compression 4711"),
    ],
)
def test_a_kind_of_tiff_that_is_not_read_is_named(data, named):
    with pytest.raises(UnsupportedImageError, match=named):
        decode(data)


# --- BMP


@pytest.mark.parametrize("alpha", [0, 255])
def test_a_bmp_whose_fourth_byte_is_unused_is_opaque(alpha):
    height, width = PIXELS.shape[:2]
    body = np.dstack([PIXELS[::-1, :, ::-1], np.full((height, width), alpha, np.uint8)]).tobytes()
    head = struct.pack("<IiiHHIIiiII", 124, width, height, 1, 32, 3, len(body), 0, 0, 0, 0)
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    file = struct.pack("<IHHI", 138 + len(body), 0, 0, 138)
    data = b"BM" + file + (head + masks).ljust(124, b"\0") + body
    assert difference(decode(data), DRAWN) == 0


# --- JPEG


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}])
def test_a_jpeg_that_lacks_only_its_end_is_answered(options):
    whole = encoded(DRAWN, quality=95, **options)
    for data in (whole[:-2], whole[:-1], whole[:-2] + b"\xff\xff"):
        assert difference(decode(data), decode(whole)) == 0


def test_a_jpeg_that_lacks_pixels_is_not():
    whole = encoded(picture(width_px=200, height_px=200), quality=95)
    for missing in (20, 60, 500, len(whole) // 2):
        with pytest.raises(UndecodableImageError, match="cut short"):
            decode(whole[:-missing])


@pytest.mark.parametrize("marker", [0xC9, 0xCA, 0xCB, 0xCD])
def test_an_arithmetic_coded_jpeg_is_named(marker):
    with pytest.raises(UnsupportedImageError, match="arithmetic-coded JPEG"):
        decode(jpeg_of_arithmetic_coding(marker), max_pixels=10**8)


def test_a_jpeg_of_12_bits_is_named():
    data = bytearray(encoded(DRAWN))
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(UnsupportedImageError, match="12-bit JPEG"):
        decode(bytes(data))


# --- HEIC


def heic(drawn: Image.Image, orientation: int = 1, *, boxes: bool = True) -> bytes:
    """A HEIC whose EXIF has the orientation, and whose boxes have it, too, unless they are void."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = BytesIO()
    made = pillow_heif.from_pillow(drawn)
    made.info["exif"] = exif.tobytes()
    made.save(buffer, quality=95, chroma=444)
    data = buffer.getvalue()
    return data if boxes else data.replace(b"irot", b"free").replace(b"imir", b"free")


def close(found: Image.Image, expected: Image.Image) -> bool:
    if found.size != expected.size:
        return False
    rows, columns = ([side // 5, side * 4 // 5] for side in (found.height, found.width))
    pairs = (np.asarray(one, np.int16)[rows][:, columns] for one in (found, expected))
    return bool(np.abs(np.subtract(*pairs)).max() < 40)


def test_a_heic_is_read():
    assert close(decode(encoded(four_corners((64, 48)), "HEIC")), four_corners((64, 48)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_heic_is_turned_once(orientation):
    stored = four_corners((64, 48))
    exif = Image.Exif()
    exif[0x0112] = orientation
    expected = decode(encoded(stored, "PNG", exif=exif))
    assert close(decode(heic(stored, orientation)), expected)


def test_a_heic_above_the_limit_is_named():
    with pytest.raises(UndecodableImageError, match="HEIC photo has 4,800 pixels"):
        decode(encoded(picture(), "HEIC"), max_pixels=4_799)
