"""Draws the sample pictures: plain silhouettes of garments on a light ground, nothing photographed.

They are for trying the bundle without a photo. `python -m samples.draw` writes them again, byte for
byte the same with the pinned Pillow.
"""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

SIZE_PX = 448
_GROUND = (226, 222, 214)
_JPEG_QUALITY = 85

Point = tuple[float, float]
Part = tuple[tuple[int, int, int], tuple[Point, ...]]

_DENIM, _DARK_DENIM = (52, 74, 118), (38, 55, 90)
_RED, _WHITE, _GREY = (176, 42, 48), (246, 246, 244), (96, 98, 104)
_GREEN, _BROWN, _BLACK, _SAND = (56, 96, 72), (110, 74, 46), (34, 34, 38), (188, 160, 116)


def _mirrored(*left: Point) -> tuple[Point, ...]:
    """A closed outline from its left half, top to bottom; x is 0 at the left and 1 at the right."""
    return (*left, *((1 - x, y) for x, y in reversed(left)))


_SHORT_SLEEVES = _mirrored(
    *((0.40, 0.17), (0.30, 0.20), (0.13, 0.36), (0.22, 0.46), (0.30, 0.39), (0.30, 0.85))
)
_LONG_SLEEVES = _mirrored(
    *((0.40, 0.13), (0.30, 0.16), (0.20, 0.30), (0.10, 0.74), (0.19, 0.77), (0.30, 0.42)),
    (0.30, 0.86),
)
_NECK = _mirrored((0.41, 0.12), (0.44, 0.20), (0.49, 0.23))
_FRONT = ((0.492, 0.22), (0.508, 0.22), (0.508, 0.86), (0.492, 0.86))
_COLLAR = _mirrored((0.38, 0.11), (0.40, 0.24), (0.49, 0.18))
_WAIST = _mirrored((0.33, 0.14), (0.33, 0.19))

# Each class is painted part by part, starting at the back.
GARMENTS: dict[str, tuple[Part, ...]] = {
    "dress": (
        (
            _RED,
            _mirrored(
                (0.40, 0.08), (0.36, 0.18), (0.38, 0.30), (0.41, 0.42), (0.22, 0.90), (0.36, 0.93)
            ),
        ),
        (_GROUND, _mirrored((0.43, 0.07), (0.45, 0.14), (0.49, 0.17))),
    ),
    "hat": (
        (_SAND, _mirrored((0.36, 0.28), (0.30, 0.40), (0.28, 0.56))),
        (_BROWN, _mirrored((0.285, 0.52), (0.28, 0.60))),
        (_SAND, _mirrored((0.28, 0.58), (0.08, 0.64), (0.14, 0.70), (0.34, 0.74))),
    ),
    "longsleeve": ((_GREY, _LONG_SLEEVES), (_GROUND, _NECK)),
    "outwear": (
        (_GREEN, _LONG_SLEEVES),
        (_BROWN, _COLLAR),
        (_BLACK, _FRONT),
        (_BLACK, ((0.34, 0.62), (0.45, 0.62), (0.45, 0.64), (0.34, 0.64))),
        (_BLACK, ((0.55, 0.62), (0.66, 0.62), (0.66, 0.64), (0.55, 0.64))),
    ),
    "pants": (
        (
            _DENIM,
            _mirrored((0.34, 0.06), (0.30, 0.30), (0.27, 0.94), (0.42, 0.95), (0.49, 0.36)),
        ),
        (_DARK_DENIM, _mirrored((0.337, 0.06), (0.332, 0.11))),
        (_DARK_DENIM, ((0.495, 0.11), (0.505, 0.11), (0.505, 0.26), (0.495, 0.26))),
    ),
    "shirt": (
        (_WHITE, _LONG_SLEEVES),
        (_GREY, _FRONT),
        ((214, 218, 226), _COLLAR),
    ),
    "shoes": (
        (
            _BLACK,
            ((0.10, 0.36), (0.30, 0.34), (0.44, 0.50), (0.70, 0.58), (0.88, 0.66), (0.10, 0.66)),
        ),
        (_WHITE, ((0.09, 0.66), (0.90, 0.66), (0.90, 0.72), (0.09, 0.72))),
        (_WHITE, ((0.36, 0.42), (0.44, 0.40), (0.46, 0.42), (0.38, 0.45))),
        (_WHITE, ((0.42, 0.49), (0.50, 0.46), (0.52, 0.48), (0.44, 0.52))),
    ),
    "shorts": (
        (_SAND, _mirrored((0.32, 0.22), (0.22, 0.72), (0.46, 0.75), (0.49, 0.48))),
        (_BROWN, _mirrored((0.318, 0.22), (0.305, 0.28))),
    ),
    "skirt": (
        (_BLACK, _mirrored((0.35, 0.16), (0.20, 0.82), (0.36, 0.85))),
        (_GREY, _WAIST),
    ),
    "t-shirt": ((_RED, _SHORT_SLEEVES), (_GROUND, _NECK)),
}


def draw(garment: str) -> Image.Image:
    """An RGB picture of one garment of GARMENTS, SIZE_PX square."""
    scale = 2  # drawn at twice the size and reduced, for smooth edges
    image = Image.new("RGB", (SIZE_PX * scale, SIZE_PX * scale), _GROUND)
    pen = ImageDraw.Draw(image)
    for colour, outline in GARMENTS[garment]:
        points = [(x * SIZE_PX * scale, y * SIZE_PX * scale) for x, y in outline]
        pen.polygon(points, fill=colour)
    smooth = image.filter(ImageFilter.GaussianBlur(scale))
    return smooth.resize((SIZE_PX, SIZE_PX), Image.Resampling.LANCZOS)


def main() -> None:
    """Write one JPEG for each garment beside this file."""
    folder = Path(__file__).parent
    for garment in GARMENTS:
        draw(garment).save(folder / f"{garment}.jpg", quality=_JPEG_QUALITY)


if __name__ == "__main__":
    main()
