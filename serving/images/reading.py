"""What Pillow and pi-heif make of a file, as an upright RGB picture.

The service calls this for JPEG, PNG, WebP, GIF and BMP, and its child process for the others, so it
needs no more than Pillow and the standard library.
"""

import logging
from dataclasses import dataclass
from types import MappingProxyType

from PIL import Image

from serving import deferred
from serving.errors import CostlyImageError, ServingError, UndecodableImageError
from serving.images import draft, jpeg, limits
from serving.images.flatten import Levels, upright_rgb
from serving.images.formats import Format, import_plugin, named

# Most requests send a JPEG. Pillow's plugin for it has subprocess for a tool that is not used here.
with deferred.imported_when_used("subprocess"):
    import_plugin(named("JPEG"))
Image._initialized = max(Image._initialized, 1)  # skip Pillow's eager import of five plugins
logging.getLogger("PIL").setLevel(logging.CRITICAL)  # a damaged file is answered, not logged

_PNG_BIT_DEPTH = 24  # the byte's place in the file: PNG, 11.2.1
_ORIENTATION_TAG = 274  # EXIF 2.32, table 4
UPRIGHT = 1
_UPRIGHT_BY_ORIENTATION = MappingProxyType(
    {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a file is to be decoded; see `decode.decode_scaled`."""

    max_pixels: int
    for_size: tuple[int, int] | None
    close: bool
    resample: int | None
    levels: Levels | None = None


@dataclass(frozen=True, slots=True)
class Decoded:
    """An upright RGB image of a file.

    Attributes:
        box: the part of the image that the file's pixels fill; None when it is all of it.
        file_format: one of `formats.NAMES`.
        mode: Pillow's name for how the file stores a pixel.
        file_px: the width and height that the file states.
        orientation: its EXIF orientation, 1 to 8.
    """

    image: Image.Image
    box: draft.Box | None
    file_format: str
    mode: str
    file_px: tuple[int, int]
    orientation: int


def read(data: bytes, known: Format, wanted: Wanted) -> Decoded:
    """Decode a file whose format is known, as `decode.decode_scaled` promises.

    Raises:
        UnsupportedImageError: it is of a kind that is not read.
        UndecodableImageError: it is damaged, cut short, too large or too costly.
    """
    import_plugin(known)
    max_pixels = known.most_pixels(wanted.max_pixels)
    try:
        with limits.pillow_limits(max_pixels):
            return _read(data, known, max_pixels, wanted)
    except ServingError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(known, max_pixels) from error
    except MemoryError as error:
        raise CostlyImageError.built(known.name) from error
    except Exception as error:
        raise UndecodableImageError(
            f"The {known.name} image is damaged or cut short and cannot be decoded. "
            "Check that the file opens elsewhere and was sent completely."
        ) from error


def _too_large(known: Format, max_pixels: int) -> UndecodableImageError:
    return UndecodableImageError(
        f"The {known.name} image has more than {max_pixels:,} pixels, which is the limit. "
        "Send a smaller one."
    )


def _read(data: bytes, known: Format, max_pixels: int, wanted: Wanted) -> Decoded:
    if known.name == "JPEG":
        return _read_jpeg(data, known, max_pixels, wanted)
    from serving.images import kinds, png  # a cold start does without them

    if known.name == "HEIC":
        return _finished(kinds.open_heic(data, max_pixels), known, wanted)
    if known.name == "PNG":
        data = png.pixels_only(data)
    file = limits.MeteredFile(data, known.name)
    opening = {"TIFF": kinds.open_tiff, "BMP": kinds.open_bmp}.get(known.name)
    image: Image.Image = opening(file) if opening else Image.open(file, formats=(known.name,))
    limits.check_cost(image, max_pixels=max_pixels)
    if known.name == "TIFF":
        return _finished(image, known, wanted)
    image.load()
    if known.name == "PNG":
        _scale_transparency(image, bit_depth=data[_PNG_BIT_DEPTH])
    return _finished(image, known, wanted)


def _finished(image: Image.Image, known: Format, wanted: Wanted) -> Decoded:
    """The picture, turned, flattened and, if that is wanted, resized."""
    from serving.images.kinds import corrected

    file_px, mode = image.size, image.mode
    said = orientation(image)
    image = corrected(image)
    turn = None if known.name == "TIFF" else _UPRIGHT_BY_ORIENTATION.get(said)  # Pillow turns it
    upright = upright_rgb(image, turn, wanted.for_size, wanted.levels)
    if wanted.for_size is not None and wanted.resample is not None:
        upright = upright.resize(wanted.for_size, Image.Resampling(wanted.resample))
    return Decoded(upright, None, known.name, mode, file_px, said)


def _read_jpeg(data: bytes, known: Format, max_pixels: int, wanted: Wanted) -> Decoded:
    frame = jpeg.read_frame(data)
    image, file_px, scale = _drafted(data, frame, max_pixels, wanted)
    try:
        image.load()
    except OSError:
        image = _without_end(data, frame, max_pixels, wanted)
    said = orientation(image)
    turn = _UPRIGHT_BY_ORIENTATION.get(said)
    box = draft.filled_part(file_px, scale, turn)
    upright = upright_rgb(image, turn, wanted.for_size, wanted.levels)
    return Decoded(upright, box, known.name, image.mode, file_px, said)


def _drafted(
    data: bytes, frame: jpeg.Frame | None, max_pixels: int, wanted: Wanted
) -> tuple[Image.Image, tuple[int, int], int]:
    """An opened JPEG, to be decoded at a fraction of its size if it is larger than needed.

    Returns:
        It, its width and height in the file, and what they are divided by.
    """
    image: Image.Image = Image.open(limits.MeteredFile(data, "JPEG"), formats=("JPEG",))
    file_px, scale = image.size, 1
    if wanted.for_size is not None and not (frame and frame.is_lossless):
        scale = draft.scale_for(file_px, wanted.for_size, close=wanted.close)
    if scale > 1:
        image.draft(None, (image.width // scale, image.height // scale))
    scans = 1 if frame and frame.has_one_scan else jpeg.scans(data)
    limits.check_jpeg(
        file_px,
        image.size,
        scans=scans,
        coefficient_bytes=frame.coefficient_bytes(scans) if frame else 0,
        max_pixels=max_pixels,
    )
    limits.check_cost(image, max_pixels=max_pixels)
    return image, file_px, scale


def _without_end(
    data: bytes, frame: jpeg.Frame | None, max_pixels: int, wanted: Wanted
) -> Image.Image:
    """A JPEG that lacks only its end marker; raises OSError if it lacks pixels."""
    from PIL import ImageChops

    pictures = []
    for ended in jpeg.with_ends(data):
        image, *_ = _drafted(ended, frame, max_pixels, wanted)
        image.load()
        pictures.append(image)
    if ImageChops.difference(*pictures).getbbox() is not None:
        raise OSError("cut short")
    return pictures[0]


def orientation(image: Image.Image) -> int:
    """The EXIF orientation of a file, 1 to 8; UPRIGHT when it has none or it is damaged.

    Of a TIFF, ask before it is loaded: Pillow turns it then. Call it inside
    `limits.pillow_limits`.
    """
    try:
        value = image.getexif().get(_ORIENTATION_TAG)
    except Exception:  # noqa: BLE001 - damaged EXIF says nothing about the pixels, which are whole
        return UPRIGHT
    return value if isinstance(value, int) and value in _UPRIGHT_BY_ORIENTATION else UPRIGHT


def _scale_transparency(image: Image.Image, *, bit_depth: int) -> None:
    """Scale a PNG's transparent value to 8 bits; Pillow scales only its pixels."""
    through = image.info.get("transparency")
    if isinstance(through, int) and image.mode == "L" and bit_depth < 8:
        highest = 2**bit_depth - 1
        image.info["transparency"] = (through & highest) * 255 // highest
    elif isinstance(through, tuple) and bit_depth == 16:
        image.info["transparency"] = tuple(value >> 8 for value in through)
