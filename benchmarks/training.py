"""Photos a second of fine-tuning: `fit` against the workshop's loop, and against its own step fed
from memory, in turns on one machine.

The goals are for a GPU: at least ten times the workshop's loop, and at least nine tenths of the
step alone, which is what is lost to reading and augmenting. Without a GPU the same is measured on
the processor, under rows of its own.

    python -m benchmarks.training --data DIR
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import tyro
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from benchmarks.results import RESULTS, Results, Spread, table
from benchmarks.sweep import PhotoFiles
from serving.model.preprocess import PreprocessSpec
from train import data, loaders
from train.config import DataConfig, FitConfig, NetworkConfig
from train.data import Manifest
from train.errors import TrainError
from train.fit import fit
from train.network import build
from train.runs import RECORD, read_json

NAME = "training"
WORKSHOP, FROM_MEMORY = "workshop's loop", "the step fed from memory"
_WARM_UP_STEPS = 2


@dataclass(frozen=True, slots=True)
class Config:
    """Time fine-tuning against the workshop's loop and against the step fed from memory."""

    data: Path
    """Folder with {train,validation}/CLASS/*.jpg."""
    rounds: int = 3
    """Measurements of each, taking turns."""
    steps: int = 20
    """Steps of a measurement of the workshop's loop; the first, which warm up, come before them."""
    batch: int = 32
    """Photos in a step."""
    backbone: str = "mobilenet_v2"
    """Any torchvision classification model by name; its weights are drawn, which costs no time."""
    input_px: int = 224
    """Height and width of the network's input."""
    epochs: int = 3
    """Epochs of a measurement of `fit`; the first, which warms up, is not counted."""
    compile: bool = False
    """Have `fit` compile its step."""
    cache: Path = Path(".cache/photos")
    """Folder of decoded photos; filled before anything is timed."""
    out: Path = RESULTS
    """Folder for the figures."""

    @property
    def network(self) -> NetworkConfig:
        """The network of every side, all of which is trained."""
        return NetworkConfig(
            self.backbone, weights="none", train_backbone=True, input_px=self.input_px
        )


class FromMemory:
    """A loader's first batch, already where the step wants it, as often as the loader has one."""

    def __init__(self, loader: DataLoader[tuple[Tensor, Tensor]], device: torch.device) -> None:
        self._length = len(loader)
        inputs, labels = next(iter(loader))
        self._batch = inputs.to(device), labels.to(device)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter([self._batch] * self._length)


def device() -> torch.device:
    """What torch trains on here."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def workshop_per_s(config: Config, manifest: Manifest) -> float:
    """Photos a second of the workshop's loop: files opened one after another, float32, Adam."""
    torch.manual_seed(0)
    model: nn.Module = build(config.network, len(manifest.classes)).to(device()).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5)
    files = PhotoFiles(manifest, PreprocessSpec.square(config.input_px))
    loader = DataLoader(files, batch_size=config.batch, shuffle=True)
    epochs = chain.from_iterable(repeat(loader))
    photos, started = 0, 0.0
    for step, (images, labels) in enumerate(islice(epochs, _WARM_UP_STEPS + config.steps)):
        if step == _WARM_UP_STEPS:
            _wait()
            photos, started = 0, time.perf_counter()
        optimizer.zero_grad()
        loss = cross_entropy(model(images.to(device())), labels.to(device()))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss.item()  # the workshop adds it up
        photos += len(labels)
    _wait()
    return photos / (time.perf_counter() - started)


def fit_per_s(config: Config, *, from_memory: bool) -> float:
    """Photos a second of `fit`'s later epochs, as its own record has them, by the median."""
    photo_loader: Callable[..., Any] = loaders.photo_loader

    def held(*arguments: Any) -> FromMemory:
        return FromMemory(photo_loader(*arguments), device())

    fed = patch.object(loaders, "photo_loader", held) if from_memory else nullcontext()
    with tempfile.TemporaryDirectory() as folder, fed:
        fit(
            FitConfig(
                out=Path(folder) / "run",
                data=DataConfig(config.data, choose_on="nothing", cache=config.cache),
                network=config.network,
                epochs=config.epochs,
                batch=config.batch,
                optimizer="adamw",
                augment="strong",
                keep="last",
                compile=config.compile,
            )
        )
        epochs = read_json(Path(folder) / "run" / RECORD)["epochs"]
    return Spread.of([epoch["images_per_s"] for epoch in epochs[1:]]).median


def _wait() -> None:
    """Until a GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measure(config: Config) -> Results:
    """All rounds, and the ratios within each."""
    manifest = data.scan(config.data, ("train",))
    fit_per_s(replace(config, epochs=2), from_memory=True)  # fills the cache
    ours: list[float] = []
    others: dict[str, list[float]] = {WORKSHOP: [], FROM_MEMORY: []}
    for _ in range(config.rounds):
        others[WORKSHOP].append(workshop_per_s(config, manifest))
        ours.append(fit_per_s(config, from_memory=False))
        others[FROM_MEMORY].append(fit_per_s(config, from_memory=True))
    return results(ours, others, device().type)


def results(ours: list[float], others: dict[str, list[float]], kind: str) -> Results:
    """Ours divided by each other, round by round; above 1 is faster. `kind` is cuda or cpu."""
    made = Results(NAME, measured={"ours_per_s": ours, **others})
    for name, their in others.items():
        ratios = [mine / theirs for mine, theirs in zip(ours, their, strict=True)]
        made.ratios[f"{kind}, {name}"] = Spread.of(ratios)
        if kind != "cuda":
            made.not_measured[f"cuda, {name}"] = "no GPU where it ran"
    if kind == "cuda":
        made.measured["gpu"] = torch.cuda.get_device_name()
    return made


def main() -> None:
    """Measure, print, and write benchmarks/results/training.json."""
    config = tyro.cli(Config, description=Config.__doc__)
    if config.epochs < 2 or config.rounds < 1:  # the first epoch is not counted
        sys.exit("--epochs takes 2 or more, --rounds 1 or more.")
    try:
        found = measure(config)
    except TrainError as error:
        sys.exit(str(error))
    print(f"Photos a second of fit on {device()}, divided by:")
    print(table(found))
    print(f"The figures are in {found.write(config.out)}.")


if __name__ == "__main__":
    main()
