"""EXIF: a picture is turned as it says; damaged EXIF is ignored."""

import struct
import threading
import warnings
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from serving.images import limits
from serving.images.limits import pillow_limits
from tests.decoding import decode, difference, four_corners, with_exif
from tests.drawn import encoded

# EXIF 2.32, "Orientation": where the file's row 0 and column 0 are in the picture as it is seen.
ROW_AND_COLUMN = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def stored_for(orientation: int, seen: np.ndarray) -> np.ndarray:
    """The pixels as a camera stores them under an orientation, by EXIF's words."""
    row, column = ROW_AND_COLUMN[orientation]
    stored = seen if row in ("top", "bottom") else seen.transpose(1, 0, 2)
    if row in ("bottom", "right"):
        stored = stored[::-1]
    if column in ("bottom", "right"):
        stored = stored[:, ::-1]
    return np.ascontiguousarray(stored)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_exif_says(orientation, file_format):
    seen = four_corners()
    stored = Image.fromarray(stored_for(orientation, np.asarray(seen)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, dict[str, int]] = {
        "JPEG": {"quality": 100, "subsampling": 0},
        "WEBP": {"lossless": True},
    }
    data = encoded(stored, file_format, exif=exif, **options.get(file_format, {}))
    assert difference(decode(data), seen) <= 4


@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_an_orientation_that_does_not_exist_is_ignored(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert difference(decode(encoded(four_corners(), "PNG", exif=exif)), four_corners()) == 0


@pytest.mark.parametrize("block", [b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0II*\0"])
def test_damaged_exif_leaves_the_picture_as_it_is(block):
    assert difference(decode(with_exif(block)), four_corners()) <= 4


def directory(count: int, entries: int) -> bytes:
    """EXIF that announces a number of entries and has another."""
    numbers = b"".join(struct.pack("<HHII", 0x9000 + i, 4, 1, 7) for i in range(entries))
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, count) + numbers + b"\0" * 4


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize(
    "block",
    [directory(1_101, 1_101), directory(900, 1), b"Exif\0\0II*\0" + b"\xff" * 20],
    ids=["too large", "cut short", "elsewhere"],
)
def test_damaged_or_huge_exif_leaves_any_format_as_it_is(file_format, block):
    with pillow_limits(10_000):  # AVIF's encoder reads the block, too
        data = encoded(four_corners(), file_format, exif=block)
    assert difference(decode(data), decode(encoded(four_corners(), file_format))) == 0


def test_no_thread_is_warned_while_another_one_ends_decoding(monkeypatch):
    """Warnings are errors here, and a turned picture's EXIF is read last."""
    data = with_exif(b"Exif\0\0MM\0*\0\0\0\x08\0\x05")  # Pillow warns of it
    check, inside, over = limits.check_cost, threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as pool:

        def first_in_first_out(*args, **options):
            if threading.current_thread() is threading.main_thread():
                others.append(pool.submit(decode, data))
                assert inside.wait(10)
            else:
                inside.set()
                assert over.wait(10)
            check(*args, **options)

        others: list[Future[Image.Image]] = []
        monkeypatch.setattr(limits, "check_cost", first_in_first_out)
        decode(data)
        over.set()
        assert difference(others[0].result(10), four_corners()) <= 4
    with pytest.raises(UserWarning, match="on as before"):
        warnings.warn("on as before", stacklevel=1)
