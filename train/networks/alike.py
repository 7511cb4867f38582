"""Photos in, what each looks like out, and the pairs that look the same.

Copies by their bytes and photos that were only saved again are found without a network
(train/photos/findings.py). These pairs may also be cropped, mirrored, brightened, or taken twice.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn
from torch import nn

from serving.model.preprocess import PreprocessSpec
from train.errors import UsageError
from train.networks.features import cached_features
from train.photos.manifest import Manifest
from train.photos.pixels import Pixels, cached_pixels

# Side of the picture that is hashed, and frequencies of each direction that the hash keeps.
_HASHED_PX, _FREQUENCIES = 32, 8

# The bits of a hash that a mirrored photo has inverted: the odd frequencies from left to right.
_MIRRORED = np.packbits(np.tile([True, False], 32)).view(np.uint64)[0]

# Two photos look the same if the cosine between their features, less the mean of all photos, is
# at least this, and more if bits of their hashes differ: by the square of these bits' share in so
# many. Most of 40 clothing photos still did after being saved as JPEG of quality 50, brightened by
# 30 %, mirrored, turned by 3 degrees or cut by 3 % at each side, but few after 6 %. Of the pairs of
# 3,409 clothing photos 16 do: two show the same thing, and 14 things of one kind in one pose.
_LEAST_COSINE, _BITS = 0.5, 18

_BLOCK = 128  # photos that are hashed, or compared with all others, at once

Features = NDArray[np.float32]
Hashes = NDArray[np.uint64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Looks:
    """What is compared: (N, F) features of N photos and (N,) perceptual hashes."""

    features: Features
    hashes: Hashes


def looks_of(
    backbone: nn.Module, photos: Manifest, spec: PreprocessSpec, cache: Path, *, kind: str = ""
) -> Looks:
    """What is compared of each photo, from the cache if it was computed before.

    `backbone` and `kind` as in `cached_features`.

    Raises:
        TrainError: a photo cannot be read, or the cache cannot be written.
        UsageError: the features are not finite.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    features = cached_features(backbone, photos, spec, cache, device, kind=kind)
    if not np.isfinite(features).all():
        raise UsageError("The network's features are not finite: its weights cannot be used.")
    pixels = cached_pixels(photos, spec, cache)
    blocks = (pixels[start : start + _BLOCK] for start in range(0, len(pixels), _BLOCK))
    return Looks(features, np.concatenate([perceptual_hashes(block) for block in blocks]))


def alike(looks: Looks) -> tuple[Indices, Indices]:
    """The pairs of photos that look the same: (P,) and (P,) indices, the most alike first."""
    centred = looks.features - looks.features.mean(axis=0)  # (N, F)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    found = []
    for start in range(0, len(centred), _BLOCK):
        rows = slice(start, start + _BLOCK)
        bits = _bits_apart(looks.hashes[rows], looks.hashes[start:])  # (B, N - start)
        cosine = centred[rows] @ centred[start:].T  # (B, N - start)
        likeness = cosine - (bits / np.float32(_BITS)) ** 2
        i, j = np.nonzero(np.triu(likeness >= _LEAST_COSINE, k=1))
        found.append((likeness[i, j], start + i, start + j))
    likeness, first, second = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.argsort(-likeness, kind="stable")
    return first[order], second[order]


def _bits_apart(some: Hashes, others: Hashes) -> NDArray[np.uint8]:
    """(B, M): the bits that differ between hashes, or of one and the other mirrored if fewer."""
    differing = some[:, None] ^ others[None]
    apart: NDArray[np.uint8] = np.minimum(
        np.bitwise_count(differing), np.bitwise_count(differing ^ _MIRRORED)
    )
    return apart


def perceptual_hashes(pixels: Pixels) -> Hashes:
    """(N,): the signs of the 64 lowest frequencies of the brightness that vary from left to right.

    After Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions".
    """
    size = (_HASHED_PX, _HASHED_PX)
    small = [np.asarray(Image.fromarray(each).convert("L").resize(size)) for each in pixels]
    waves = dctn(np.stack(small).astype(np.float64), axes=(1, 2))  # (N, 32, 32)
    lowest = waves[:, :_FREQUENCIES, 1 : 1 + _FREQUENCIES].reshape(len(pixels), -1)  # (N, 64)
    hashes: Hashes = np.packbits(lowest > 0, axis=1).view(np.uint64)[:, 0]
    return hashes
