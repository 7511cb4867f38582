"""Bytes of a file in, what they say out: format, size, range of values, what is wrong; and pixels.

Serving's own code decodes them, once for the facts and the pixels where that is possible. A lack of
memory and a read that fails are no facts: they stop the run by name.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import cKDTree

from serving.errors import CostlyImageError, RequestError, UnsupportedImageError
from serving.images.decode import UPRIGHT, Decoded, decode, decode_scaled
from serving.images.draft import scale_for
from serving.images.formats import NAMES, recognise
from serving.model.preprocess import PreprocessSpec, resize
from train.errors import TrainError
from train.photos.folders import is_photo, printable

# Part of the key of what is remembered: raise it when decoding or `Facts` changes.
CONTENTS_VERSION = 2

# Facts are of the picture that is decoded for this input, whatever the network: a large JPEG's are
# of a fraction of its size.
_REFERENCE = PreprocessSpec()

# Serving decodes other formats than JPEG whole up to this size (serving/images/flatten.py).
_WHOLE_PX = 16_000_000

_SIGNATURE_BYTES = 64
# What serving says; from a child process, its errors have no cause.
_TOO_LARGE = re.compile(r"more than ([\d,]+) (?:pixels|take too long)")
_NO_PICTURE, _DAMAGED = "are not an image", "is damaged"

# A photo's thumbnail has this many pixels a side, of its brightness and of its colour.
_BRIGHTNESS_PX, _COLOUR_PX = 16, 4

# A photo and its near-copy: no value of their thumbnails differs by more, of 255. Of 80 clothing
# photos saved again as JPEG of quality 60, or at half or a third of the size, none differed by more
# than 2; two different ones differed by 73 and more.
NEAR = 2


# Among so many candidates the nearest is looked for: photos of a fixed camera are all alike.
_CANDIDATES = 1024

# The share of a photo's values below and above which single pixels do not count.
_TAIL = 0.001

# A photo whose values are in a smaller share of the range has hardly any contrast.
FLAT = 1 / 8

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a file's bytes say.

    Attributes:
        fault: why it cannot be decoded; the other facts are then missing.
        turned: whether its EXIF orientation turns it.
        low, high: the range of nearly all its values, as shares of the full range of its bits.
        thumbnail: 288 bytes; empty if it has hardly any contrast, so that nothing can be said of
            whether it looks like another.
    """

    fault: str = ""
    file_format: str = ""
    width_px: int = 0
    height_px: int = 0
    turned: bool = False
    low: float = 0.0
    high: float = 1.0
    thumbnail: bytes = b""


@dataclass(frozen=True, slots=True)
class Content:
    """The hash of a file and its facts."""

    sha256: str
    facts: Facts


def rules_of_facts(max_pixels: int) -> str:
    """What facts depend on besides the bytes."""
    return f"{CONTENTS_VERSION} {max_pixels} {NAMES}"


def examine(
    content: bytes, max_pixels: int, spec: PreprocessSpec | None, *, with_facts: bool = True
) -> tuple[Facts | None, Pixels | None]:
    """Decode a photo as serving does: its facts, if they are wanted, and its pixels for a spec.

    Raises:
        MemoryError, OSError: decoding failed, but not because of the file.
        CostlyImageError: it took too much time or memory.
    """
    try:
        found = shown = _decoded(content, max_pixels, spec or _REFERENCE)
        if with_facts and spec is not None and not _is_reference(found, spec):
            shown = _decoded(content, max_pixels, _REFERENCE)
        facts = _facts_of(content, shown, max_pixels) if with_facts else None
    except RequestError as error:
        raise_if_passing(error)
        if isinstance(error, CostlyImageError):
            raise
        return Facts(fault=fault_of(error)), None
    if spec is None:
        return facts, None
    return facts, np.asarray(resize(found.image, spec, found.box))


def _decoded(content: bytes, max_pixels: int, spec: PreprocessSpec) -> Decoded:
    return decode_scaled(
        content,
        max_pixels=max_pixels,
        for_size=spec.size_px,
        close=spec.is_close,
        levels=spec.levels,
    )


def _is_reference(found: Decoded, spec: PreprocessSpec) -> bool:
    """Whether a picture that was decoded for a spec is the one that facts are of."""
    if spec.levels is not None:
        return False
    if found.file_format != "JPEG":
        return found.file_px[0] * found.file_px[1] <= _WHOLE_PX
    scale, wanted = (
        scale_for(found.file_px, each.size_px, close=each.is_close) for each in (spec, _REFERENCE)
    )
    return scale == wanted


def file_pixels(content: bytes, spec: PreprocessSpec, max_pixels: int) -> Pixels:
    """(H, W, 3) uint8: an image file as serving decodes and resizes it.

    Raises:
        RequestError: it cannot be decoded.
    """
    found = decode_scaled(
        content,
        max_pixels=max_pixels,
        for_size=spec.size_px,
        close=spec.is_close,
        levels=spec.levels,
        resample=spec.resampling,
    )
    return np.asarray(resize(found.image, spec, found.box))


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn a read that fails, and a lack of memory, into a TrainError that names the file."""
    try:
        yield
    except MemoryError as error:
        raise TrainError(
            f"{printable(path)}: there is not enough memory to read it. End other programs, lower "
            "--max-pixels, or move the photo away."
        ) from error
    except OSError as error:
        raise TrainError(
            f"{printable(path)} cannot be read: {error.strerror or error}. The same command tries "
            "again; if the file stays unreadable, move it away."
        ) from error


def photo_bytes(path: Path) -> bytes | None:
    """The file's bytes; None if neither its name nor its first bytes are a photo's."""
    if not is_photo(path):
        with path.open("rb") as file:
            if not _is_recognised(file.read(_SIGNATURE_BYTES)):
                return None
    return path.read_bytes()


def _is_recognised(start: bytes) -> bool:
    try:
        recognise(start)
    except UnsupportedImageError:
        return False
    return True


def _facts_of(content: bytes, found: Decoded, max_pixels: int) -> Facts:
    picture = found.image
    low, high = spread = _range_of(picture)
    if found.mode.startswith("I"):  # of 16 bits, the picture has the upper 8
        first, last = round(low * 255) / 256, (round(high * 255) + 1) / 256
        picture = decode(content, max_pixels=max_pixels, levels=(first, last))
        spread = _range_of(picture)
        low, high = (first + at * (last - first) for at in spread)
    thumbnail = _thumbnail(picture) if spread[1] - spread[0] >= FLAT else b""
    turned = found.orientation != UPRIGHT
    return Facts("", found.file_format, *_upright_px(found), turned, low, high, thumbnail)


def _upright_px(found: Decoded) -> tuple[int, int]:
    """Width and height of the whole picture, turned as it is decoded."""
    width, height = found.file_px
    shown_width, shown_height = found.image.size
    is_swapped = (shown_width - shown_height) * (width - height) < 0
    return (height, width) if is_swapped else (width, height)


def raise_if_passing(error: RequestError) -> None:
    """Raise what made decoding fail if that is no property of the file."""
    cause = error.__cause__
    if isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno):
        raise cause


def fault_of(error: RequestError) -> str:
    """Why a photo is not decoded, for a person who trains."""
    if found := _TOO_LARGE.search(error.detail):
        return f"it has more than {found[1]} pixels; raise --max-pixels, or make it smaller"
    if _NO_PICTURE in error.detail:
        return f"it is no photo in a format that is read ({', '.join(NAMES)})"
    if _DAMAGED in error.detail:
        return "it is damaged or cut short; copy it again, or delete it"
    return error.detail[0].lower() + error.detail[1:].rstrip(".")


def _range_of(picture: Image.Image) -> tuple[float, float]:
    """The range of nearly all values of a picture, as shares of 0..255."""
    counts = np.array(picture.histogram()).reshape(-1, 256).sum(axis=0)
    share = np.cumsum(counts) / counts.sum()
    low = int(np.searchsorted(share, _TAIL, side="right"))
    high = int(np.searchsorted(share, 1 - _TAIL))
    return low / 255, max(low, high) / 255


def _thumbnail(picture: Image.Image) -> bytes:
    channels = picture.convert("YCbCr").split()
    sides = (_BRIGHTNESS_PX, _COLOUR_PX, _COLOUR_PX)
    return b"".join(
        channel.resize((px, px), Image.Resampling.BILINEAR).tobytes()
        for channel, px in zip(channels, sides, strict=True)
    )


class Looks:
    """Thumbnails of one or more photos, to find near-copies among them."""

    def __init__(self, thumbnails: Sequence[bytes]) -> None:
        self._values = np.frombuffer(b"".join(thumbnails), np.uint8).reshape(len(thumbnails), -1)
        # Where no value differs by more than NEAR, no mean of some values does: 24 instead of 288.
        self._means = self._values.reshape(len(thumbnails), -1, 12).mean(axis=2)
        self._tree = cKDTree(self._means)

    def near(self, row: int) -> list[int]:
        """The rows of the near-copies of a photo, its own too."""
        found: list[int] = self._near(self._values[row], self._means[row])[0].tolist()
        return found

    def nearest(self, others: "Looks") -> dict[int, int]:
        """For each row of the others that has a near-copy here, the row of the nearest."""
        distances, _ = self._tree.query(others._means, p=np.inf, distance_upper_bound=NEAR + 0.5)
        found = {}
        for row in np.flatnonzero(np.isfinite(distances)).tolist():
            rows, apart = self._near(others._values[row], others._means[row], _CANDIDATES)
            if len(rows):
                found[row] = int(rows[apart.argmin()])
        return found

    def _near(
        self, values: NDArray[np.uint8], means: NDArray[np.float64], most: int | None = None
    ) -> tuple[NDArray[np.intp], NDArray[np.int16]]:
        """The rows of near-copies of a thumbnail, and the largest difference of each."""
        rows = np.array(self._tree.query_ball_point(means, NEAR + 0.001, p=np.inf)[:most], np.intp)
        apart = np.abs(self._values[rows].astype(np.int16) - values.astype(np.int16)).max(axis=1)
        return rows[apart <= NEAR], apart[apart <= NEAR]
