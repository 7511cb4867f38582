"""Which parts of a photo an answer comes from: a class activation map, exact in logits.

Where a head of one linear layer gets the mean of a feature map over its positions, the mean of what
the head says of each position is the logit (Zhou et al. 2016, "Learning Deep Features for
Discriminative Localization"). Such a model file has three more outputs, which cost nothing unless
they are fetched: the feature map (N, F, h, w), and the head's weight (C, F) and bias (C,).
"""

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serving.errors import ContractError
from serving.model.preprocess import Box

LONGEST_PX = 224
# Orange and blue, which most people can tell apart.
_FOR, _AGAINST = np.array([[255, 140, 0], [0, 110, 255]], np.float32)
_STRONGEST = 0.75  # the opacity of the position that says most


def top_class_maps(
    logits: NDArray[np.float32],
    features: NDArray[np.float32],
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
) -> NDArray[np.float32]:
    """The maps of the most likely classes, (N, h, w) float32, each with the logit as its mean.

    Args:
        logits: (N, C).
        features: (N, F, h, w), whose mean over positions is what the head gets.
        weight, bias: the head's, (C, F) and (C,).
    """
    labels = logits.argmax(axis=1)  # (N,)
    maps: NDArray[np.float32] = np.einsum("nf,nfhw->nhw", weight[labels], features)
    return maps + bias[labels, None, None]


def check_outputs(shapes: Sequence[Sequence[Any]], classes: int) -> None:
    """Raise ContractError unless the last three outputs can be a feature map, weight and bias."""
    features, weight, bias = [*map(list, shapes), [], [], []][:3]
    is_map = len(features) == 4 and len(weight) == 2 and features[1] == weight[1]
    if not is_map or weight[0] != classes or bias != [classes]:
        raise ContractError(
            f"The model's last outputs have shapes {list(map(list, shapes))}; with the contract's "
            f"field 'explanation' exact, they must be [N, F, h, w], [{classes}, F] and [{classes}]."
        )


def in_grey(image: Image.Image, box: Box | None = None) -> Image.Image:
    """What a map is drawn over: the photo in mode L, at most LONGEST_PX high and wide.

    `box` is the part of the image to show; None is all of it.
    """
    left, top, right, bottom = box or (0, 0, *image.size)
    scale = LONGEST_PX / max(right - left, bottom - top)
    size = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
    return image.resize(size, Image.Resampling.BILINEAR, (left, top, right, bottom)).convert("L")


def drawn_over(photo: Image.Image, values: NDArray[np.float32]) -> bytes:
    """A PNG of a photo from `in_grey` with its map over it, from (h, w) values.

    Orange speaks for the label, blue against it, and the strongest of either is the most opaque.
    """
    strongest = float(np.abs(values).max())
    shares = Image.fromarray(values / (strongest or 1.0))  # mode F, -1..1
    smooth = np.asarray(shares.resize(photo.size, Image.Resampling.BICUBIC))[..., None]  # (H, W, 1)
    opacity = _STRONGEST * np.minimum(np.abs(smooth), 1)
    colours = np.where(smooth > 0, _FOR, _AGAINST)  # (H, W, 3)
    blended = np.asarray(photo)[..., None] * (1 - opacity) + colours * opacity
    file = BytesIO()
    Image.fromarray(blended.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()
