"""The sweep against the workshop's way of comparing settings: a pass of every photo through the
backbone in every epoch of every setting.

The workshop's way would take a day: some of its steps are measured and the rest is multiplied out,
with the arithmetic printed. The sweep is measured whole, in a process of its own, from nothing in
the cache: start, reading, decoding, features, training, report. The two take turns.

    python -m benchmarks.sweep --data DIR --weights FILE
"""

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch
import tyro
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from benchmarks.report import GOALS
from benchmarks.results import RESULTS, Results, Spread, sides
from serving.model.preprocess import PreprocessSpec
from train.config import DataConfig, NetworkConfig
from train.errors import TrainError
from train.files import read_json
from train.networks.backbones import open_backbone
from train.networks.transfer import make_head
from train.photos.manifest import Manifest, scan
from train.sweep.verb import JSON, SweepConfig

NAME, ROW = "sweep", "all settings"
_GOAL = next(goal for goal in GOALS if (goal.benchmark, goal.row) == (NAME, ROW))
_GRID = SweepConfig(Path(), DataConfig(Path()))  # what it sweeps by default


@dataclass(frozen=True, slots=True)
class Config:
    """Time the sweep against a pass through the backbone for each epoch of each setting."""

    data: Path
    """Folder with {train,validation}/CLASS/*.jpg."""
    weights: str = "default"
    """A torchvision weights name or a state-dict file."""
    repeats: int = 1
    """Whole sweeps; the workshop's way is measured before, between and after them."""
    steps: int = 8
    """Steps of 32 photos in each measurement of the workshop's way; one before is not counted."""
    out: Path = RESULTS
    """Folder for the figures."""


class PhotoFiles(Dataset[tuple[Tensor, int]]):
    """Photos opened, resized and normalised anew whenever they are asked for."""

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


@dataclass(frozen=True, slots=True)
class WorkshopWay:
    """Seconds a photo takes in an epoch's training pass and in its validation pass."""

    train_s: float
    validation_s: float


def measure_workshop(manifest: Manifest, config: Config) -> WorkshopWay:
    """Some steps of an epoch: a frozen backbone, left in train mode, and the plainest head.

    The plainest head is the cheapest, which favours this side. Train mode is what a call of
    `model.train()` leaves a frozen backbone in.
    """
    torch.manual_seed(0)
    backbone, width = open_backbone(
        NetworkConfig().backbone, config.weights, NetworkConfig().input_px
    )
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

    seconds = []
    for split, step in (("train", train_step), ("validation", validation_step)):
        model.train(split == "train")
        loader = DataLoader(
            PhotoFiles(manifest.split(split), PreprocessSpec()), batch_size=32, shuffle=True
        )
        started, photos = time.perf_counter(), 0
        for number, (images, labels) in enumerate(loader):
            if number == 1:  # the first warmed up; where there is no other, it is counted
                started, photos = time.perf_counter(), 0
            step(images, labels)
            photos += len(labels)
            if number == config.steps:
                break
        seconds.append((time.perf_counter() - started) / photos)
    return WorkshopWay(*seconds)


def measure_sweep(config: Config) -> tuple[float, dict[str, Any]]:
    """Seconds of `python -m train sweep` as a whole, from an empty cache, and its record."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "train", "sweep", "--data", str(config.data)]
        command += ["--weights", config.weights, "--cache", f"{folder}/cache"]
        started = time.perf_counter()
        subprocess.run([*command, "--out", f"{folder}/out"], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - started, read_json(Path(folder) / "out" / JSON)


def report(manifest: Manifest, ways: Sequence[WorkshopWay], sweeps_s: Sequence[float]) -> str:
    """The arithmetic, the medians with their range, and the ratio."""
    train, validation = _counts(manifest)
    whole_s = [workshop_s(manifest, way) for way in ways]
    middle = WorkshopWay(median(w.train_s for w in ways), median(w.validation_s for w in ways))
    epoch_s, all_s = _epoch_s(manifest, middle), workshop_s(manifest, middle)
    of_medians = median(whole_s) / median(sweeps_s)
    least = min(whole_s) / max(sweeps_s)
    return f"""{"":<32}{"median":>12}{"least":>12}{"most":>12}   measured
{_line("workshop: train, ms a photo", [w.train_s * 1e3 for w in ways])}
{_line("workshop: validate, ms a photo", [w.validation_s * 1e3 for w in ways])}
{_line("workshop: all settings, s", whole_s)} (multiplied out)
{_line("sweep: all settings, s", sweeps_s)} (whole)

The workshop's way, multiplied out from the medians:
  an epoch      {train:,} photos x {middle.train_s * 1e3:.2f} ms + {validation:,} photos \
x {middle.validation_s * 1e3:.2f} ms = {epoch_s:,.1f} s
  a training    {_GRID.epochs} epochs x {epoch_s:,.1f} s = {_GRID.epochs * epoch_s:,.0f} s
  all settings  {len(_GRID.settings())} settings x {len(_GRID.seeds)} seeds \
x {_GRID.epochs * epoch_s:,.0f} s = {all_s:,.0f} s = {all_s / 3600:,.1f} h
The sweep: {median(sweeps_s):,.0f} s = {median(sweeps_s) / 60:.1f} min.
Ratio of the medians: {of_medians:,.0f}; of the fastest workshop to the slowest sweep: {least:,.0f}.
Target {_GOAL.avx2:g} times: {"reached" if least >= _GOAL.avx2 else "NOT reached"}."""


def workshop_s(manifest: Manifest, way: WorkshopWay) -> float:
    """Seconds that all settings would take at the pace of one measurement."""
    return len(_GRID.settings()) * len(_GRID.seeds) * _GRID.epochs * _epoch_s(manifest, way)


def _epoch_s(manifest: Manifest, way: WorkshopWay) -> float:
    train, validation = _counts(manifest)
    return train * way.train_s + validation * way.validation_s


def _counts(manifest: Manifest) -> tuple[int, int]:
    """How many photos are trained on, and how many validate."""
    return len(manifest.split("train").photos), len(manifest.split("validation").photos)


def ratio(manifest: Manifest, ways: Sequence[WorkshopWay], sweeps_s: Sequence[float]) -> Spread:
    """How many times longer the workshop's way takes: each of its measurements by each sweep."""
    whole_s = [workshop_s(manifest, way) for way in ways]
    return Spread.of([theirs / ours for theirs in whole_s for ours in sweeps_s])


def _line(name: str, values: Sequence[float]) -> str:
    figures = "".join(f"{v:>12,.1f}" for v in (median(values), min(values), max(values)))
    return f"{name:<32}{figures}   {len(values)}x"


def main() -> None:
    """Measure, print, and write the JSON."""
    config = tyro.cli(Config, description=Config.__doc__)
    try:
        manifest = scan(config.data)
    except TrainError as error:
        sys.exit(str(error))
    machine = (
        f"{os.cpu_count()} cores, torch {version('torch')} with {torch.get_num_threads()} threads, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f} before the start"
    )
    print(machine, flush=True)
    ways, sweeps = [measure_workshop(manifest, config)], []
    for _ in range(config.repeats):
        sweeps.append(measure_sweep(config))
        ways.append(measure_workshop(manifest, config))
    sweeps_s = [seconds for seconds, _ in sweeps]
    print(report(manifest, ways, sweeps_s))
    results = Results(NAME, ratios={ROW: ratio(manifest, ways, sweeps_s)})
    theirs_s = median(workshop_s(manifest, way) for way in ways)
    results.sides[ROW] = sides(median(sweeps_s) / 60, theirs_s / 60, "min", 0)
    results.measured = {
        "workshop_train_s_per_photo": [way.train_s for way in ways],
        "workshop_validation_s_per_photo": [way.validation_s for way in ways],
        "workshop_all_settings_s": [workshop_s(manifest, way) for way in ways],
        "sweep_s": sweeps_s,
        "sweep_parts_s": [record["seconds"] for _, record in sweeps],
    }
    print(f"The figures are in {results.write(config.out)}.")


if __name__ == "__main__":
    main()
