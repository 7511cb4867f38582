"""Files in, what their bytes say out: hash, format, size, range of values, and what is wrong.

Serving's own code decodes them. Only what a file's bytes prove is remembered, by their hash; a read
that fails and a lack of memory stop the run by name, and are not remembered.
"""

import hashlib
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from serving.errors import CostlyImageError, RequestError, UnsupportedImageError
from serving.images.decode import UPRIGHT, decode, decode_scaled
from serving.images.formats import NAMES, recognise
from train.errors import TrainError, UsageError
from train.files import read_json, require_writable, write_json
from train.photos.folders import is_photo, printable

# Part of the key of what is remembered: raise it when decoding or `Facts` changes.
CONTENTS_VERSION = 2

_SIGNATURE_BYTES = 64
# What serving says; from a child process, its errors have no cause.
_TOO_LARGE = re.compile(r"more than ([\d,]+) (?:pixels|take too long)")
_NO_PICTURE, _DAMAGED = "are not an image", "is damaged"

# A photo's thumbnail has this many pixels a side, of its brightness and of its colour.
_BRIGHTNESS_PX, _COLOUR_PX = 16, 4

# The share of a photo's values below and above which single pixels do not count.
_TAIL = 0.001

# A photo whose values are in a smaller share of the range has hardly any contrast.
FLAT = 1 / 8

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a file's bytes say.

    Attributes:
        fault: why it cannot be decoded; the other facts are then missing.
        turned: whether its EXIF orientation turns it.
        low, high: the range of nearly all its values, as shares of the full range of its bits.
        thumbnail: 288 bytes in base64, for `thumbnail_rows`; empty if it has hardly any contrast,
            so that nothing can be said of whether it looks like another.
    """

    fault: str = ""
    file_format: str = ""
    width_px: int = 0
    height_px: int = 0
    turned: bool = False
    low: float = 0.0
    high: float = 1.0
    thumbnail: str = ""


@dataclass(frozen=True, slots=True)
class Content:
    """The hash of a file and its facts."""

    sha256: str
    facts: Facts


def read_contents(paths: Sequence[Path], cache: Path, max_pixels: int) -> list[Content | None]:
    """The content of each file; None for one that is no photo by its name nor its first bytes.

    Raises:
        TrainError: a file cannot be read, or there is no memory to decode it.
        UsageError: the cache is not writable.
    """
    remembered = remembered_facts(cache, max_pixels)
    before = len(remembered)

    def read(path: Path) -> Content | None:
        with naming(path):
            content = _photo_bytes(path)
            if content is None:
                return None
            sha256 = hashlib.sha256(content).hexdigest()
            if sha256 not in remembered:
                try:
                    remembered[sha256] = _facts_of(content, max_pixels)
                except CostlyImageError as error:  # on another day it may be quick enough
                    return Content(sha256, Facts(fault=fault_of(error)))
            return Content(sha256, remembered[sha256])

    contents = in_threads(read, paths, "reading photos")
    if len(remembered) > before:
        _remember(remembered, cache, max_pixels)
    return contents


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


def _photo_bytes(path: Path) -> bytes | None:
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


def _facts_of(content: bytes, max_pixels: int) -> Facts:
    """Decode a photo as serving does.

    Raises:
        MemoryError, OSError: decoding failed, but not because of the file.
        CostlyImageError: it took too much time or memory.
    """
    try:
        found = decode_scaled(content, max_pixels=max_pixels, for_size=None, close=True)
        picture = found.image
        low, high = spread = _range_of(picture)
        if found.mode.startswith("I"):  # of 16 bits, the picture has the upper 8
            first, last = round(low * 255) / 256, (round(high * 255) + 1) / 256
            picture = decode(content, max_pixels=max_pixels, levels=(first, last))
            spread = _range_of(picture)
            low, high = (first + at * (last - first) for at in spread)
    except RequestError as error:
        raise_if_passing(error)
        if isinstance(error, CostlyImageError):
            raise
        return Facts(fault=fault_of(error))
    thumbnail = _thumbnail(picture) if spread[1] - spread[0] >= FLAT else ""
    turned = found.orientation != UPRIGHT
    return Facts("", found.file_format, picture.width, picture.height, turned, low, high, thumbnail)


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


def _thumbnail(picture: Image.Image) -> str:
    channels = picture.convert("YCbCr").split()
    sides = (_BRIGHTNESS_PX, _COLOUR_PX, _COLOUR_PX)
    small = (
        channel.resize((px, px), Image.Resampling.BILINEAR).tobytes()
        for channel, px in zip(channels, sides, strict=True)
    )
    return b64encode(b"".join(small)).decode()


def thumbnail_rows(thumbnails: Sequence[str]) -> NDArray[np.float64]:
    """(N, 288) of N thumbnails, 0..255."""
    joined = b"".join(map(b64decode, thumbnails))
    return np.frombuffer(joined, np.uint8).reshape(len(thumbnails), -1).astype(np.float64)


def _file(cache: Path, max_pixels: int) -> Path:
    rules = hashlib.sha256(f"{CONTENTS_VERSION} {max_pixels} {NAMES}".encode()).hexdigest()
    return cache / f"contents-{rules[:16]}.json"


def remembered_facts(cache: Path, max_pixels: int) -> dict[str, Facts]:
    """The facts of every file that was read before, by hash."""
    try:
        found = read_json(_file(cache, max_pixels))
        return {sha256: Facts(*values) for sha256, values in found.items()}
    except (UsageError, TypeError, AttributeError):  # none, or not one of ours
        return {}


def _remember(facts: dict[str, Facts], cache: Path, max_pixels: int) -> None:
    require_writable(cache, "--cache")
    known = remembered_facts(cache, max_pixels) | facts  # another run may have added some
    write_json(
        _file(cache, max_pixels), {sha256: list(astuple(each)) for sha256, each in known.items()}
    )


def in_threads(work: Callable[[Item], Result], items: Sequence[Item], what: str) -> list[Result]:
    """Do `work` on every item in threads: Pillow releases the GIL while it decodes."""
    with ThreadPoolExecutor() as pool:
        done = tqdm(pool.map(work, items), what, len(items), unit="img", leave=False)
        return list(done)
