"""Pillow's settings for the whole process are changed only while an image is decoded."""

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from serving.errors import UnsupportedImageError
from serving.images.decode import decode
from serving.images.limits import pillow_limits
from tests.drawn import encoded, picture


def pillows_settings() -> tuple[object, ...]:
    loads_exif = Image.Exif.load
    return Image.MAX_IMAGE_PIXELS, loads_exif, warnings.filters[:]


@pytest.mark.parametrize("data", [encoded(picture(), "PNG"), encoded(picture(), "JPEG"), b"junk"])
def test_decoding_leaves_pillow_as_it_was(data):
    before = pillows_settings()
    try:
        decode(data, max_pixels=10_000)
    except UnsupportedImageError:
        assert data == b"junk"
    assert pillows_settings() == before


def test_the_limits_hold_until_the_last_thread_has_left():
    before, entered, may_leave = pillows_settings(), threading.Event(), threading.Event()

    def inside() -> None:
        with pillow_limits(1_000):
            entered.set()
            assert may_leave.wait(10)

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(inside)
        assert entered.wait(10)
        with pillow_limits(1_000):
            pass
        assert Image.MAX_IMAGE_PIXELS == 500
        assert Image.Exif.load is not before[1]
        may_leave.set()
        other.result(10)
    assert pillows_settings() == before
