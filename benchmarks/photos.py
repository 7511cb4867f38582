"""How long a training takes to start on many drawn photos, at first and again, and what it takes.

    python -m benchmarks.photos [--quick] [--counts 5000 20000 100000]

Photos are JPEGs of 200 pixels, nine in ten in train. A start is from the finished imports to the
first augmented batch of a fine-tuning at the defaults: it reads the photos, or sees that it knows
them, and starts its workers. Memory is of the training and its workers together, each shared page
counted once (Linux's Pss), over 50 batches.
"""

import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image

from benchmarks.harness.photos import QUALITY, draw
from benchmarks.harness.results import FIGURES, Results, Spread, table
from samples.draw import GARMENTS
from train.config import DataConfig, FitConfig, NetworkConfig
from train.fit import loaders
from train.photos import splits
from train.photos.pixels import cached_pixels

SIDE_PX = 200
_BASE_PX = 320  # of the pictures that photos are cropped from
_BASES = 40
_BATCHES = 50  # that are read while memory is watched
_WATCHED_S = 0.25
SECOND_START, PEAK_MEMORY = "second start, 20,000 photos, s", "peak memory above 5,000 photos', GB"


@dataclass(frozen=True, slots=True)
class Config:
    """Time the start of a training on many photos."""

    counts: tuple[int, int, int] = (5_000, 20_000, 100_000)
    """Numbers of photos, in ascending order."""
    input_px: int = 224
    """Height and width of the network's input."""
    photos: Path | None = None
    """Folder for the drawn photos, to be kept; a temporary one if not given."""
    quick: bool = False
    """A trial with 50, 200 and 1,000 photos, whose figures mean little."""
    out: Path = FIGURES
    """Folder for the figures."""


def draw_photos(root: Path, count: int) -> None:
    """Write photos 0 to `count` as ROOT/SPLIT/CLASS/N.jpg, those that are not there yet."""
    names = sorted(GARMENTS)
    bases = [draw(_BASE_PX, _BASE_PX, garment=names[n % len(names)], seed=n) for n in range(_BASES)]
    for number in range(count):
        split = "validation" if number % 10 == 0 else "train"
        file = root / split / names[number // 10 % len(names)] / f"{number}.jpg"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            _photo(bases, number).save(file, quality=QUALITY)


def _photo(bases: Sequence[Image.Image], number: int) -> Image.Image:
    """A part of a base, with its own mixture of the channels: no two are near-copies."""
    random = np.random.default_rng(number)
    base = bases[number % len(bases)]
    side = int(random.integers(SIDE_PX // 2, _BASE_PX))
    left, top = random.integers(0, _BASE_PX - side + 1, 2).tolist()
    part = base.resize((SIDE_PX, SIDE_PX), box=(left, top, left + side, top + side))
    mixed = random.dirichlet((2, 2, 2), 3) * random.uniform(0.4, 0.8)  # (3, 3)
    rows = np.column_stack([mixed, random.uniform(0, 50, 3)])
    return part.convert("RGB", tuple(rows.ravel().tolist()))


@dataclass(frozen=True, slots=True)
class Start:
    """One start: its time, the peak of memory, and what the cache takes afterwards."""

    seconds: float
    peak_gb: float
    cache_gb: float


def measured_start(config: Config, photos: Path, cache: Path) -> Start:
    """Start a training in a process of its own, and watch it and its children."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_start, args=(config, photos, cache, theirs))
    child.start()
    peak = 0.0
    while child.is_alive():
        peak = max(peak, _memory_gb(child.pid or 0))
        child.join(_WATCHED_S)
    if not ours.poll():
        sys.exit("The training ended before it began.")
    cache_bytes = sum(file.stat().st_size for file in cache.rglob("*") if file.is_file())
    return Start(ours.recv(), peak, cache_bytes / 1e9)


def _start(config: Config, photos: Path, cache: Path, answer: Connection) -> None:
    fitting = FitConfig(
        out=cache / "unused",
        data=DataConfig(photos, cache=cache),
        network=NetworkConfig(
            "mobilenet_v2", weights="none", train_backbone=True, input_px=config.input_px
        ),
        augment="light",
    )
    multiprocessing.set_start_method(None, force=True)  # the workers' is the system's usual one
    started = time.perf_counter()
    specs = loaders.cached_for(fitting)
    _, training, choosing = splits.divide(fitting.data, specs)
    assert choosing is not None
    cached_pixels(choosing, specs["validation"], cache)
    order = loaders.epoch_order(fitting, training.labels())
    (loader,) = loaders.training_loaders(
        fitting, torch.nn.Identity(), training, order, torch.device("cpu")
    )
    batches = iter(loader)
    next(batches)
    answer.send(time.perf_counter() - started)
    for _ in islice(batches, _BATCHES):
        pass


def _memory_gb(process: int) -> float:
    """Pss of a process and its children, in GB; what has ended meanwhile counts nothing."""
    try:
        task = Path(f"/proc/{process}")
        lines = (task / "smaps_rollup").read_text().splitlines()
        own = next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        children = (task / f"task/{process}/children").read_text().split()
    except (OSError, StopIteration):
        return 0.0
    return own * 1024 / 1e9 + sum(_memory_gb(int(child)) for child in children)


def measure(config: Config, folder: Path) -> Results:
    """First and second start with each number of photos."""
    found: dict[int, tuple[Start, Start]] = {}
    for count in config.counts:
        photos = folder / str(count)
        draw_photos(photos, count)
        with tempfile.TemporaryDirectory(dir=folder) as cache:
            first, second = (measured_start(config, photos, Path(cache)) for _ in range(2))
        found[count] = first, second
        print(
            f"{count:,} photos: first start {first.seconds:.1f} s, second {second.seconds:.2f} s, "
            f"{first.peak_gb:.2f} GB of memory, {first.cache_gb:.2f} GB of cache",
            flush=True,
        )
    results = Results("photos")
    results.measured = {
        f"{count} photos": {"first": asdict(first), "second": asdict(second)}
        for count, (first, second) in found.items()
    }
    few, middle, many = (found[count] for count in config.counts)
    seconds = middle[1].seconds
    results.ratios[SECOND_START] = Spread(seconds, seconds, seconds, 1)
    above = max(each.peak_gb for each in many) - max(each.peak_gb for each in few)
    above = max(above, 0.001)  # a trial has few photos
    results.ratios[PEAK_MEMORY] = Spread(above, above, above, 1)
    results.sides = {
        SECOND_START: f"{seconds:.2f} s (first {middle[0].seconds:.1f} s)",
        PEAK_MEMORY: f"{many[0].peak_gb:.2f} GB / {few[0].peak_gb:.2f} GB",
    }
    results.measured |= {"input_px": config.input_px}
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write photos.json."""
    config = tyro.cli(Config, args=arguments, description=Config.__doc__)
    if config.quick:
        config = replace(config, counts=(50, 200, 1_000), input_px=64)
    if not Path("/proc/self/smaps_rollup").exists():
        sys.exit("Memory of several processes is measured on Linux only.")
    with tempfile.TemporaryDirectory() as temporary:
        results = measure(config, config.photos or Path(temporary))
    print(table(results))
    print(f"The figures are in {results.write(config.out)}.")


if __name__ == "__main__":
    main()
