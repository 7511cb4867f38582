"""Bytes of an image file in, an upright 8-bit RGB image out.

The format is read from the content, never from a name or a header. Refused: other formats
(UnsupportedImageError), more pixels than allowed, which is checked before any pixel is decoded, and
files that cannot be decoded to their last row (UndecodableImageError). Training caches decoded
photos: raise its cache version when a file decodes to other pixels here.
"""

from PIL import Image

from serving.images.flatten import Levels
from serving.images.formats import recognise
from serving.images.reading import UPRIGHT, Decoded, Wanted, read

__all__ = ["UPRIGHT", "Decoded", "decode", "decode_scaled"]

# A lossless WebP of 300 kB can hold 65,536 tables of Huffman codes, for which libwebp takes 360 MB.
# Each takes 36 bits of the file at least, so a file of 32 kB can have tables of 80 MB.
_MAX_HUFFMAN_CODED_BYTES = 32_000
_HUFFMAN_CODED = (b"VP8L", b"ALPH")  # chunks of a lossless picture and of lossless transparency


def decode(data: bytes, *, max_pixels: int, levels: Levels | None = None) -> Image.Image:
    """Decode an image file at its full size; otherwise like `decode_scaled`."""
    return decode_scaled(
        data, max_pixels=max_pixels, for_size=None, close=True, levels=levels
    ).image


def decode_scaled(
    data: bytes,
    *,
    max_pixels: int,
    for_size: tuple[int, int] | None,
    close: bool,
    resample: int | None = None,
    levels: Levels | None = None,
) -> Decoded:
    """Decode an image file to an upright RGB image. An animation gives its first frame.

    Args:
        data: a whole file in one of `formats.FORMATS`.
        max_pixels: the most pixels (width times height) of a JPEG; of other formats their share.
        for_size: the width and height in pixels that the image will be resized to; a larger JPEG
            is decoded at a fraction of its size (serving/images/draft.py), and what has more than
            16 megapixels is shrunk. None keeps every pixel.
        close: whether that may change the resized pixels by at most draft.CLOSE_TOLERANCE.
        resample: Pillow's filter for that resizing. With it, formats that are decoded in a child
            process are resized there already, so that fewer pixels travel.
        levels: values to stretch to the whole range, before 16 bits become 8; None: all of them.

    Returns:
        An image of mode RGB, turned as its EXIF orientation says, with transparency laid over
        white.

    Raises:
        UnsupportedImageError: the bytes are not an image in a supported format.
        UndecodableImageError: the image is damaged, cut short, or larger than allowed; as
            CostlyImageError, decoding it would take too much time or memory.
    """
    known = recognise(data)
    wanted = Wanted(max_pixels, for_size, close, resample, levels)
    if known.confined or (known.name == "WEBP" and _may_have_huge_tables(data)):
        from serving.images import confined  # most requests need no child

        return confined.read(data, known, wanted)
    return read(data, known, wanted)


def _may_have_huge_tables(data: bytes) -> bool:
    return len(data) > _MAX_HUFFMAN_CODED_BYTES and any(kind in data for kind in _HUFFMAN_CODED)
