"""Photos per second of fine-tuning a whole network: `fit` against the workshop's loop, in turns.

    python -m benchmarks.training [--quick]
    python -m benchmarks.training --gpu

Both use the same network, batch size, input size and kinds of augmentation, on drawn photos of
400x533, and both decode. The workshop decodes each file in every epoch; `fit` decodes it once, into
the cache. What happens once (filling the cache, compiling) is not in the rates but in the JSON. On
a GPU `fit` is also compared with its own training step fed from memory: the difference is the cost
of reading and augmenting.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import tyro
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.harness import mixture
from benchmarks.harness.photos import QUALITY, SIZES_PX
from benchmarks.harness.results import FIGURES, Results, Spread, sides, table
from benchmarks.peers.workshop_training import fine_tuning_per_s
from samples.draw import GARMENTS
from train.config import DataConfig, FitConfig, NetworkConfig
from train.errors import TrainError
from train.files import read_json
from train.fit import loaders
from train.fit.augmentation import base_spec
from train.fit.loop import fit
from train.networks.backbones import preprocessing
from train.photos.collection import collect
from train.photos.pixels import cached_pixels
from train.runs.folder import RECORD

WORKSHOP, FROM_MEMORY = "workshop's loop", "the step fed from memory"


@dataclass(frozen=True, slots=True)
class Config:
    """Time fine-tuning against the workshop's loop."""

    gpu: bool = False
    """Measure on the GPU, and also against the step fed from memory. Default: on the CPU."""
    rounds: int = 3
    """Measurements of each, in turns."""
    batch: int = 32
    """Photos in a step."""
    backbone: str = "mobilenet_v2"
    """A torchvision classification model; its weights are random."""
    input_px: int = 224
    """Height and width of the network's input."""
    quick: bool = False
    """A trial of one round at 64 pixels without compiling, whose figures mean little."""
    out: Path = FIGURES
    """Folder for the figures."""

    @property
    def steps(self) -> int:
        """Steps in an epoch of `fit`, and in a measurement of the workshop's loop."""
        return 100 if self.gpu else 3

    @property
    def epochs(self) -> int:
        """Epochs of `fit`; the first is not counted."""
        return 2 if self.quick else 3

    @property
    def compiled(self) -> bool:
        """Whether `fit` compiles its step: only where there is a C++ compiler."""
        return not self.quick and any(shutil.which(name) for name in ("g++", "clang++"))


class FromMemory:
    """A loader's first batch, already on the GPU, repeated for the length of the loader."""

    def __init__(self, loader: DataLoader[tuple[Tensor, Tensor]]) -> None:
        self._length = len(loader)
        inputs, labels = next(iter(loader))
        self._batch = inputs.cuda(), labels.cuda()

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter([self._batch] * self._length)


def draw_photos(root: Path, count: int) -> None:
    """Write `count` photos as ROOT/train/CLASS/N.jpg."""
    for number in range(count):
        folder = root / "train" / sorted(GARMENTS)[number % len(GARMENTS)]
        folder.mkdir(parents=True, exist_ok=True)
        image = mixture.picture(np.random.default_rng(number), SIZES_PX["400x533"])
        image.save(folder / f"{number}.jpg", quality=QUALITY)


def workshop_per_s(config: Config, photos: Path) -> float:
    """Photos per second of the workshop's loop."""
    return fine_tuning_per_s(
        photos / "train",
        backbone=config.backbone,
        input_px=config.input_px,
        batch=config.batch,
        steps=config.steps,
        device="cuda" if config.gpu else "cpu",
    )


@dataclass(frozen=True, slots=True)
class Fitted:
    """A run of `fit`: photos per second after the first epoch, and the first one's extra time."""

    per_s: float
    compiling_s: float


def fit_per_s(config: Config, photos: Path, *, from_memory: bool = False) -> Fitted:
    """Train with `fit` on photos that are in the cache; the rate is from the run's own record."""
    photo_loader: Callable[..., Any] = loaders.photo_loader

    def held(*arguments: Any) -> FromMemory:
        return FromMemory(photo_loader(*arguments))

    fed = patch.object(loaders, "photo_loader", held) if from_memory else nullcontext()
    torch._dynamo.reset()  # each run compiles, as a new process would
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
    """Seconds to decode every photo once."""
    spec = base_spec(preprocessing(config.backbone, config.input_px))
    read = DataConfig(photos, cache=photos / "cache")
    manifest = collect(read, ("train",)).manifest(("train",))
    started = time.perf_counter()
    cached_pixels(manifest, spec, photos / "cache")
    return time.perf_counter() - started


def measure(config: Config) -> Results:
    """All rounds, and the ratios within each: above 1 `fit` is faster."""
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
    """Measure, print, and write training.json or training_gpu.json."""
    config = tyro.cli(Config, args=arguments, description=Config.__doc__)
    if config.quick:
        config = replace(config, rounds=1, batch=8, input_px=64)
    if not config.gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # torch has not initialised CUDA yet
    elif not torch.cuda.is_available():
        sys.exit("--gpu: torch finds no GPU. Run without --gpu to measure on the CPU.")
    try:
        results = measure(config)
    except TrainError as error:
        sys.exit(str(error))
    print(f"Photos per second of fit on the {'GPU' if config.gpu else 'CPU'}, divided by:")
    print(table(results))
    print(f"The figures are in {results.write(config.out)}.")


if __name__ == "__main__":
    main()
