"""A folder of photos classified on one core and on two, against loops on one core.

    python -m benchmarks.classify [--quick]

`python -m local classify` runs as a user starts it, and its time is that of the whole command. The
loops go through the same photos on one core: the workshop's handler, our handler, and torch with 32
photos at once. Their start is not timed, nor is reading the files.
"""

import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import tyro

from benchmarks.harness import photos
from benchmarks.harness.results import FIGURES, Results, Spread, sides, table
from benchmarks.harness.rounds import (
    ONE_THREAD,
    ROOT,
    UnavailableError,
    Worker,
    on_last_cores,
    workers,
)
from benchmarks.peers import models
from benchmarks.peers.contestants import BATCHES

NAME = "classify"
LOOPS = ("workshop", "ours")
CORES = {1: "one core", 2: "two cores"}
_SIZE, _DRAWN, _BATCH = "400x533", 50, 32


@dataclass(frozen=True, slots=True)
class Config:
    """Compare photos per second of a classified folder with loops over handlers."""

    rounds: int = 5
    """Turns of each."""
    photos: int = 2_000
    """Photos in the folder."""
    looped: int = 256
    """Photos in a turn of a loop."""
    quick: bool = False
    """A trial of one short round, whose figures mean little."""
    out: Path = FIGURES
    """Folder for the figures."""


def measure(config: Config) -> Results:
    """A ratio is the command's photos per second divided by a loop's on one core."""
    if config.quick:
        config = Config(rounds=1, photos=100, looped=_BATCH, quick=True, out=config.out)
    results = Results(NAME)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "photos"
        files, batch = _drawn(folder, config.photos)
        setup = {"models": models.prepare()}
        with (
            workers(LOOPS, {**setup, "inputs": {}}, Path(name)) as (loops, missing),
            workers(tuple(BATCHES), {**setup, "inputs": {"batch": str(batch)}}, Path(name)) as (
                batches,
                also_missing,
            ),
        ):
            rates = _rates(config, [*loops, *batches], files)
    for who, why in {**missing, **also_missing}.items():
        results.not_measured |= {f"{who}, {cores}": why for cores in CORES.values()}
    _compare(results, rates)
    return results


def _drawn(folder: Path, count: int) -> tuple[list[Path], Path]:
    """A folder of photos, of which every 50th is the same, and an archive of a batch of them."""
    folder.mkdir()
    files = [folder / f"{number}.jpg" for number in range(count)]
    for number, file in enumerate(files):
        if number < _DRAWN:
            file.write_bytes(photos.jpeg(_SIZE, seed=number))
        else:
            file.hardlink_to(files[number % _DRAWN])
    batch = folder.parent / "batch.zip"
    with zipfile.ZipFile(batch, "w") as archive:
        for file in files[:_BATCH]:
            archive.write(file, file.name)
    return files, batch


def _rates(config: Config, loops: Sequence[Worker], files: list[Path]) -> dict[str, list[float]]:
    """Photos per second of each loop, and of the command by its number of cores; by round."""
    rates: dict[str, list[float]] = {}
    for number in range(config.rounds):
        for loop in loops if number % 2 == 0 else reversed(loops):
            rates.setdefault(loop.name, []).append(_loop_rate(loop, files[: config.looped]))
        for count, cores in CORES.items():
            try:
                rates.setdefault(cores, []).append(_command_rate(files, count))
            except UnavailableError:  # the machine has fewer cores
                rates.pop(cores)
    return rates


def _loop_rate(loop: Worker, files: Sequence[Path]) -> float:
    if loop.name in BATCHES:
        seconds = loop.ask("batch", len(files) // _BATCH)
        return len(seconds) * _BATCH / sum(seconds)
    return len(files) / sum(loop.ask_files(files))


def _command_rate(files: Sequence[Path], cores: int) -> float:
    folder = files[0].parent
    out = folder.parent / "answers.csv"
    command = [sys.executable, "-m", "local", "classify", str(folder), "--out", str(out)]
    with on_last_cores(cores):
        started = time.perf_counter()
        subprocess.run(
            command, cwd=ROOT, env={**os.environ, **ONE_THREAD}, capture_output=True, check=True
        )
        seconds = time.perf_counter() - started
    assert len(out.read_bytes().splitlines()) == len(files) + 1, "a row for each, and the names"
    out.unlink()
    return len(files) / seconds


def _compare(results: Results, rates: dict[str, list[float]]) -> None:
    results.measured["photos_per_s"] = {who: median(each) for who, each in rates.items()}
    for cores in CORES.values():
        for who in (*LOOPS, *BATCHES):
            row = f"{who}, {cores}"
            if who in rates and cores in rates:
                pairs = zip(rates[cores], rates[who], strict=True)
                results.ratios[row] = Spread.of([mine / theirs for mine, theirs in pairs])
                both = (median(rates[cores]), median(rates[who]))
                results.sides[row] = sides(*both, "photos/s", 0)
            elif cores not in rates:
                results.not_measured[row] = "this process may use too few cores"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write the JSON."""
    config = tyro.cli(Config, args=arguments, description=Config.__doc__)
    results = measure(config)
    print("Photos per second of a classified folder divided by a loop's on one core:")
    print(table(results))
    print(f"The figures are in {results.write(config.out)}.")


if __name__ == "__main__":
    main()
