"""Pixels and labels in, batches out.

The order and the augmentation depend only on the seed, the epoch and the photo, not on what ran
before or on the number of processes, so that a resumed run ends with the same weights.
"""

from collections.abc import Iterator

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler, TensorDataset
from torchvision.transforms import v2

from serving.model.preprocess import PreprocessSpec
from train.config import FitConfig
from train.fit.augmentation import augmentation, base_spec
from train.networks.backbones import preprocessing
from train.networks.features import cached_features
from train.photos.collection import Specs
from train.photos.folders import SPLITS
from train.photos.manifest import Labels, Manifest
from train.photos.pixels import PhotoPixels, PixelRows, cached_pixels, cores
from train.reading import OWN_RANGE

Batches = DataLoader[tuple[Tensor, Tensor]]
"""Batches of photos or of their features, and their labels."""

# (variant, index): which photo, and which of its random variants. The variant is the epoch, unless
# the photo comes again in the same one.
Draw = tuple[int, int]

# More than a training has epochs, so that no two variants of a photo have the same number.
_VARIANTS = 2**32


class AugmentedPhotos(Dataset[tuple[Tensor, Tensor]]):
    """Augmented photos at a training size; each variant is drawn from (seed, variant, index)."""

    def __init__(self, pixels: PixelRows, labels: Labels, transform: v2.Compose, seed: int) -> None:
        self._pixels = pixels  # (N, H, W, 3)
        self._labels = torch.from_numpy(labels)
        self._transform = transform
        self._seed = seed

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """-> ((3, S, S) uint8, () int64)."""
        variant, index = draw
        photo = torch.from_numpy(self._pixels[index]).permute(2, 0, 1)  # (3, H, W)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mixed_seed(self._seed, variant, index))
            return self._transform(photo), self._labels[index]


class EpochOrder(Sampler[Draw]):
    """Every photo once per epoch, in an order drawn from (seed, epoch)."""

    def __init__(self, length: int, seed: int) -> None:
        self._length = length
        self._seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Draw]:
        generator = torch.Generator().manual_seed(mixed_seed(self._seed, self.epoch))
        order = torch.randperm(self._length, generator=generator).tolist()
        return ((self.epoch, index) for index in order)


class BalancedOrder(EpochOrder):
    """Every class equally often per epoch, which has about as many photos as there are.

    A class's photos are drawn without repetition until all were drawn, then again.
    """

    def __init__(self, labels: Labels, seed: int) -> None:
        self._members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        self._each = max(1, round(len(labels) / len(self._members)))
        super().__init__(self._each * len(self._members), seed)

    def __iter__(self) -> Iterator[Draw]:
        random = np.random.default_rng((self._seed, self.epoch))
        draws = [
            (self.epoch + place // len(members) * _VARIANTS, int(index))
            for members in self._members
            for place, index in enumerate(self._drawn(members, random))
        ]
        return (draws[place] for place in random.permutation(len(draws)))

    def _drawn(self, members: NDArray[np.intp], random: np.random.Generator) -> NDArray[np.intp]:
        """As many of a class's photos as are taken in an epoch."""
        rounds = -(-self._each // len(members))
        return np.concatenate([random.permutation(members) for _ in range(rounds)])[: self._each]


class FeatureRows(Dataset[tuple[Tensor, Tensor]]):
    """Features of a frozen backbone, indexed like photos."""

    def __init__(self, features: Tensor, labels: Labels) -> None:
        self._features = features  # (N, F)
        self._labels = torch.from_numpy(labels)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """-> ((F,) float32, () int64)."""
        return self._features[draw[1]], self._labels[draw[1]]


def epoch_order(config: FitConfig, labels: Labels) -> EpochOrder:
    """The order of `config.sampling`."""
    if config.sampling == "balanced":
        return BalancedOrder(labels, config.seed)
    return EpochOrder(len(labels), config.seed)


def mixed_seed(*parts: int) -> int:
    """One 63-bit seed from several numbers; nearby numbers give unrelated seeds."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


def cached_for(config: FitConfig) -> Specs:
    """What the photos of each split are cached for; nothing while their range is not known."""
    if config.data.value_range == OWN_RANGE:
        return {}
    return {split: _spec(config, split) for split in SPLITS}


def _spec(config: FitConfig, split: str) -> PreprocessSpec:
    network = config.network
    spec = preprocessing(network.backbone, network.input_px, config.data.levels)
    if split != "train" or config.on_features:
        return spec
    return base_spec(spec, at_least_px=config.teacher_px)  # to crop from


def training_loaders(
    config: FitConfig,
    backbone: nn.Module,
    photos: Manifest,
    order: EpochOrder,
    device: torch.device,
) -> list[Batches]:
    """One loader for each training size; features have no size, so one loader."""
    labels, spec = photos.labels(), _spec(config, "train")
    if config.on_features:
        rows = cached_features(backbone, photos, spec, config.data.cache, device)
        return [feature_loader(config, torch.from_numpy(rows), labels, order)]
    pixels = cached_pixels(photos, spec, config.data.cache)
    return [
        photo_loader(config, pixels, labels, max(size, config.teacher_px), order)
        for size in config.training_px
    ]


def choosing_loader(
    config: FitConfig,
    backbone: nn.Module,
    photos: Manifest | None,
    accelerator: Accelerator,
) -> Batches | None:
    """Batches of the photos that the epochs are compared on, or of their features.

    Each process has its own share of them, the last ones perhaps none.
    """
    if photos is None:
        return None
    share = slice(accelerator.process_index, None, accelerator.num_processes)
    labels = photos.labels()[share]
    spec, cache = _spec(config, "validation"), config.data.cache
    if config.on_features:
        rows = cached_features(backbone, photos, spec, cache, accelerator.device)
        return evaluation_loader(torch.from_numpy(rows[share]), labels)
    pixels = cached_pixels(photos.of(photos.photos[share]), spec, cache)
    workers = 0 if pixels.is_cached else worker_count(config, pixels)
    return evaluation_loader(pixels, labels, workers=workers)


def photo_loader(
    config: FitConfig, pixels: PixelRows, labels: Labels, size_px: int, order: EpochOrder
) -> Batches:
    """Augmented training batches: ((B, 3, size_px, size_px) uint8, (B,) int64)."""
    transform = augmentation(config.augment, size_px, config.flip)
    return DataLoader(
        AugmentedPhotos(pixels, labels, transform, config.seed),
        batch_size=config.batch,
        sampler=order,
        num_workers=worker_count(config, pixels),
        drop_last=len(order) >= config.batch,  # batch-norm cannot train on a last batch of one
        pin_memory=torch.cuda.is_available(),
    )


def worker_count(config: FitConfig, pixels: PixelRows) -> int:
    """How many processes read photos: one a core, at most 8 if they need not decode."""
    if config.data.workers >= 0:
        return config.data.workers
    decodes = isinstance(pixels, PhotoPixels) and not pixels.is_cached
    return cores() if decodes else min(8, cores())


def feature_loader(
    config: FitConfig, features: Tensor, labels: Labels, order: EpochOrder
) -> Batches:
    """Training batches of cached features: ((B, F) float32, (B,) int64)."""
    return DataLoader(FeatureRows(features, labels), batch_size=config.batch, sampler=order)


def evaluation_loader(
    inputs: Tensor | PixelRows, labels: Labels, *, batch: int = 64, workers: int = 0
) -> Batches:
    """All inputs once, in order: pixels ((B, 3, H, W) uint8) or features ((B, F)), with labels."""
    if isinstance(inputs, Tensor):
        dataset: Dataset[tuple[Tensor, Tensor]] = TensorDataset(inputs, torch.from_numpy(labels))  # type: ignore[assignment]
    else:
        dataset = _WholePhotos(inputs, labels)
    return DataLoader(dataset, batch_size=batch, num_workers=workers)


class _WholePhotos(Dataset[tuple[Tensor, Tensor]]):
    """Photos as they are evaluated, read one at a time so that the cache stays on disk."""

    def __init__(self, pixels: PixelRows, labels: Labels) -> None:
        self._pixels = pixels  # (N, H, W, 3)
        self._labels = torch.from_numpy(labels)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """-> ((3, H, W) uint8, () int64)."""
        return torch.from_numpy(self._pixels[index]).permute(2, 0, 1), self._labels[index]
