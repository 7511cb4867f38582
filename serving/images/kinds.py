"""What Pillow leaves to do for some kinds of TIFF, BMP and HEIC, before and after it loads them.

A kind that nobody here reads is refused by its name, never as damaged.
"""

import re
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from PIL import Image, ImageChops, ImageFile, UnidentifiedImageError

from serving.errors import UndecodableImageError, UnsupportedImageError
from serving.images.flatten import FLOATS_TO_1, grey_of_floats

# TIFF 6.0, part 1.
_BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 258, 259, 262, 266
_PLANAR, _SAMPLE_FORMAT = 284, 339
_WHITE_IS_ZERO, _YCBCR, _SEPARATE_PLANES, _SIGNED = 0, 6, 2, 2
# Pillow puts the planes of these together wrongly.
_NOT_IN_PLANES = ("LA", "PA", "LAB")
# libtiff aligns these rows by where they lie in memory: it does not read what it has written.
_WORD_ALIGNED_FAX = 32771
# Registered after TIFF 6.0.
_COMPRESSIONS = {
    32771: "word-aligned fax compression",
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


def open_bmp(file: BytesIO) -> Image.Image:
    """A BMP, opened.

    Raises:
        UnsupportedImageError: it is of a kind that Pillow does not read.
        OSError: it is damaged.
    """
    try:
        return Image.open(file, formats=("BMP",))
    except OSError as error:
        if said := re.match(r"Unsupported BMP ([bchp].+)", str(error)):  # not of its palette's size
            raise UnsupportedImageError(
                f"The file is a BMP with an unusual {said[1]}, a kind of BMP that is not read. "
                "Save it as a BMP of 24 bits, or as a PNG."
            ) from error
        raise


def open_tiff(file: BytesIO) -> Image.Image:
    """A TIFF, opened so that Pillow will load it rightly.

    Raises:
        UnsupportedImageError: it is of a kind that Pillow does not read, or reads wrongly.
        UnidentifiedImageError: it is damaged.
    """
    try:
        image = Image.open(file, formats=("TIFF",))
    except UnidentifiedImageError as error:
        why = _why_unopened(file)
        if isinstance(why.__cause__, IndexError):  # more planes than colours
            return _by_libtiff(file)
        if "unknown pixel mode" in str(why) or isinstance(why.__cause__, KeyError):
            raise _unread(_directory(file)) from error
        raise
    tags: dict[int, Any] = getattr(image, "tag_v2", {})
    in_planes = tags.get(_PLANAR) == _SEPARATE_PLANES
    if tags.get(_COMPRESSION) == _WORD_ALIGNED_FAX or (in_planes and image.mode in _NOT_IN_PLANES):
        raise _unread(tags)
    needs_libtiff = in_planes or tags.get(_FILL_ORDER, 1) != 1 or tags.get(_PHOTOMETRIC) == _YCBCR
    return _by_libtiff(file) if needs_libtiff else _in_own_order(image)


def _by_libtiff(file: BytesIO) -> Image.Image:
    """What Pillow itself reads wrongly without compression.

    It takes each plane for one of 8 bits, knows those of the colours only, and neither subsampled
    colours nor most kinds of bits in reverse.
    """
    from PIL import TiffImagePlugin

    before, TiffImagePlugin.READ_LIBTIFF = TiffImagePlugin.READ_LIBTIFF, True
    try:
        file.seek(0)
        return _in_own_order(Image.open(file, formats=("TIFF",)))
    finally:
        TiffImagePlugin.READ_LIBTIFF = before


def _in_own_order(image: ImageFile.ImageFile) -> Image.Image:
    """libtiff gives 32-bit samples in this machine's order, but Pillow reads them in the file's."""
    image.tile = [
        tile._replace(args=(tile.args[0].replace(";32B", ";32N"), *tile.args[1:]))
        if tile.codec_name == "libtiff" and isinstance(tile.args, tuple)
        else tile
        for tile in image.tile
    ]
    return image


def _why_unopened(file: BytesIO) -> Exception:
    from PIL import TiffImagePlugin

    file.seek(0)
    try:
        TiffImagePlugin.TiffImageFile(file)
    except Exception as error:  # noqa: BLE001 - a damaged file can raise nearly anything
        return error
    return UnidentifiedImageError()


def _directory(file: BytesIO) -> dict[int, Any]:
    """The tags of a TIFF with a sound directory."""
    from PIL import TiffImagePlugin

    file.seek(0)
    header = file.read(8)
    directory: Any = TiffImagePlugin.ImageFileDirectory_v2(
        header + (file.read(8) if header[2] == 43 else b"")
    )
    file.seek(directory.next)
    directory.load(file)
    return dict(directory)


def _unread(tags: Mapping[int, Any], values: str = "") -> UnsupportedImageError:
    """The refusal of a TIFF by its kind, and what is wrong with its values, if that is it."""
    return UnsupportedImageError(
        f"The file is a TIFF {_kind(tags)}{values}, a kind of TIFF that is not read. "
        "Save it as 8-bit RGB without compression or with LZW."
    )


def _kind(tags: Mapping[int, Any]) -> str:
    from PIL import TiffImagePlugin

    compression = tags.get(_COMPRESSION, 1)
    if compression in _COMPRESSIONS or compression not in TiffImagePlugin.COMPRESSION_INFO:
        return f"with {_COMPRESSIONS.get(compression, f'compression {compression}')}"
    bits = tags.get(_BITS, (1,))
    numbers = _NUMBERS.get(max(tags.get(_SAMPLE_FORMAT, (1,))), "unknown")
    planes = " in separate planes" if tags.get(_PLANAR) == _SEPARATE_PLANES else ""
    colours = tags.get(_PHOTOMETRIC, _WHITE_IS_ZERO)
    return (
        f"of {len(bits)} x {max(bits)}-bit {numbers} samples{planes} "
        f"(photometric interpretation {colours})"
    )


def corrected(image: Image.Image) -> Image.Image:
    """A picture as its file means it, loaded.

    Raises:
        UnsupportedImageError: it has values of which nobody can say how bright they are.
    """
    image.load()
    if (
        image.format == "BMP"
        and image.mode == "RGBA"
        and image.getchannel("A").getextrema() == (0, 0)
    ):
        return image.convert("RGB")  # the fourth byte is unused: nobody saves an invisible picture
    tags: dict[int, Any] = getattr(image, "tag_v2", {})
    if not tags:
        return image
    _require_known_range(image, tags)
    if tags.get(_BITS) == (12,):  # Pillow leaves them as they are in its 16
        image = image.convert("I").point(lambda value: value * 16 + 0)
    if tags.get(_PHOTOMETRIC) != _WHITE_IS_ZERO:
        return image
    if image.mode.startswith("I;16"):  # Pillow inverts 8 bits only
        return image.convert("I").point(lambda value: value * -1 + 65_535)
    return ImageChops.invert(grey_of_floats(image)) if image.mode == "F" else image


def _require_known_range(image: Image.Image, tags: Mapping[int, Any]) -> None:
    """Refuse negative integers and those of more than 16 bits, and floats of any other range.

    Viewers show these in many ways, or stretch each picture by itself.
    """
    signed = tags.get(_SAMPLE_FORMAT, (1,))[0] == _SIGNED
    if image.mode not in ("I", "F") and not signed:
        return
    extrema: Any = image.getextrema()  # of one channel
    low, high = extrema
    if image.mode == "F":
        most = 1 if high <= FLOATS_TO_1 else 255
        if low < -most / 2 or high > most * 2:
            raise _unread(tags, " that go neither from 0 to 1 nor from 0 to 255")
    elif low < 0 or high > (127 if image.mode == "L" else 65_535):
        limit = "negative" if signed and (low < 0 or image.mode == "L") else "above 65,535"
        raise _unread(tags, f", some of them {limit}")


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
