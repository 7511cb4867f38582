"""Metadata that pixels do not need is skipped: never inflated, and never a reason to refuse."""

import zlib

import pytest
from PIL import Image

from serving.images import png as chunks
from tests.decoding import decode, difference, four_corners
from tests.drawn import encoded, png_chunk

PNG = encoded(four_corners(), "PNG")
FIRST, LAST = 33, PNG.rindex(b"IEND") - 4  # after the header, and before the end
XMP = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"<rdf:li/>" * 170_000)


@pytest.mark.parametrize("at", [FIRST, LAST], ids=["before the pixels", "after them"])
@pytest.mark.parametrize(
    "added",
    [
        png_chunk(b"iTXt", XMP),
        b"".join(png_chunk(b"zTXt", b"exif\0\0" + zlib.compress(b"x")) for _ in range(60)),
        png_chunk(b"zTXt", b"comment\0\0" + zlib.compress(bytes(100_000_000), 1)),
        png_chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(60_000_000), 1)),
        png_chunk(b"iCCP", b"no profile at all"),
        png_chunk(b"zTXt", b"a\0\0damaged")[:-4] + b"\0\0\0\0",  # and a wrong checksum
        png_chunk(b"tEXt", b"\xff" * 1_000),
        png_chunk(b"gAMA") + png_chunk(b"cHRM", b"x") + png_chunk(b"prVt", b"anything"),
    ],
    ids=["xmp", "60 texts", "100 MB", "profile", "no profile", "damaged", "no text", "others"],
)
def test_a_png_decodes_whatever_its_metadata(added, at):
    assert difference(decode(PNG[:at] + added + PNG[at:]), four_corners()) == 0


def test_a_png_without_metadata_is_not_copied():
    assert chunks.pixels_only(PNG) is PNG


def test_an_orientation_after_the_pixels_is_kept():
    exif = Image.Exif()
    exif[0x0112] = 3
    block = png_chunk(b"eXIf", exif.tobytes()[6:])
    turned = four_corners().rotate(180)
    assert difference(decode(PNG[:LAST] + block + PNG[LAST:]), turned) == 0


def test_the_frames_of_an_animation_are_dropped_but_for_the_first():
    frames = [four_corners(), Image.new("RGB", (48, 32)), Image.new("RGB", (48, 32), "white")]
    data = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    assert b"fdAT" not in chunks.pixels_only(data)
    assert difference(decode(data), four_corners()) == 0
