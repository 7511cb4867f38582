"""How small a JPEG is decoded: libjpeg leaves out the detail that the network's input cannot show.

A contract names one of two rules, and its model was calibrated and measured by the same. `close`
keeps the input next to what the whole picture would give; the other decodes at the smallest scale
that is hardly below the input.
"""

import math

from PIL.Image import Transpose

Box = tuple[float, float, float, float]
"""Left, top, right and bottom of a part of a picture, in its pixels and parts of them."""

# At an eighth, a quarter or half of its size where that leaves at least so many times the wanted
# size: measured on noise, waves, stripes and checkerboards of many cells, no pixel of the wanted
# size is off by more than CLOSE_TOLERANCE of 255 (tests/unit/test_image_draft.py). At a quarter, 12
# megapixels take a third of the time, resizing included, and a sixteenth of the memory.
_CLOSE_RATIOS = {8: 3.3, 4: 3.3, 2: 4.0}
CLOSE_TOLERANCE = 8

# A photo of 400x533 at half of its size, 200x267, stretched to 224x224, is off by 2.7 of 255 (root
# mean square) from what the whole gives. Training evaluates and calibrates with the same pixels.
_LEAST_RATIO = 7 / 8

# Which turns put the file's rows where columns were, its last column first, its last row first.
_SWAPPING = (Transpose.TRANSPOSE, Transpose.ROTATE_270, Transpose.TRANSVERSE, Transpose.ROTATE_90)
_RIGHT_TO_LEFT = (
    Transpose.FLIP_LEFT_RIGHT,
    Transpose.ROTATE_180,
    Transpose.ROTATE_270,  # a quarter clockwise: the last row becomes the first column
    Transpose.TRANSVERSE,
)
_BOTTOM_TO_TOP = (
    Transpose.FLIP_TOP_BOTTOM,
    Transpose.ROTATE_180,
    Transpose.TRANSVERSE,
    Transpose.ROTATE_90,
)


def scale_for(file_px: tuple[int, int], wanted_px: tuple[int, int], *, close: bool) -> int:
    """What a JPEG's sides are divided by, 1, 2, 4 or 8, where it is decoded for a size.

    Args:
        file_px: its width and height in pixels.
        wanted_px: the width and height that it will be resized to.
        close: whether the resized pixels are to be within CLOSE_TOLERANCE of the whole picture's.
    """
    needed_px = max(wanted_px)  # EXIF may swap width and height
    for scale, close_ratio in _CLOSE_RATIOS.items():
        ratio = close_ratio if close else _LEAST_RATIO
        is_large_enough = min(file_px) >= ratio * scale * needed_px
        # A size that the scale does not divide was not measured for closeness.
        if is_large_enough and (not close or _divides(scale, file_px)):
            return scale
    return 1


def filled_part(file_px: tuple[int, int], scale: int, turn: Transpose | None) -> Box | None:
    """The part of a decoded and turned picture that the file's pixels fill; None where it is all.

    libjpeg rounds a size that the scale does not divide up: of 533 rows at half, 267 are made, the
    last of which is filled by half.
    """
    if _divides(scale, file_px):
        return None
    made = [math.ceil(side / scale) for side in file_px]
    pad_x, pad_y = (whole - side / scale for whole, side in zip(made, file_px, strict=True))
    width, height = made
    if turn in _SWAPPING:
        width, height, pad_x, pad_y = height, width, pad_y, pad_x
    left = pad_x if turn in _RIGHT_TO_LEFT else 0.0
    top = pad_y if turn in _BOTTOM_TO_TOP else 0.0
    return left, top, left + width - pad_x, top + height - pad_y


def _divides(scale: int, file_px: tuple[int, int]) -> bool:
    return all(side % scale == 0 for side in file_px)
