"""The sweep against the workshop's way of comparing settings, which computes the features of every
photo again in each epoch of each setting.

    python -m benchmarks.sweep --data DIR [--weights FILE]

The workshop's way would take a day, so some of its steps are timed and the rest is multiplied out;
the arithmetic is printed. The sweep is timed as a whole, in its own process and with an empty
cache: start, decoding, features, training, report. The two take turns.
"""

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import tyro

from benchmarks.harness.results import FIGURES, Results, Spread, sides
from benchmarks.peers.workshop_training import SecondsPerPhoto, frozen_backbone_pace
from train.config import DataConfig
from train.errors import TrainError
from train.files import read_json
from train.photos.collection import collect
from train.photos.manifest import Manifest
from train.sweep.verb import JSON, SweepConfig

NAME, ROW = "sweep", "all settings"
_GRID = SweepConfig(Path(), DataConfig(Path()))  # what it sweeps by default


@dataclass(frozen=True, slots=True)
class Config:
    """Time the sweep against the workshop's way of comparing the same settings."""

    data: Path
    """Folder with {train,validation}/CLASS/*.jpg."""
    weights: str = "default"
    """`default`, which downloads them, or a state-dict file."""
    repeats: int = 1
    """Whole sweeps; the workshop's way is measured before, between and after them."""
    steps: int = 8
    """Timed steps of 32 photos in each measurement of the workshop's way."""
    out: Path = FIGURES
    """Folder for the figures."""


def measure(config: Config, manifest: Manifest) -> Results:
    """Both ways in turn. A ratio is the workshop's time divided by a sweep's."""

    def pace() -> SecondsPerPhoto:
        return frozen_backbone_pace(manifest, weights=config.weights, steps=config.steps)

    paces, sweeps = [pace()], []
    for _ in range(config.repeats):
        sweeps.append(run_sweep(config))
        paces.append(pace())
    sweeps_s = [seconds for seconds, _ in sweeps]
    workshop_s = [all_settings_s(manifest, one) for one in paces]
    results = Results(NAME)
    results.ratios[ROW] = Spread.of([theirs / ours for theirs in workshop_s for ours in sweeps_s])
    results.sides[ROW] = sides(median(sweeps_s) / 60, median(workshop_s) / 60, "min", 0)
    results.measured = {
        "workshop_train_s_per_photo": [one.train_s for one in paces],
        "workshop_validation_s_per_photo": [one.validation_s for one in paces],
        "workshop_all_settings_s": workshop_s,
        "sweep_s": sweeps_s,
        "sweep_parts_s": [record["seconds"] for _, record in sweeps],
    }
    return results


def run_sweep(config: Config) -> tuple[float, dict[str, Any]]:
    """Seconds of `python -m train sweep` with an empty cache, and the sweep's record."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "train", "sweep", "--data", str(config.data)]
        command += ["--weights", config.weights, "--cache", f"{folder}/cache"]
        started = time.perf_counter()
        subprocess.run([*command, "--out", f"{folder}/out"], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - started, read_json(Path(folder) / "out" / JSON)


def all_settings_s(manifest: Manifest, pace: SecondsPerPhoto) -> float:
    """Seconds that the workshop's way would take for all settings and seeds."""
    return len(_GRID.settings()) * len(_GRID.seeds) * _GRID.epochs * _epoch_s(manifest, pace)


def arithmetic(manifest: Manifest, results: Results) -> str:
    """How the workshop's time follows from the median pace, and the sweep's time."""
    found = results.measured
    pace = SecondsPerPhoto(
        median(found["workshop_train_s_per_photo"]),
        median(found["workshop_validation_s_per_photo"]),
    )
    train, validation = _counts(manifest)
    epoch_s, whole_s = _epoch_s(manifest, pace), all_settings_s(manifest, pace)
    return f"""The workshop's way, multiplied out from the medians:
  an epoch      {train:,} photos x {pace.train_s * 1e3:.2f} ms + {validation:,} photos \
x {pace.validation_s * 1e3:.2f} ms = {epoch_s:,.1f} s
  all settings  {len(_GRID.settings())} settings x {len(_GRID.seeds)} seeds \
x {_GRID.epochs} epochs x {epoch_s:,.1f} s = {whole_s:,.0f} s = {whole_s / 3600:,.1f} h
The sweep: {median(found["sweep_s"]):,.0f} s.
The workshop's time divided by the sweep's: {results.ratios[ROW]}."""


def _epoch_s(manifest: Manifest, pace: SecondsPerPhoto) -> float:
    train, validation = _counts(manifest)
    return train * pace.train_s + validation * pace.validation_s


def _counts(manifest: Manifest) -> tuple[int, int]:
    """The number of photos for training and for validation."""
    return len(manifest.split("train").photos), len(manifest.split("validation").photos)


def main() -> None:
    """Measure, print, and write sweep.json."""
    config = tyro.cli(Config, description=Config.__doc__)
    try:
        manifest = collect(DataConfig(config.data)).manifest(("train", "validation"))
    except TrainError as error:
        sys.exit(str(error))
    results = measure(config, manifest)
    print(arithmetic(manifest, results))
    print(f"The figures are in {results.write(config.out)}.")


if __name__ == "__main__":
    main()
