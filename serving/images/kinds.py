"""What Pillow leaves to do for some kinds of TIFF, BMP and HEIC, before and after it loads them.

A kind that nobody here reads is refused by its name, never as damaged.
"""

import re
from io import BytesIO
from typing import Any

from PIL import Image, ImageChops, UnidentifiedImageError

from serving.errors import UndecodableImageError, UnsupportedImageError
from serving.images.flatten import grey_of_floats

# TIFF 6.0, part 1.
_BITS, _COMPRESSION, _PHOTOMETRIC, _PLANAR, _SAMPLE_FORMAT = 258, 259, 262, 284, 339
_WHITE_IS_ZERO, _SEPARATE_PLANES = 0, 2
# Registered after TIFF 6.0.
_COMPRESSIONS = {
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy DNG",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
_NUMBERS = {1: "unsigned", 2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}

# ISO/IEC 23008-12, 6.5.10 and 6.5.12: the boxes that turn and mirror a picture.
_TURNED_BY_BOXES = re.compile(rb"irot|imir")


def open_tiff(file: BytesIO) -> Image.Image:
    """A TIFF, opened so that Pillow will load it rightly.

    Raises:
        UnsupportedImageError: it is of a kind that Pillow does not read.
        UnidentifiedImageError: it is damaged.
    """
    from PIL import TiffImagePlugin

    try:
        image = Image.open(file, formats=("TIFF",))
    except UnidentifiedImageError as error:
        if kind := _unread_kind(file):
            raise UnsupportedImageError(
                f"The file is {kind}, a kind of TIFF that is not read. "
                "Save it as 8-bit RGB without compression or with LZW."
            ) from error
        raise
    tags: dict[int, Any] = getattr(image, "tag_v2", {})
    if tags.get(_PLANAR) != _SEPARATE_PLANES:
        return image
    # Pillow itself takes each plane for one of 8 bits; libtiff reads planes of 16 bits, too.
    before, TiffImagePlugin.READ_LIBTIFF = TiffImagePlugin.READ_LIBTIFF, True
    try:
        file.seek(0)
        return Image.open(file, formats=("TIFF",))
    finally:
        TiffImagePlugin.READ_LIBTIFF = before


def _unread_kind(file: BytesIO) -> str:
    """What a TIFF with a sound directory is that Pillow has not opened; empty if it has none."""
    from PIL import TiffImagePlugin

    file.seek(0)
    try:
        TiffImagePlugin.TiffImageFile(file)
    except SyntaxError as error:
        unread = "unknown pixel mode" in str(error) or isinstance(error.__cause__, KeyError)
    except Exception:  # noqa: BLE001 - a damaged file can raise nearly anything
        unread = False
    else:
        unread = False
    if not unread:
        return ""
    file.seek(0)
    header = file.read(8)
    directory = TiffImagePlugin.ImageFileDirectory_v2(
        header + (file.read(8) if header[2] == 43 else b"")
    )
    file.seek(directory.next)
    directory.load(file)
    compression = directory.get(_COMPRESSION, 1)
    if compression not in TiffImagePlugin.COMPRESSION_INFO:
        name = _COMPRESSIONS.get(compression, f"compression {compression}")
        return f"a TIFF with {name}"
    bits = directory.get(_BITS, (1,))
    numbers = _NUMBERS.get(max(directory.get(_SAMPLE_FORMAT, (1,))), "unknown")
    colours = directory.get(_PHOTOMETRIC, _WHITE_IS_ZERO)
    return (
        f"a TIFF of {len(bits)} x {max(bits)}-bit {numbers} samples "
        f"(photometric interpretation {colours})"
    )


def corrected(image: Image.Image) -> Image.Image:
    """A picture as its file means it, loaded."""
    image.load()
    if (
        image.format == "BMP"
        and image.mode == "RGBA"
        and image.getchannel("A").getextrema() == (0, 0)
    ):
        return image.convert("RGB")  # the fourth byte is unused: nobody saves an invisible picture
    tags: dict[int, Any] = getattr(image, "tag_v2", {})
    if tags.get(_PHOTOMETRIC) != _WHITE_IS_ZERO:
        return image
    if image.mode.startswith("I;16"):  # Pillow inverts 8 bits only
        return image.convert("I").point(lambda value: value * -1 + 65_535)
    return ImageChops.invert(grey_of_floats(image)) if image.mode == "F" else image


def open_heic(data: bytes, max_pixels: int) -> Image.Image:
    """A HEIC's first picture, loaded and turned as its boxes say.

    Its EXIF is kept for the caller to turn it by, unless boxes have turned it: phones write both.

    Raises:
        UndecodableImageError: it has more than `max_pixels`.
    """
    import pi_heif  # LGPL, and 4 MB: never imported by the service itself

    options = pi_heif.options
    options.DECODE_THREADS = 1
    options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
    picture = _heif_picture(pi_heif, data)
    width, height = picture.size
    if width * height > max_pixels:
        raise UndecodableImageError(
            f"The HEIC photo has {width * height:,} pixels; more than {max_pixels:,} take too long "
            "to decode. Send a smaller one, or a JPEG."
        )
    exif = picture.info.get("exif")
    image: Image.Image = picture.to_pillow()
    image.info = {}
    if exif and not _TURNED_BY_BOXES.search(data):
        image.info["exif"] = exif
    return image


def _heif_picture(pi_heif: Any, data: bytes) -> Any:
    """The primary picture, not yet decoded."""
    file = pi_heif.open_heif(data, convert_hdr_to_8bit=True)
    return file[file.primary_index]
