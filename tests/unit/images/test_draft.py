"""Large JPEGs are decoded at a fraction of their size: where that changes next to nothing, or, by
the other rule, down to the size that is wanted."""

import numpy as np
import pytest
from PIL import Image

from serving.errors import UndecodableImageError
from serving.images import draft
from serving.images.decode import decode_scaled
from tests.decoding import decode, difference, four_corners
from tests.drawn import encoded


def edges(width_px, height_px):
    y, x = np.mgrid[0:height_px, 0:width_px]
    board = (((x // 37) + (y // 53)) % 2 * 255).astype(np.uint8)
    return Image.fromarray(np.stack([board, 255 - board, np.roll(board, 11, 1)], -1))


def noise(width_px, height_px):
    random = np.random.default_rng(0)
    return Image.fromarray(random.integers(0, 256, (height_px, width_px, 3)).astype(np.uint8))


def waves(width_px, height_px):
    y, x = np.mgrid[0:height_px, 0:width_px]
    planes = [np.sin(x * a + y * b) for a, b in ((0.01, 0.02), (0.3, 0.1), (1.5, 2.5))]
    return Image.fromarray((np.stack(planes, -1) * 127 + 128).astype(np.uint8))


def stripes(width_px, height_px):
    row = (np.sin(np.arange(width_px) * 0.8) * 127 + 128).astype(np.uint8)
    return Image.fromarray(np.tile(row[None, :, None], (height_px, 1, 3)))


@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("drawn", [edges, noise, waves, stripes])
@pytest.mark.parametrize(
    ("scale", "width_px", "height_px"),
    [(2, 384, 500), (2, 634, 418), (4, 636, 700), (4, 748, 644), (8, 1_272, 1_400)],
)
def test_a_large_jpeg_decoded_at_a_fraction_stays_within_tolerance(
    drawn, subsampling, scale, width_px, height_px
):
    size = (48, 48)
    data = encoded(drawn(width_px, height_px), quality=90, subsampling=subsampling)
    part = decode(data, for_size=size)
    assert part.size == (width_px // scale, height_px // scale)
    whole = decode(data)
    resized = [i.resize(size, Image.Resampling.BILINEAR) for i in (part, whole)]
    assert difference(*resized) <= draft.CLOSE_TOLERANCE


@pytest.mark.parametrize("input_px", [192, 224])
def test_a_phones_photo_is_decoded_at_a_quarter(input_px):
    data = encoded(Image.new("RGB", (4_000, 3_000), "teal"))
    decoded = decode(data, max_pixels=12_000_000, for_size=(input_px, input_px))
    assert decoded.size == (1_000, 750)


def test_a_jpeg_little_larger_than_needed_is_decoded_at_full_size():
    data = encoded(edges(800, 766))
    assert difference(decode(data, for_size=(96, 96)), decode(data)) == 0
    assert decode(data, for_size=(10, 96)).size == (800, 766)


@pytest.mark.parametrize("size", [(801, 800), (800, 801)])
def test_a_jpeg_of_an_odd_size_is_decoded_at_full_size(size):
    assert decode(encoded(edges(*size)), for_size=(96, 96)).size == size


def test_a_jpeg_not_divisible_by_4_is_decoded_at_half():
    assert decode(encoded(edges(1_602, 1_600)), for_size=(96, 96)).size == (801, 800)


def test_other_formats_are_always_decoded_at_full_size():
    assert decode(encoded(edges(800, 800), "PNG"), for_size=(96, 96)).size == (800, 800)


@pytest.mark.parametrize(
    ("size", "wanted_px", "decoded"),
    [
        ((4_000, 3_000), 224, (500, 375)),
        ((400, 533), 224, (200, 267)),
        ((400, 533), 228, (200, 267)),
        ((400, 533), 229, (400, 533)),
        ((533, 400), 224, (267, 200)),
        ((800, 766), 112, (200, 192)),
        ((801, 807), 112, (101, 101)),
        ((96, 96), 96, (96, 96)),
        ((95, 300), 96, (95, 300)),
    ],
)
def test_the_draft_rule_decodes_at_the_smallest_sufficient_scale(size, wanted_px, decoded):
    data = encoded(Image.new("RGB", size, "teal"))
    found = decode(data, max_pixels=12_000_000, for_size=(wanted_px, wanted_px), close=False)
    assert found.size == decoded


@pytest.mark.parametrize("drawn", [edges, noise, waves, stripes])
def test_the_smallest_scale_shows_the_same_picture(drawn):
    data = encoded(drawn(400, 528), quality=90)
    part, whole = decode(data, for_size=(192, 192), close=False), decode(data)
    assert part.size == (200, 264)
    blurred = [
        np.asarray(i.resize((25, 33), Image.Resampling.BOX), np.float32) for i in (part, whole)
    ]
    assert np.abs(blurred[0] - blurred[1]).mean() < 2  # of 255


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(400, 533), (401, 528), (403, 535), (807, 811), (400, 528)])
def test_a_size_that_the_scale_does_not_divide_is_not_stretched(size, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(waves(*size), exif=exif, quality=95)
    wanted = (96, 80)
    part = decode_scaled(data, max_pixels=10**6, for_size=wanted, close=False)
    whole = decode(data)
    scale = round(max(whole.size) / max(part.image.size))
    assert scale in (4, 8)
    assert (part.box is None) == all(side % scale == 0 for side in size)
    pictures = {
        name: np.asarray(one.resize(wanted, Image.Resampling.BILINEAR, box), np.float32)
        for name, one, box in (
            ("whole", whole, None),
            ("part", part.image, part.box),
            ("stretched", part.image, None),
        )
    }
    off = {n: np.abs(one - pictures["whole"]).mean() for n, one in pictures.items()}
    assert off["part"] <= off["stretched"]
    assert off["part"] < 6


def test_half_a_jpeg_is_turned_like_a_whole_one():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(four_corners((800, 1_000)), exif=exif)
    assert decode(data, for_size=(96, 96)).size == (500, 400)
    assert decode(data, for_size=(96, 96)).getpixel((5, 5)) == decode(data).getpixel((10, 10))


def test_the_pixel_limit_counts_the_files_pixels_not_the_drafts():
    data = encoded(edges(800, 800))
    with pytest.raises(UndecodableImageError, match="more than 160,000 pixels"):
        decode(data, max_pixels=400 * 400, for_size=(96, 96))
