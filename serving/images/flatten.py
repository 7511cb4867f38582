"""A decoded picture of any mode in, an upright 8-bit RGB picture out, by Pillow alone.

The child that decodes TIFF, AVIF and HEIC runs this, too, so it does without numpy.
"""

from collections.abc import Iterator

from PIL import Image

Levels = tuple[float, float]
"""Which values become black and white, as shares of the full range of the file's bits."""

FLOATS_TO_1 = 2
"""Floats up to here go from 0 to 1: resizing and sharpening leave some a little above."""

# Larger pictures are shrunk by whole numbers, strip by strip, before they are turned: a picture of
# 25 megapixels needs no second copy. Smaller ones keep every pixel, so that their input stays
# what it was when models were trained.
_LARGE_PX = 16_000_000
_STRIP_ROWS = 256  # about 26 MB of a picture of 25 megapixels
# What must be left of a side, in times of the input's: as for a JPEG that is decoded at a half.
_RATIO_LEFT = 4


def upright_rgb(
    image: Image.Image,
    turn: Image.Transpose | None,
    for_size: tuple[int, int] | None,
    levels: Levels | None = None,
) -> Image.Image:
    """The picture as RGB, turned, its transparency laid over white.

    Args:
        image: a loaded picture.
        turn: what makes it upright.
        for_size: the width and height that it will be resized to; a picture of more than 16
            megapixels is shrunk to no less than four times that. None keeps every pixel.
        levels: which values become black and white; None is the full range.
    """
    steps = _steps(image.size, for_size)
    if steps == (1, 1):
        upright = image if turn is None else image.transpose(turn)
        return _to_rgb(upright, levels)
    width, height = (-(-side // step) for side, step in zip(image.size, steps, strict=True))
    small = Image.new("RGB", (width, height))
    for top, strip in _strips(image, _STRIP_ROWS * steps[1]):
        small.paste(_to_rgb(strip, levels).reduce(steps), (0, top // steps[1]))
    return small if turn is None else small.transpose(turn)


def _steps(size: tuple[int, int], for_size: tuple[int, int] | None) -> tuple[int, int]:
    """By what width and height are divided."""
    steps = [1, 1]
    if for_size is None:
        return 1, 1
    needed = _RATIO_LEFT * max(for_size)  # EXIF may swap width and height
    while size[0] * size[1] > _LARGE_PX * steps[0] * steps[1]:
        left = [side / (step + 1) for side, step in zip(size, steps, strict=True)]
        wider = left.index(max(left))
        if left[wider] < needed:
            break
        steps[wider] += 1
    return steps[0], steps[1]


def _strips(image: Image.Image, rows: int) -> Iterator[tuple[int, Image.Image]]:
    """Each strip of a picture with its upper edge."""
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        strip.info = image.info  # says which value is transparent
        yield top, strip


def _to_rgb(image: Image.Image, levels: Levels | None) -> Image.Image:
    if image.mode.startswith("I"):
        return _eight_bits(image, levels or (0.0, 1.0)).convert("RGB")
    rgb = _flat(image)
    if levels is None:
        return rgb
    low, high = (255 * level for level in levels)
    return rgb.point([round((value - low) * 255 / (high - low)) for value in range(256)] * 3)


def _flat(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F":
        return grey_of_floats(image).convert("RGB")
    if image.has_transparency_data:
        layers = image if image.mode == "RGBA" else image.convert("RGBA")
        paper = Image.new("RGB", layers.size, "white")
        paper.paste(layers, mask=layers)
        return paper
    return image.convert("RGB")


def _eight_bits(image: Image.Image, levels: Levels) -> Image.Image:
    """16-bit grey, stored in 16 or 32 bits, in 8: of the full range, the upper ones."""
    wide = image if image.mode == "I" else image.convert("I")
    through = image.info.get("transparency")
    low, high = (65_535 * level for level in levels)
    scale = 1 / 256 if levels == (0.0, 1.0) else 255 / (high - low)
    if not isinstance(through, int):
        return wide.point(lambda value: value * scale - low * scale).convert("L")
    grey = [min(max(int((value - low) * scale), 0), 255) for value in range(65_536)]
    if 0 <= through < len(grey):
        grey[through] = 255
    return wide.point(grey, "L")


def grey_of_floats(image: Image.Image) -> Image.Image:
    """Grey of floats, which go from 0 to 1 or to 255; what is no number becomes black."""
    above = image.point(lambda value: value * 2**20 - FLOATS_TO_1 * 2**20).convert("L")
    if above.getextrema() == (0, 0):
        image = image.point(lambda value: value * 255)
    return image.convert("L")
