"""The verb `build`: a folder of photos and a recipe in, a model with its report and card out.

Everything is checked before the first step begins. Finished steps are skipped at the next call, and
an interrupted step continues, so the same command always ends with the same model.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from train.config import DataConfig, FitConfig, NetworkConfig, from_json
from train.errors import CheckFailedError, TrainError, UsageError
from train.export.bundle import BundleConfig, bundle
from train.export.card import CARD
from train.export.golden import require_golden_folder
from train.export.input_size import frontier
from train.export.onnx import export
from train.export.quantize import quantize
from train.files import read_json, require_writable
from train.fit.loaders import cached_for
from train.fit.loop import fit
from train.recipes import outcome
from train.recipes.checkpoint import require_checkpoint, take_checkpoint, write_checkpoint
from train.recipes.outcome import duration
from train.recipes.photos import Photos, look_at
from train.recipes.plan import Stopwatch
from train.recipes.recipe import CHECKPOINT, Recipe, Step, begun_at, read_recipe
from train.recipes.records import begin, finish, is_done, read_record
from train.recipes.steps import (
    Place,
    config_of,
    key_of,
    known_weights,
    read_weights,
    remember_weights,
)
from train.runs.folder import CONFIG, LAST, RECORD

_VERBS: dict[str, Callable[[Any], None]] = {"fit": fit, "frontier": frontier, "export": export}


@dataclass(frozen=True, slots=True)
class BuildConfig:
    """Make a model from a folder of photos by a recipe."""

    data: Path
    """Folder of the photos: CLASS/*.jpg, or {train,validation,test}/CLASS/*.jpg. Splits that are
    missing are made, and recorded beside the cache."""
    table: Path | None = None
    """CSV or TSV file with the columns path, label and, if you like, split and group."""
    group_by: str = ""
    """Regular expression for a photo's path; photos with the same match are never in two splits."""
    value_range: str | None = None
    """Which pixel values become black and white, for every fit: `full`, `data` or LOW:HIGH."""
    max_pixels: int | None = None
    """Photos with more pixels are not read; the recipe's own, else 50 million, if not given."""
    strict: bool = False
    """Stop if anything in the folder or table is passed over."""
    recipe: str = "frozen"
    """A recipe that comes with the code (frozen, finetune, best, clothing), or a TOML file."""
    out: Path | None = None
    """Folder of the recipe's runs and records; runs/RECIPE if not given."""
    weights: Annotated[tuple[str, ...], tyro.conf.arg(metavar="none|BACKBONE=FILE")] = ()
    """Files with a backbone's starting weights, or `none` for random ones; downloaded if not
    given."""
    from_step: Annotated[str, tyro.conf.arg(name="from", metavar="STEP")] = ""
    """Do not train: begin at this step with the checkpoint in MODEL/checkpoint."""
    model: Path = Path("model")
    """Folder from which the Lambda image and the local server take the model."""
    cache: Path = Path(".cache/photos")
    """Folder of decoded photos and features; safe to delete."""
    cache_gb: float = -1.0
    """Most gigabytes that the cache may take, as for `fit`; -1 keeps what was set before."""
    rehash: bool = False
    """Read every photo again, also those of unchanged size and time."""

    @property
    def reading(self) -> dict[str, Any]:
        """The flags for how every fit reads photos."""
        flags = ("table", "group_by", "value_range", "max_pixels", "strict")
        return {name: getattr(self, name) for name in flags if getattr(self, name)}


def build(config: BuildConfig) -> None:
    """Run the recipe's steps that are not done, and print a table of the result.

    Raises:
        UsageError: something is wrong with the recipe, the photos, the weights or the folders;
            no step was started.
        TrainError: a step failed; the message names it.
    """
    recipe = read_recipe(config.recipe)
    out = config.out or Path("runs") / recipe.name
    known = known_weights(out)
    place = Place(
        data=config.data,
        out=out,
        model=config.model,
        cache=config.cache,
        weights=read_weights(config.weights, recipe, known),
        weights_sha256=known,
        reading=config.reading,
    )
    if config.from_step:
        recipe = begun_at(recipe, config.from_step)
    looked_at = DataConfig(
        place.data,
        cache=place.cache,
        cache_gb=config.cache_gb,
        rehash=config.rehash,
        **place.reading,
    )
    photos = _check(recipe, place, looked_at)
    Building(recipe, place, photos).carry_out()


def _check(recipe: Recipe, place: Place, looked_at: DataConfig) -> Photos:
    """Check everything that is given, before the first step; returns the photos."""
    verbs = [step for step in recipe.steps if step.verb != CHECKPOINT]
    configs = {step.name: config_of(recipe, step, place) for step in verbs}
    fits = {name: each for name, each in configs.items() if isinstance(each, FitConfig)}
    require_writable(place.out, "--out")
    require_writable(place.model, "--model")
    require_writable(place.cache, "--cache")
    last = configs[recipe.steps[-1].name]
    assert isinstance(last, BundleConfig)
    require_writable(last.golden_folder, "--model")
    require_golden_folder(last.golden_folder, last.pictures)
    specs = next((cached_for(each) for each in fits.values()), {})
    photos = look_at(looked_at, {name: each.data for name, each in fits.items()}, specs)
    if recipe.steps[0].verb == CHECKPOINT:
        with_size = any(CHECKPOINT in s.names.get("input_px", ()) for s in recipe.steps)
        require_checkpoint(place.checkpoint, photos.classes, with_size=with_size)
    return photos


class Building:
    """A recipe's steps with their keys and records."""

    def __init__(self, recipe: Recipe, place: Place, photos: Photos) -> None:
        self._recipe, self._place, self._photos = recipe, place, photos
        self._keys: dict[str, str] = {}
        self._records: dict[str, dict[str, Any]] = {}
        for step in recipe.steps:
            config = None if step.verb == CHECKPOINT else config_of(recipe, step, place)
            self._keys[step.name] = key_of(step, config, photos, self._keys, place)
            self._records[step.name] = read_record(step, place)

    def carry_out(self) -> None:
        """Print the plan, run the steps that are not done, print the table."""
        print(f"{self._recipe.name}: {self._recipe.about}\n")
        self._print_plan()
        remember_weights(self._place)
        for step in self._recipe.steps:
            if not self._is_done(step):
                self._do(step)
        self._print_outcome()

    def _is_done(self, step: Step) -> bool:
        return is_done(step, self._keys[step.name], self._records, self._place)

    def _print_plan(self) -> None:
        stopwatch, todo, total_s = Stopwatch(self._photos), set[str](), 0.0
        width = max(len(step.name) for step in self._recipe.steps)
        for step in self._recipe.steps:
            if self._is_done(step) and not todo & set(step.uses):
                done_s = self._records[step.name]["seconds"]
                print(f"  {step.name:<{width}} {step.verb:<10} done before, {duration(done_s)}")
                continue
            todo.add(step.name)
            seconds = self._estimate(step, stopwatch)
            total_s += seconds
            print(f"  {step.name:<{width}} {step.verb:<10} about {duration(seconds)}")
        if todo:
            print(
                f"About {duration(total_s)} in all. Ctrl+C stops it; the same command continues.\n"
                f"Runs are in {self._place.out}, the model will be in {self._place.model}."
            )

    def _estimate(self, step: Step, stopwatch: Stopwatch) -> float:
        if step.verb == CHECKPOINT:
            return 0.0
        config = self._config(step)
        if isinstance(config, FitConfig):
            return self._estimate_fit(step, config, stopwatch)
        return stopwatch.other(step.verb, config, self._network(step))

    def _estimate_fit(self, step: Step, config: FitConfig, stopwatch: Stopwatch) -> float:
        """Seconds for the epochs that are left, if the run was started before."""
        teachers = [self._config(self._recipe.step(name)) for name in step.names.get("teacher", ())]
        record, part = config.out / RECORD, self._photos.fits[step.name]
        begun = self._records[step.name].get("key") in (None, self._keys[step.name])
        resumed = begun and (config.out / LAST).is_file()
        try:
            whole_s = stopwatch.fit(config, teachers, part, resumed=resumed)
        except UsageError as error:
            raise UsageError(f"{self._recipe.file.name}: steps.{step.name}: {error}") from error
        epochs = len(read_json(record)["epochs"]) if begun and record.is_file() else 0
        return whole_s * (1 - epochs / config.epochs)

    def _config(self, step: Step) -> Any:
        return config_of(self._recipe, step, self._place)

    def _network(self, step: Step) -> NetworkConfig:
        """The network of the run that a step works on."""
        run = self._recipe.step(step.run)
        if run.verb == CHECKPOINT:
            config = from_json(FitConfig, read_json(self._place.checkpoint / CONFIG))
        else:
            config = self._config(run)
        network: NetworkConfig = config.network
        return network

    def _do(self, step: Step) -> None:
        moved = begin(step, self._keys[step.name], self._place)
        print(f"\n{step.name}: {step.verb}")
        if moved:
            print(f"Its settings or photos have changed; the run before is kept as {moved}.")
        started = time.perf_counter()
        try:
            with _own_settings():
                found = self._carry_out(step)
        except TrainError as error:
            raise type(error)(f"step {step.name}: {error}") from error
        seconds = time.perf_counter() - started
        if step.verb == "fit":  # it may have been interrupted before
            epochs = read_json(self._place.folder(step.name) / RECORD)["epochs"]
            seconds = max(seconds, sum(epoch["seconds"] for epoch in epochs))
        found |= {"seconds": seconds}
        key = self._keys[step.name]
        self._records[step.name] = finish(step, key, found, self._records, self._place)

    def _carry_out(self, step: Step) -> dict[str, Any]:
        """Do a step's work; returns what its record adds."""
        if step.verb == CHECKPOINT:
            take_checkpoint(self._place.checkpoint, self._place.folder(step.name))
        elif step.verb == "bundle":
            return self._bundle(step)
        elif step.verb == "quantize":
            return self._quantize(step)
        else:
            _VERBS[step.verb](self._config(step))
        return {}

    def _quantize(self, step: Step) -> dict[str, Any]:
        """If no int8 file passes the gate, go on: the float32 file is bundled."""
        try:
            quantize(self._config(step))
        except CheckFailedError as error:
            print(error)
            return {"refused": str(error)}
        return {}

    def _bundle(self, step: Step) -> dict[str, Any]:
        config, run = self._config(step), self._place.folder(step.run)
        gates = [self._records[name] for name in step.after]
        gates = [record for record in gates if record["verb"] == "quantize"]
        refused = gates[-1].get("refused", "") if gates else ""
        int8 = bool(gates) and not refused
        try:
            bundle(replace(config, int8=int8))
        except CheckFailedError as error:
            if not int8:
                raise
            int8, refused = False, str(error)
            bundle(config)
        write_checkpoint(run, self._place.checkpoint)
        return {"table": outcome.measure(run, self._place, int8=int8), "refused": refused}

    def _print_outcome(self) -> None:
        bundled = self._records[self._recipe.steps[-1].name]
        total_s = sum(record["seconds"] for record in self._records.values())
        print("\n" + outcome.table(bundled["table"]))
        if bundled["refused"]:
            print(f"\nThe float32 file is bundled. {bundled['refused']}")
        print(
            f"\n{duration(total_s)} in all. The model card is {self._place.model / CARD}; try the "
            "model: make serve"
        )


@contextmanager
def _own_settings() -> Iterator[None]:
    """Restore torch's settings after a step, as if it had run in its own process."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)
