"""Image files from phones and the web decode to the picture that a person sees."""

import struct
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from serving.errors import UndecodableImageError, UnsupportedImageError
from serving.images.formats import NAMES
from tests.decoding import decode, difference, four_corners
from tests.drawn import encoded, picture, png, png_chunk

# --- formats


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("PNG", {}),
        ("PNG", {"compress_level": 0}),
        ("WEBP", {"lossless": True}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_deflate"}),
    ],
)
def test_a_lossless_format_comes_back_exactly(file_format, options):
    drawn = picture("red")
    assert difference(decode(encoded(drawn, file_format, **options)), drawn) == 0


@pytest.mark.parametrize(
    ("file_format", "options", "tolerance"),
    [
        ("JPEG", {"quality": 95, "subsampling": 0}, 30),
        ("JPEG", {"quality": 95, "subsampling": 0, "progressive": True}, 30),
        ("WEBP", {"quality": 100}, 40),
        ("AVIF", {"quality": 100, "subsampling": "4:4:4"}, 16),
        ("GIF", {}, 48),
    ],
)
def test_a_lossy_format_comes_back_closely(file_format, options, tolerance):
    drawn = picture("green")
    assert difference(decode(encoded(drawn, file_format, **options)), drawn) <= tolerance


def test_every_named_format_is_decoded():
    for file_format in NAMES:
        assert decode(encoded(picture("blue"), file_format)).size == (60, 80)


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_of_an_animation_the_first_frame_is_taken(file_format):
    frames = [picture("red"), picture("green"), picture("blue")]
    data = encoded(frames[0], file_format, save_all=True, append_images=frames[1:])
    red, green, blue = np.asarray(decode(data)).mean(axis=(0, 1))
    assert red > 150 > 100 > max(green, blue)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7",
        b"GIF86a",
        b"RIFF\0\0\0\0WAVE",
        b"\0\0\0\x18ftypmp42\0\0\0\0",
        encoded(picture(), "PPM"),
        encoded(picture(), "ICO"),
        encoded(picture(), "TGA"),
        encoded(picture().convert("L"), "PCX"),
        encoded(picture(), "EPS"),
    ],
    ids=lambda data: repr(data[:12]),
)
def test_other_content_is_refused_with_the_supported_formats(data):
    with pytest.raises(UnsupportedImageError, match="JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF, HEIC"):
        decode(data)


@pytest.mark.parametrize("file_format", NAMES)
def test_a_file_that_is_cut_short_is_undecodable(file_format):
    data = encoded(picture("red", width_px=200, height_px=200), file_format)
    for kept in (16, len(data) // 3, len(data) // 2):
        with pytest.raises(UndecodableImageError, match="cut short"):
            decode(data[:kept])


def test_a_damaged_checksum_is_undecodable():
    data = bytearray(encoded(picture("red"), "PNG"))
    data[60] ^= 0xFF
    with pytest.raises(UndecodableImageError):
        decode(bytes(data))


# --- modes


def test_transparency_is_laid_over_white():
    drawn = Image.new("RGBA", (8, 8), (200, 0, 0, 0))
    drawn.paste((200, 0, 0, 255), (0, 0, 8, 4))
    drawn.paste((200, 0, 0, 102), (0, 4, 8, 6))  # 40 %: 255 * 0.6 + 200 * 0.4, and 255 * 0.6
    for file_format in ("PNG", "WEBP", "TIFF", "AVIF"):
        options = {"lossless": True} if file_format == "WEBP" else {}
        decoded = decode(encoded(drawn, file_format, **options))
        seen = [decoded.getpixel((4, y)) for y in (1, 5, 7)]
        wanted = [(200, 0, 0), (233, 153, 153), (255, 255, 255)]
        assert np.abs(np.subtract(seen, wanted)).max() <= (12 if file_format == "AVIF" else 1)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "CMYK", "YCbCr", "I;16", "I", "F"])
def test_every_mode_that_a_file_can_have_becomes_rgb(mode):
    drawn = picture("red").convert("L").convert(mode) if mode != "PA" else picture().convert("PA")
    file_format = {"CMYK": "JPEG", "YCbCr": "JPEG", "PA": "GIF"}.get(mode, "TIFF")
    if mode == "PA":
        drawn = drawn.convert("P")
    assert decode(encoded(drawn, file_format)).mode == "RGB"


def test_a_palette_is_looked_up():
    paletted = four_corners().quantize(4)
    for file_format in ("PNG", "GIF", "BMP", "TIFF"):
        assert difference(decode(encoded(paletted, file_format)), four_corners()) <= 2


def test_a_palettes_transparent_entry_is_laid_over_white():
    paletted = Image.new("P", (4, 4), 1)
    paletted.putpalette([0, 0, 0, 10, 20, 30])
    for file_format in ("PNG", "GIF"):
        assert decode(encoded(paletted, file_format, transparency=1)).getpixel((2, 2)) == (255,) * 3
        assert decode(encoded(paletted, file_format)).getpixel((2, 2)) == (10, 20, 30)


def test_grey_becomes_three_equal_channels():
    decoded = np.asarray(decode(encoded(picture("red").convert("L"), "PNG")))
    assert (decoded == decoded[..., :1]).all()


def test_sixteen_bits_of_grey_keep_their_upper_eight():
    values = np.array([[0, 255, 256, 32_768, 65_535]], np.uint16)
    for file_format in ("PNG", "TIFF"):
        decoded = np.asarray(decode(encoded(Image.fromarray(values), file_format)))
        assert decoded[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_a_transparent_16_bit_grey_is_laid_over_white():
    samples = struct.pack(">4H", 0, 256, 257, 65_535)
    data = png(4, 1, samples, depth=16, colour=0, before=png_chunk(b"tRNS", struct.pack(">H", 257)))
    assert np.asarray(decode(data))[0, :, 0].tolist() == [0, 1, 255, 255]


@pytest.mark.parametrize(
    ("depth", "through", "shown"),
    [
        (1, 0, [255, 255, 255, 255]),
        (1, 1, [0, 0, 255, 255]),
        (2, 1, [0, 255, 170, 255]),
        (2, 3, [0, 85, 170, 255]),
        (4, 8, [17, 255, 34, 255]),
        (4, 0x108, [17, 255, 34, 255]),  # what is above the samples' bits does not count
    ],
)
def test_a_transparent_grey_of_few_bits_is_laid_over_white(depth, through, shown):
    rows = {1: b"\x30", 2: b"\x1b", 4: b"\x18\x2f"}
    transparent = png_chunk(b"tRNS", struct.pack(">H", through))
    data = png(4, 1, rows[depth], depth=depth, colour=0, before=transparent)
    assert np.asarray(decode(data))[0, :, 0].tolist() == shown


def test_a_transparent_16_bit_colour_is_laid_over_white():
    pixels = struct.pack(">6H", 0x1234, 0x2345, 0x3456, 0x1234, 0x2345, 0x4456)
    transparent = png_chunk(b"tRNS", struct.pack(">3H", 0x1234, 0x2345, 0x3456))
    data = png(2, 1, pixels, depth=16, colour=2, before=transparent)
    assert np.asarray(decode(data))[0].tolist() == [[255, 255, 255], [0x12, 0x23, 0x44]]


def test_a_16_bit_tiff_whose_white_is_zero_is_inverted():
    values = np.array([[0, 32_768, 65_535]], np.uint16)
    data = encoded(Image.fromarray(values), "TIFF", tiffinfo={262: 0})
    assert np.asarray(decode(data))[0, :, 0].tolist() == [255, 127, 0]


@pytest.mark.parametrize("values", [[0, 0.5, 1], [0, 127.5, 255]])
def test_floating_point_may_go_to_1_or_to_255(values):
    data = encoded(Image.fromarray(np.array([[*values, np.nan]], np.float32)), "TIFF")
    assert np.asarray(decode(data))[0, :, 0].tolist() == [0, 127, 255, 0]


def run_length_encoded(indices: np.ndarray) -> bytes:
    """A BMP of 8 bits of grey in runs of one pixel, BI_RLE8, from the lowest row up."""
    height, width = indices.shape
    rows = (b"".join(bytes([1, index]) for index in row) + b"\0\0" for row in indices[::-1])
    body = b"".join(rows) + b"\0\1"
    palette = b"".join(bytes([grey, grey, grey, 0]) for grey in range(256))
    offset = 14 + 40 + len(palette)
    sizes = struct.pack("<IHHI", offset + len(body), 0, 0, offset)
    fields = (40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    return b"BM" + sizes + struct.pack("<IiiHHIIiiII", *fields) + palette + body


def test_a_run_length_encoded_bmp_is_decoded_up_to_a_size():
    grey = np.arange(300 * 200, dtype=np.uint32).astype(np.uint8).reshape(200, 300)
    assert (np.asarray(decode(run_length_encoded(grey)))[..., 0] == grey).all()
    with pytest.raises(UndecodableImageError, match="costly"):
        decode(run_length_encoded(np.zeros((600, 600), np.uint8)))


def test_sixteen_bits_of_colour_keep_their_upper_eight():
    pixels = struct.pack(">6H", 65_535, 32_768, 256, 0, 255, 512)
    assert np.asarray(decode(png(2, 1, pixels, depth=16, colour=2)))[0].tolist() == [
        [255, 128, 1],
        [0, 0, 2],
    ]


def test_cmyk_is_seen_in_its_colours():
    for colour, seen in {"red": 0, "green": 1, "blue": 2}.items():
        data = encoded(picture(colour).convert("CMYK"), quality=95)
        assert np.asarray(decode(data)).mean(axis=(0, 1)).argmax() == seen


def test_an_interlaced_png_comes_back_exactly():
    # Adam7 by hand: on an image of one pixel's height and width only the first pass is there.
    assert decode(png(1, 1, bytes([9, 8, 7]), interlaced=True)).getpixel((0, 0)) == (9, 8, 7)


# --- size


def test_an_image_at_the_pixel_limit_is_decoded_and_above_refused():
    data = encoded(picture(width_px=20, height_px=10), "PNG")
    assert decode(data, max_pixels=200).size == (20, 10)
    with pytest.raises(UndecodableImageError, match="more than 199 pixels"):
        decode(data, max_pixels=199)


def test_a_motion_photos_video_does_not_count_as_scans():
    video = np.random.default_rng(0).bytes(4_000_000)  # with about 60 times a scan's marker
    data = encoded(four_corners(), quality=100, subsampling=0) + video
    size = four_corners().width * four_corners().height
    assert difference(decode(data, max_pixels=size), four_corners()) <= 4


def test_a_phones_multi_picture_jpeg_gives_its_first_picture():
    buffer = BytesIO()
    picture("red").save(buffer, "MPO", save_all=True, append_images=[picture("blue")])
    red, _, blue = np.asarray(decode(buffer.getvalue())).mean(axis=(0, 1))
    assert red > blue
