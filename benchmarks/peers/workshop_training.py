"""The workshop's two ways of training, timed on a few steps: the whole network, and only its head.

Each epoch opens, decodes, resizes and normalises every file again, in one process. A frozen
backbone still computes every photo's features in each epoch.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, islice, repeat
from pathlib import Path

import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from serving.model.preprocess import PreprocessSpec
from train.config import NetworkConfig
from train.networks.backbones import open_backbone
from train.networks.transfer import make_head
from train.photos.manifest import Manifest

_WARM_UP_STEPS = 1
_MEAN, _STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # of ImageNet
_HEAD_BATCH = 32


def fine_tuning_per_s(
    folder: Path, *, backbone: str, input_px: int, batch: int, steps: int, device: str
) -> float:
    """Photos per second of fine-tuning a whole network: float32, Adam, light augmentation.

    Args:
        folder: holds CLASS/*.jpg.
        backbone: a torchvision classification model; its weights are random.
        steps: how many steps are timed, after one that is not.
    """
    torch.manual_seed(0)
    transform = transforms.Compose(
        [
            transforms.RandomRotation(10),
            transforms.RandomResizedCrop(input_px, scale=(0.9, 1.0)),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(_MEAN, _STD),
        ]
    )
    photos = ImageFolder(folder, transform)
    model = torchvision.models.get_model(backbone, weights=None, num_classes=len(photos.classes))
    model.to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    loader = DataLoader(photos, batch_size=batch, shuffle=True)
    epochs = chain.from_iterable(repeat(loader))
    seen, started = 0, 0.0
    for step, (images, labels) in enumerate(islice(epochs, _WARM_UP_STEPS + steps)):
        if step == _WARM_UP_STEPS:
            seen, started = 0, time.perf_counter()
        optimizer.zero_grad()
        loss = cross_entropy(model(images.to(device)), labels.to(device))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss.item()  # the workshop sums the losses, which waits for a GPU
        seen += len(labels)
    return seen / (time.perf_counter() - started)


@dataclass(frozen=True, slots=True)
class SecondsPerPhoto:
    """What a photo costs in an epoch's training pass and in its validation pass."""

    train_s: float
    validation_s: float


def frozen_backbone_pace(manifest: Manifest, *, weights: str, steps: int) -> SecondsPerPhoto:
    """Time some steps of an epoch that trains only a linear head.

    A linear head is the cheapest, which favours the workshop. The frozen backbone is in train mode,
    because the workshop calls `model.train()`.
    """
    torch.manual_seed(0)
    config = NetworkConfig()
    backbone, width = open_backbone(config.backbone, weights, config.input_px)
    backbone.requires_grad_(False)
    model = nn.Sequential(backbone, make_head(width, len(manifest.classes), inner=0, dropout=0.0))
    optimizer = torch.optim.Adam(model[1].parameters(), lr=1e-3)

    def train_step(images: Tensor, labels: Tensor) -> None:
        optimizer.zero_grad()
        loss = cross_entropy(model(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def validation_step(images: Tensor, labels: Tensor) -> None:
        with torch.no_grad():
            cross_entropy(model(images), labels)

    model.train()
    train_s = _seconds_per_photo(manifest.split("train"), train_step, steps)
    model.eval()
    return SecondsPerPhoto(
        train_s, _seconds_per_photo(manifest.split("validation"), validation_step, steps)
    )


def _seconds_per_photo(
    manifest: Manifest, step: Callable[[Tensor, Tensor], None], steps: int
) -> float:
    photos = _PhotoFiles(manifest, PreprocessSpec())
    loader = DataLoader(photos, batch_size=_HEAD_BATCH, shuffle=True)
    started, seen = time.perf_counter(), 0
    for number, (images, labels) in enumerate(loader):
        if number == _WARM_UP_STEPS:  # a folder of one batch counts its warm-up
            started, seen = time.perf_counter(), 0
        step(images, labels)
        seen += len(labels)
        if number == steps:
            break
    return (time.perf_counter() - started) / seen


class _PhotoFiles(Dataset[tuple[Tensor, int]]):
    """Photos that are opened, resized and normalised each time they are asked for."""

    def __init__(self, manifest: Manifest, spec: PreprocessSpec) -> None:
        self._files = [manifest.root / photo.path for photo in manifest.photos]
        self._labels = manifest.labels().tolist()
        self._transform = v2.Compose(
            [
                v2.Resize((spec.height_px, spec.width_px)),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(spec.mean, spec.std),
            ]
        )

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """-> ((3, H, W) float32, label)."""
        with Image.open(self._files[index]) as photo:
            return self._transform(photo.convert("RGB")), self._labels[index]
