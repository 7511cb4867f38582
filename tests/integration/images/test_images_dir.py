"""Every image of a folder through the handler, and beside OpenCV's reading of the same file.

Needs IMAGES_DIR, such as the images of other libraries' tests, and `pip install
opencv-python-headless`. What differs is listed; only a 500 fails.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.errors import RequestError
from serving.images.decode import decode
from tests.invocations import event

# OpenCV has other rounding, and other upsampling of a JPEG's colours.
LEVELS = 2.0
MAX_PIXELS = 51_000_000
MAX_BYTES = 4_000_000


@pytest.fixture(scope="module")
def files() -> list[Path]:
    folder = os.environ.get("IMAGES_DIR")
    if not folder:
        pytest.skip("IMAGES_DIR is not set: a folder of images of any kind")
    found = [path for path in sorted(Path(folder).rglob("*")) if path.is_file()]
    return [path for path in found if path.stat().st_size <= MAX_BYTES]


def by_opencv(data: bytes) -> NDArray[np.uint8] | None:
    """(H, W, 3) RGB, or None for what OpenCV does not read or lays over another colour than we."""
    import cv2

    whole = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if whole is None or (whole.ndim == 3 and whole.shape[2] == 4):
        return None
    colour = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return None if colour is None else colour[..., ::-1]


def compared(data: bytes) -> str:
    """How our pixels differ from OpenCV's: empty if they do not."""
    try:
        ours = np.asarray(decode(data, max_pixels=MAX_PIXELS), np.int16)
    except RequestError:
        return ""
    theirs = by_opencv(data)
    if theirs is None:
        return ""
    if ours.shape != theirs.shape:
        return f"size {ours.shape[1::-1]}, OpenCV's {theirs.shape[1::-1]}"
    mean = float(np.abs(ours - theirs).mean())
    return f"{mean:.1f} levels in the mean" if mean > LEVELS else ""


def test_every_image_of_a_folder_is_answered_or_refused(app: Any, files: list[Path]):
    pytest.importorskip("cv2", reason="pip install opencv-python-headless")
    statuses: dict[int, int] = {}
    failed, different = [], []
    for path in files:
        data = path.read_bytes()
        answer = app.handle(event("alb", body=data), "request-1")
        status = int(answer["statusCode"])
        statuses[status] = statuses.get(status, 0) + 1
        if status >= 500:
            failed.append(f"{path}: {json.loads(answer['body'])}")
        elif difference := compared(data):
            different.append(f"{path}: {difference}")
    print(f"{len(files)} files, by status {statuses}; {len(different)} differ from OpenCV's")
    print("\n".join(different))
    assert failed == []
