"""Pictures for the tests, drawn by this code: nothing here was photographed."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

COLOURS = {"blue": (20, 30, 220), "green": (10, 200, 30), "red": (230, 20, 10)}


def picture(
    colour: str = "red", *, width_px: int = 60, height_px: int = 80, seed: int = 0
) -> Image.Image:
    """An RGB picture of mostly one colour: an ellipse on a noisy ground of it."""
    random = np.random.default_rng(seed)
    noise = random.integers(-20, 21, (height_px, width_px, 3))
    ground = np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8)
    image = Image.fromarray(ground)
    margin_x, margin_y = width_px // 3, height_px // 3
    ImageDraw.Draw(image).ellipse(
        (margin_x, margin_y, width_px - margin_x, height_px - margin_y), fill=COLOURS[colour]
    )
    return image


def encoded(image: Image.Image, file_format: str = "JPEG", **options) -> bytes:
    """The picture as the bytes of an image file; `options` go to Pillow's encoder or HEIC's."""
    buffer = BytesIO()
    if file_format == "HEIC":
        import pillow_heif  # its library has an encoder, which the service's has not

        pillow_heif.from_pillow(image).save(buffer, **options)
        return buffer.getvalue()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def write_class_folders(root: Path, *, train: int = 10, validation: int = 6) -> Path:
    """A data folder of drawn photos, ROOT/{train,validation}/COLOUR/*.jpg, no two alike."""
    seed = 0
    for split, count in (("train", train), ("validation", validation)):
        for colour in COLOURS:
            folder = root / split / colour
            folder.mkdir(parents=True)
            for number in range(count):
                seed += 1
                (folder / f"{number}.jpg").write_bytes(encoded(picture(colour, seed=seed)))
    return root


def png(
    width_px: int,
    height_px: int,
    pixels: bytes,
    *,
    depth: int = 8,
    colour: int = 2,
    interlaced: bool = False,
    before: bytes = b"",
) -> bytes:
    """A PNG written by hand, so that it may lie.

    Args:
        pixels: whole rows without their filter bytes; fewer than the size says, if need be.
        depth, colour: the header's bits per channel and colour type (PNG specification, 11.2.2).
        before: chunks that come before the pixels.
    """
    rows = b""
    if pixels:
        stride = len(pixels) // height_px
        rows = b"".join(
            b"\0" + pixels[start : start + stride] for start in range(0, len(pixels), stride)
        )
    header = struct.pack(">IIBBBBB", width_px, height_px, depth, colour, 0, 0, int(interlaced))
    data = png_chunk(b"IDAT", zlib.compress(rows))
    chunks = [png_chunk(b"IHDR", header), before, data, png_chunk(b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def png_chunk(kind: bytes, content: bytes = b"") -> bytes:
    """One chunk of a PNG with its length and checksum."""
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum
