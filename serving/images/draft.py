"""At which scale a JPEG is decoded: libjpeg can skip detail that the network's input cannot show.

A contract names one of two rules, under which its model was calibrated and measured. `close` keeps
the input close to what the full-size picture would give. The other one decodes at the smallest
scale not below 7/8 of the input size.
"""

import math

from PIL.Image import Transpose

Box = tuple[float, float, float, float]
"""Left, top, right and bottom of a part of an image, in pixels and fractions of them."""

# Scale -> how many times the wanted size must be left. Measured on noise, waves, stripes and
# checkerboards, no pixel of the resized image is then off by more than CLOSE_TOLERANCE of 255
# (tests/unit/images/test_draft.py). At scale 4, a JPEG of 12 megapixels takes a third of the time,
# including resizing, and a sixteenth of the memory.
_CLOSE_RATIOS = {8: 3.3, 4: 3.3, 2: 4.0}
CLOSE_TOLERANCE = 8

# A photo of 400x533, decoded at 200x267 and stretched to 224x224, is off by 2.7 of 255 (root mean
# square) from the same photo decoded at its full size.
_LEAST_RATIO = 7 / 8

# Turns that swap rows and columns, that put the last column first, and the last row first.
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
    """The number by which a JPEG's sides are divided when it is decoded: 1, 2, 4 or 8.

    Args:
        file_px: its width and height in pixels.
        wanted_px: the width and height that it will be resized to.
        close: whether the resized pixels must be within CLOSE_TOLERANCE of the full-size picture's.
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
    """The part of a decoded and turned image that the file's pixels fill; None when it is all.

    libjpeg rounds up a size that the scale does not divide: 533 rows become 267 at scale 2, and the
    last row is only half filled.
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
