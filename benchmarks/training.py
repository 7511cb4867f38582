"""Photos a second of fine-tuning a whole network: `fit` against the workshop's loop, in turns.

    python -m benchmarks.training [--quick]
    python -m benchmarks.training --gpu

Same network, batch, size and kinds of augmentation; decoding is part of both. The workshop opens
and decodes each file whenever it comes up; ours decodes it once, into the cache. Drawn photos of
400x533. The rates are of the steady state: what comes first (filling the cache, compiling) is in
the JSON. On a GPU `fit` is also compared with its own step fed from memory: what is lost to that is
spent on reading and augmenting.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import chain, islice, repeat
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torchvision
import tyro
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from benchmarks import mixture
from benchmarks.photos import QUALITY, SIZES_PX
from benchmarks.results import RESULTS, Results, Spread, sides, table
from samples.draw import GARMENTS
from serving.model.preprocess import PreprocessSpec
from train.config import DataConfig, FitConfig, NetworkConfig
from train.errors import TrainError
from train.files import read_json
from train.fit import loaders
from train.fit.augmentation import base_spec
from train.fit.loop import fit
from train.photos.manifest import scan
from train.photos.pixels import cached_pixels
from train.runs.folder import RECORD

WORKSHOP, FROM_MEMORY = "workshop's loop", "the step fed from memory"
_WARM_UP_STEPS = 1
_MEAN, _STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@dataclass(frozen=True, slots=True)
class Config:
    """Time fine-tuning against the workshop's loop."""

    gpu: bool = False
    """Measure on the GPU, also against the step fed from memory; without it, on the processor."""
    rounds: int = 3
    """Measurements of each, taking turns."""
    batch: int = 32
    """Photos in a step."""
    backbone: str = "mobilenet_v2"
    """Any torchvision classification model; its weights are random, which costs no time."""
    input_px: int = 224
    """Height and width of the network's input."""
    quick: bool = False
    """A trial of one round at 64 pixels without compiling, whose figures mean little."""
    out: Path = RESULTS
    """Folder for the figures."""

    @property
    def steps(self) -> int:
        """Steps of an epoch of ours, and of a measurement of the workshop's loop."""
        return 100 if self.gpu else 3

    @property
    def epochs(self) -> int:
        """Epochs of ours, the first of which is not counted."""
        return 2 if self.quick else 3

    @property
    def compiled(self) -> bool:
        """Whether ours compiles its step: where it can."""
        return not self.quick and any(shutil.which(name) for name in ("g++", "clang++"))


class FromMemory:
    """A loader's first batch, already on the device, as often as the loader has one."""

    def __init__(self, loader: DataLoader[tuple[Tensor, Tensor]]) -> None:
        self._length = len(loader)
        inputs, labels = next(iter(loader))
        self._batch = inputs.cuda(), labels.cuda()

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter([self._batch] * self._length)


def draw_photos(root: Path, count: int) -> None:
    """Write ROOT/train/CLASS/N.jpg, so many in all."""
    for number in range(count):
        folder = root / "train" / sorted(GARMENTS)[number % len(GARMENTS)]
        folder.mkdir(parents=True, exist_ok=True)
        image = mixture.picture(np.random.default_rng(number), SIZES_PX["400x533"])
        image.save(folder / f"{number}.jpg", quality=QUALITY)


def workshop_per_s(config: Config, photos: Path) -> float:
    """Photos a second of the workshop's loop: one process opens the files, float32, Adam."""
    torch.manual_seed(0)
    device = torch.device("cuda" if config.gpu else "cpu")
    transform = transforms.Compose(
        [
            transforms.RandomRotation(10),
            transforms.RandomResizedCrop(config.input_px, scale=(0.9, 1.0)),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(_MEAN, _STD),
        ]
    )
    folder = ImageFolder(photos / "train", transform)
    model = torchvision.models.get_model(
        config.backbone, weights=None, num_classes=len(folder.classes)
    )
    model.to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    loader = DataLoader(folder, batch_size=config.batch, shuffle=True)
    epochs = chain.from_iterable(repeat(loader))
    seen, started = 0, 0.0
    for step, (images, labels) in enumerate(islice(epochs, _WARM_UP_STEPS + config.steps)):
        if step == _WARM_UP_STEPS:
            seen, started = 0, time.perf_counter()
        optimizer.zero_grad()
        loss = cross_entropy(model(images.to(device)), labels.to(device))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss.item()  # the workshop adds it up, which waits for a GPU
        seen += len(labels)
    return seen / (time.perf_counter() - started)


@dataclass(frozen=True, slots=True)
class Fitted:
    """A run of `fit`: its later epochs' photos a second, and what its first one took on top."""

    per_s: float
    compiling_s: float


def fit_per_s(config: Config, photos: Path, *, from_memory: bool = False) -> Fitted:
    """Train with `fit` on photos that are in the cache, by its own record of its epochs."""
    photo_loader: Callable[..., Any] = loaders.photo_loader

    def held(*arguments: Any) -> FromMemory:
        return FromMemory(photo_loader(*arguments))

    fed = patch.object(loaders, "photo_loader", held) if from_memory else nullcontext()
    torch._dynamo.reset()  # each run compiles as a process of its own would
    with tempfile.TemporaryDirectory() as folder, fed:
        fit(
            FitConfig(
                out=Path(folder) / "run",
                data=DataConfig(photos, choose_on="nothing", cache=photos / "cache"),
                network=NetworkConfig(
                    config.backbone, weights="none", train_backbone=True, input_px=config.input_px
                ),
                epochs=config.epochs,
                batch=config.batch,
                augment="light",  # the workshop's
                keep="last",
                compile=config.compiled,
            )
        )
        epochs = read_json(Path(folder) / "run" / RECORD)["epochs"]
    later_s = median(epoch["seconds"] for epoch in epochs[1:])
    per_s = median(epoch["images_per_s"] for epoch in epochs[1:])
    return Fitted(per_s, epochs[0]["seconds"] - later_s)


def fill_cache(config: Config, photos: Path) -> float:
    """Seconds that decoding every photo once takes."""
    spec = base_spec(PreprocessSpec.square(config.input_px))
    manifest = scan(photos, ("train",))
    started = time.perf_counter()
    cached_pixels(manifest, spec, photos / "cache")
    return time.perf_counter() - started


def measure(config: Config) -> Results:
    """All rounds, and the ratios within each: above 1 ours is faster."""
    others: dict[str, list[float]] = {WORKSHOP: []}
    if config.gpu:
        others[FROM_MEMORY] = []
    ours: list[Fitted] = []
    with tempfile.TemporaryDirectory() as name:
        photos = Path(name)
        draw_photos(photos, config.batch * config.steps)
        cache_s = fill_cache(config, photos)
        for _ in range(config.rounds):
            others[WORKSHOP].append(workshop_per_s(config, photos))
            ours.append(fit_per_s(config, photos))
            if config.gpu:
                others[FROM_MEMORY].append(fit_per_s(config, photos, from_memory=True).per_s)
    results = Results("training_gpu" if config.gpu else "training")
    for row, theirs in others.items():
        pairs = list(zip((fitted.per_s for fitted in ours), theirs, strict=True))
        results.ratios[row] = Spread.of([mine / their for mine, their in pairs])
        mine, their = (median(side) for side in zip(*pairs, strict=True))
        results.sides[row] = sides(mine, their, "photos/s")
    results.measured = {
        "ours_per_s": [fitted.per_s for fitted in ours],
        **{f"{row}, per_s": theirs for row, theirs in others.items()},
        "compiled": config.compiled,
        "compiling_s": [fitted.compiling_s for fitted in ours],
        "filling_the_cache_s": cache_s,
        "photos": config.batch * config.steps,
        "gpu": torch.cuda.get_device_name() if config.gpu else None,
    }
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write benchmarks/results/training.json, or training_gpu.json."""
    config = tyro.cli(Config, args=arguments, description=Config.__doc__)
    if config.quick:
        config = replace(config, rounds=1, batch=8, input_px=64)
    if not config.gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # torch has not looked for one yet
    elif not torch.cuda.is_available():
        sys.exit("--gpu: torch finds no GPU here.")
    try:
        results = measure(config)
    except TrainError as error:
        sys.exit(str(error))
    print(f"Photos a second of fit on {'the GPU' if config.gpu else 'the processor'}, divided by:")
    print(table(results))
    print(f"The figures are in {results.write(config.out)}.")


if __name__ == "__main__":
    main()
