"""An upright RGB image in, the network's input out. Training and serving share this definition.

    PIL image -> resize (antialiased) -> NHWC batch (keras-image-helper) -> NCHW float32 (numpy)

keras-image-helper resizes without antialiasing, which costs accuracy. So `resize` comes first and
its own resizing is skipped, which would only copy an image of the target size.
"""

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serving import deferred
from serving.errors import ContractError

Box = tuple[float, float, float, float]
"""Left, top, right and bottom of a part of an image, in pixels and fractions of them."""


# keras-image-helper imports urllib.request for its own downloads, which are not used here. That
# imports http.client, email and ssl: the first answer to a photo in a body would take 8 % longer.
with deferred.imported_when_used("urllib.request"):
    from keras_image_helper.base import BasePreprocessor

# These rules are written into every contract, so that a model made under other rules is refused
# instead of being served wrongly. With "draft" in its name, a rule decodes a JPEG at the smallest
# scale not below 7/8 of the input size, then resizes it. Without, as in older contracts, the scale
# is chosen so that it changes the input by very little (serving/images/draft.py).
DRAFT_RESAMPLE = "draft-bilinear-antialias"
CLOSE_RESAMPLE = "bilinear-antialias"
BICUBIC_RESAMPLE = "draft-bicubic-antialias"
EXIF = "upright"
LAYOUT = "NCHW"
_LARGEST_FLOAT = sys.float_info.max
_RULES = {
    "resample": (DRAFT_RESAMPLE, CLOSE_RESAMPLE, BICUBIC_RESAMPLE),
    "exif": (EXIF,),
    "layout": (LAYOUT,),
}

# Mean and standard deviation of ImageNet's training pixels on the 0..1 scale, as torchvision's
# pretrained weights expect them (torchvision.transforms._presets.ImageClassification).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class PreprocessSpec:
    """How an image becomes the network's input.

    `height_px` and `width_px` are the input's size; the whole image is stretched to it and nothing
    is cropped. `mean` and `std` are per RGB channel on the 0..1 scale. `levels` are the values that
    become black and white before that, as shares of the full range; None: the whole range.
    """

    height_px: int = 224
    width_px: int = 224
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    resample: str = DRAFT_RESAMPLE
    exif: str = EXIF
    layout: str = LAYOUT
    levels: tuple[float, float] | None = None

    @classmethod
    def square(cls, px: int) -> "PreprocessSpec":
        """The usual rules for an input of `px` by `px` pixels."""
        return cls(height_px=px, width_px=px)

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height, in Pillow's order; the `for_size` of `images.decode.decode_scaled`."""
        return self.width_px, self.height_px

    @property
    def is_close(self) -> bool:
        """The `close` of `images.decode.decode_scaled`."""
        return self.resample == CLOSE_RESAMPLE

    @property
    def resampling(self) -> Image.Resampling:
        """Pillow's filter for resizing."""
        is_bicubic = self.resample == BICUBIC_RESAMPLE
        return Image.Resampling.BICUBIC if is_bicubic else Image.Resampling.BILINEAR

    def to_json(self) -> dict[str, Any]:
        """The spec as JSON values; without levels if it has none, as in older contracts."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, value: Any) -> "PreprocessSpec":
        """Read a spec; raises ContractError naming the first field that cannot be honoured."""
        if not isinstance(value, Mapping):
            raise ContractError("The contract's field 'preprocess' must be an object.")
        spec = cls(
            height_px=_size(value, "height_px"),
            width_px=_size(value, "width_px"),
            mean=_channels(value, "mean"),
            std=_channels(value, "std"),
            resample=str(value.get("resample")),
            levels=_levels(value.get("levels")),
        )
        if min(spec.std) <= 0:
            raise ContractError("The contract's field 'preprocess.std' must be above 0.")
        for name, known in _RULES.items():
            if value.get(name) not in known:
                raise ContractError(
                    f"The contract's field 'preprocess.{name}' is {value.get(name)!r}; "
                    f"this server knows only {' and '.join(map(repr, known))}."
                )
        return spec


def _size(value: Mapping[str, Any], name: str) -> int:
    size = value.get(name)
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= 4_096:
        raise ContractError(
            f"The contract's field 'preprocess.{name}' is {size!r}; "
            "it must be a whole number of pixels between 1 and 4096."
        )
    return size


def _channels(value: Mapping[str, Any], name: str) -> tuple[float, float, float]:
    numbers = value.get(name)
    if (
        not isinstance(numbers, list | tuple)
        or len(numbers) != 3
        # This excludes NaN, and integers that are too large for a float.
        or not all(isinstance(n, int | float) and abs(n) <= _LARGEST_FLOAT for n in numbers)
    ):
        raise ContractError(
            f"The contract's field 'preprocess.{name}' is {numbers!r}; it must be three numbers."
        )
    return float(numbers[0]), float(numbers[1]), float(numbers[2])


def _levels(value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    is_pair = isinstance(value, list | tuple) and len(value) == 2
    if not (
        is_pair
        and all(isinstance(n, int | float) for n in value)
        and 0 <= value[0] < value[1] <= 1  # nor is NaN
    ):
        raise ContractError(
            f"The contract's field 'preprocess.levels' is {value!r}; it must be two numbers from 0 "
            "to 1, the lower one first."
        )
    return float(value[0]), float(value[1])


def resize(image: Image.Image, spec: PreprocessSpec, box: Box | None = None) -> Image.Image:
    """Stretch an RGB image, or a part of it, to the input size with the spec's antialiased filter.

    `serving.images.decode.decode_scaled` gives such images and boxes.
    """
    # `reducing_gap` stays unset: it would be faster and less exact.
    return image.resize(spec.size_px, spec.resampling, box)


def normalize(pixels: NDArray[Any], spec: PreprocessSpec) -> NDArray[np.float32]:
    """Turn pixels of 0..255 into the network's input.

    Args:
        pixels: (N, H, W, 3), uint8 or float32.

    Returns:
        (N, 3, H, W) float32, contiguous: ((pixels / 255) - mean) / std per channel.
    """
    scale, offset = _planes_scale_and_offset(spec)
    # Transpose while it is 8-bit: a float32 copy would move four times as many bytes.
    planes = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    batch: NDArray[np.float32] = np.multiply(planes, scale, dtype=np.float32)
    batch += offset
    return batch


@cache
def _planes_scale_and_offset(
    spec: PreprocessSpec,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """`scale_and_offset` with shapes (3, 1, 1)."""
    scale, offset = scale_and_offset(spec)
    return scale[:, None, None], offset[:, None, None]


def scale_and_offset(spec: PreprocessSpec) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The normalisation as one multiplication and one addition per channel, each (3,) float32."""
    mean, std = np.array(spec.mean, np.float64), np.array(spec.std, np.float64)
    return (1 / (255 * std)).astype(np.float32), (-mean / std).astype(np.float32)


class _Helper(BasePreprocessor):  # type: ignore[misc]  # untyped
    """keras-image-helper's steps, with 8-bit pixels until they are normalised."""

    def __init__(self, spec: PreprocessSpec) -> None:
        super().__init__(spec.size_px)
        self._spec = spec

    def resize_image(self, img: Image.Image) -> Image.Image:
        return img

    def image_to_array(self, img: Image.Image) -> NDArray[np.uint8]:
        return np.asarray(img)

    def preprocess(self, X: NDArray[np.uint8]) -> NDArray[np.float32]:  # noqa: N803 - its name
        return normalize(X, self._spec)


class Preprocessor:
    """Turns images into batches of one, by a spec."""

    def __init__(self, spec: PreprocessSpec) -> None:
        self.spec = spec
        self._helper = _Helper(spec)

    def __call__(self, image: Image.Image, box: Box | None = None) -> NDArray[np.float32]:
        """An upright RGB image of any size, or the part of it in `box` -> (1, 3, H, W) float32."""
        resized = resize(image, self.spec, box)
        batch: NDArray[np.float32] = self._helper.convert_to_tensor(resized)
        return batch
