"""Augmentation: a photo's cached pixels in, a random variant at the training size out.

Only for training: evaluation uses serving.model.preprocess.
"""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms import v2

from serving.model.preprocess import PreprocessSpec
from train.config import Augment, Flip

# The cached photo is larger than the training size, so that a crop keeps its detail: 288 for 224,
# as in the common recipes that crop 224 from 256 to 288.
BASE_RATIO = 9 / 7

_GREY = 114  # about the mean of ImageNet (0.449 of 255), so that borders carry little information


def base_spec(spec: PreprocessSpec, *, at_least_px: int = 0) -> PreprocessSpec:
    """The size at which photos are cached for augmentation to crop from.

    `at_least_px` is the size of the crops if larger than the network's input.
    """
    height_px, width_px = (
        round(max(px, at_least_px) * BASE_RATIO) for px in (spec.height_px, spec.width_px)
    )
    return replace(spec, height_px=height_px, width_px=width_px)


def augmentation(name: Augment, size_px: int, flip: Flip = "horizontal") -> v2.Compose:
    """A random transform of (3, H, W) uint8 to (3, size_px, size_px) uint8.

    none: only resizing. light: the workshop's, rotation by up to 10 degrees, crop of 0.9 to 1 of
    the area, flip. strong: crop of 0.5 to 1, flip, colour jitter, random erasing. whole: rotation,
    shift, shear, scale, flip, strong colour jitter, sometimes grey, random erasing, for classes
    that differ in a length, which a crop would hide. crops: crop of 0.4 to 1, flip, colour jitter,
    for function matching with a teacher (Beyer et al. 2022). trivial: crop of 0.5 to 1, flip, and
    one operation of random strength (TrivialAugment, Müller and Hutter 2021); none of them mirrors.
    """
    size = (size_px, size_px)
    mirrored = [v2.RandomHorizontalFlip()] if flip == "horizontal" else []
    if name == "none":
        return v2.Compose([v2.Resize(size, antialias=True)])
    if name == "light":
        return v2.Compose(
            [
                v2.RandomRotation(10, interpolation=v2.InterpolationMode.BILINEAR),
                v2.RandomResizedCrop(size, scale=(0.9, 1.0), antialias=True),
                *mirrored,
            ]
        )
    if name == "crops":
        return v2.Compose(
            [
                v2.RandomResizedCrop(size, scale=(0.4, 1.0), antialias=True),
                *mirrored,
                v2.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3),
            ]
        )
    if name == "whole":
        return v2.Compose(
            [
                v2.Resize(size, antialias=True),
                v2.RandomAffine(
                    degrees=15,
                    translate=(0.06, 0.06),
                    scale=(0.75, 1.1),
                    shear=(-8, 8, -8, 8),
                    interpolation=v2.InterpolationMode.BILINEAR,
                    fill=_GREY,
                ),
                *mirrored,
                v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4),
                v2.RandomGrayscale(p=0.1),
                v2.RandomErasing(p=0.3, scale=(0.02, 0.15)),
            ]
        )
    if name == "trivial":
        bilinear = v2.InterpolationMode.BILINEAR
        return v2.Compose(
            [
                v2.RandomResizedCrop(size, scale=(0.5, 1.0), antialias=True),
                *mirrored,
                v2.TrivialAugmentWide(interpolation=bilinear, fill=_GREY),
            ]
        )
    return v2.Compose(
        [
            v2.RandomResizedCrop(size, scale=(0.5, 1.0), antialias=True),
            *mirrored,
            v2.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3),
            v2.RandomErasing(p=0.2),
        ]
    )


def batch_mixing(
    mixup: float, cutmix: float, classes: int, *, share: float = 1.0
) -> v2.Transform | None:
    """Mixup and cutmix of a batch and its labels, with the given alphas; 0 turns one off.

    `share` of the batches are mixed.
    """
    mixings: list[v2.Transform] = []
    if mixup > 0:
        mixings.append(v2.MixUp(alpha=mixup, num_classes=classes))
    if cutmix > 0:
        mixings.append(v2.CutMix(alpha=cutmix, num_classes=classes))
    return v2.RandomApply([v2.RandomChoice(mixings)], p=share) if mixings else None


def normalize_on_device(pixels: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """(N, 3, H, W) uint8 -> float32 of the same shape, channels last in memory.

    `scale` and `offset`, each (3, 1, 1), are serving.model.preprocess.scale_and_offset's.
    """
    batch = pixels.to(torch.float32) * scale + offset
    return batch.contiguous(memory_format=torch.channels_last)


def at_size(inputs: Tensor, size_px: int) -> Tensor:
    """(N, 3, S, S) float32 -> (N, 3, size_px, size_px), antialiased; unchanged at that size."""
    if inputs.shape[-1] == size_px:
        return inputs
    smaller = interpolate(inputs, size=(size_px, size_px), mode="bilinear", antialias=True)
    return smaller.contiguous(memory_format=torch.channels_last)
