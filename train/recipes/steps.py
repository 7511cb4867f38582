"""A recipe's steps and a build's folders in, the config and the key of each step out.

A step's key is the hash of everything that its result depends on: its settings, the photos, the
contents of given files, and the keys of the steps that it uses. It does not depend on where photos,
caches and outputs lie, nor on the number of processes and threads.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from train.config import FitConfig, NetworkConfig, to_json
from train.errors import UsageError
from train.export.input_size import FRONTIER_FILE
from train.files import read_json, write_json
from train.fit.options import require_used
from train.networks.backbones import with_own_size
from train.photos.folders import is_photo
from train.recipes.flags import make_config, nearest
from train.recipes.photos import Photos
from train.recipes.recipe import CHECKPOINT, CONFIGS, Recipe, Step
from train.runs.folder import MODEL

NO_WEIGHTS = "none"
# In the folder of a build: the hashes of its files of weights.
_WEIGHTS = ".weights.json"

# Folders and speed; and runs, which are in the key as the keys of their steps.
_NOT_IN_KEY = frozenset(
    {"out", "cache", "table", "strict", "workers", "threads", "tracker", "resume", "golden"}
    | {"cache_gb", "rehash"}
    | {"run", "start", "teacher", "int8"}
)
# If these are files, the key has their contents.
_FILES = frozenset({"weights", "notes", "pictures", "recipe"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a build reads and writes, and the starting weights of its networks.

    Attributes:
        weights: a file or `none`, by backbone; "" stands for all other backbones.
        weights_sha256: the hash of each file of weights that an earlier build read; the file is
            not needed again once a run has its weights.
        reading: other flags of how photos are read, for every fit.
    """

    data: Path
    out: Path
    model: Path
    cache: Path
    weights: Mapping[str, str]
    weights_sha256: Mapping[str, str] = field(default_factory=dict)
    reading: Mapping[str, Any] = field(default_factory=dict)

    def folder(self, run: str) -> Path:
        """The folder of a run."""
        return self.out / run

    @property
    def checkpoint(self) -> Path:
        """The bundled checkpoint, which a later build may begin with."""
        return self.model / CHECKPOINT


def known_weights(out: Path) -> dict[str, str]:
    """The hash of each file of weights that builds into this folder have read, by its path."""
    try:
        found = read_json(out / _WEIGHTS)
        return {str(file): str(sha256) for file, sha256 in found.items()}
    except (UsageError, AttributeError):  # there was no such build
        return {}


def remember_weights(place: Place) -> None:
    """Keep the hashes of the files of weights for later builds."""
    files = [file for file in place.weights.values() if Path(file).is_file()]
    if files:
        found = {file: content_sha256(Path(file)) for file in files}
        write_json(place.out / _WEIGHTS, {**place.weights_sha256, **found})


def read_weights(
    given: tuple[str, ...], recipe: Recipe, known: Collection[str] = ()
) -> dict[str, str]:
    """Read `none` and BACKBONE=FILE into a file or `none` by backbone, as `Place.weights` has it.

    `known` are the files that an earlier build has read; they may be gone.

    Raises:
        UsageError: a file is missing, or no step of the recipe uses that backbone.
    """
    used = {
        step.flags.get("backbone", NetworkConfig().backbone)
        for step in recipe.steps
        if step.verb == "fit" and "start" not in step.names
    }
    found: dict[str, str] = {}
    for each in given:
        backbone, is_named, weights = each.partition("=")
        if not is_named:
            backbone, weights = "", each
        there = Path(weights).is_file() or weights in known
        if weights != NO_WEIGHTS and not (is_named and there):
            raise UsageError(
                f"--weights {each} is neither `none` nor BACKBONE=FILE with an existing file."
            )
        if is_named and backbone not in used:
            raise UsageError(
                f"--weights {each}: no step of {recipe.file.name} uses that backbone; "
                f"{nearest(backbone, sorted(used))}."
            )
        found[backbone] = weights
    return found


def config_of(recipe: Recipe, step: Step, place: Place) -> Any:
    """The config of the step's verb.

    The size that a `frontier` step chooses is left out until it is known.

    Raises:
        UsageError: the config refuses a value; the message names the recipe and the step.
    """
    values = step.flags | {"data": place.data, "cache": place.cache}
    if step.verb == "fit":
        values |= {"out": place.folder(step.name), "resume": True}
        values |= dict(place.reading) | _sources(step, place)
    else:
        values |= {"run": place.folder(step.run)}
    if step.verb == "bundle":
        values |= {"out": place.model, "recipe": recipe.file}
    if "input_px" in step.names:
        size = recipe.step(step.names["input_px"][0])
        chosen = place.folder(size.run) / FRONTIER_FILE
        values |= {"input_px": read_json(chosen)["chosen_px"]} if chosen.is_file() else {}
    try:
        config = make_config(CONFIGS[step.verb], values)
        if isinstance(config, FitConfig):
            require_used(config)
            config = replace(config, network=with_own_size(config.network))
    except UsageError as error:
        raise UsageError(f"{recipe.file.name}: steps.{step.name}: {error}") from error
    return config


def _sources(step: Step, place: Place) -> dict[str, Any]:
    """The start, weights and teachers of a fit."""
    found: dict[str, Any] = {}
    if "teacher" in step.names:
        found["teacher"] = tuple(str(place.folder(name)) for name in step.names["teacher"])
    if "start" in step.names:
        return found | {"start": str(place.folder(step.names["start"][0]))}
    backbone = step.flags.get("backbone", NetworkConfig().backbone)
    weights = place.weights.get(backbone, place.weights.get(""))
    return found | ({"weights": weights} if weights else {})


def key_of(step: Step, config: Any, photos: Photos, keys: Mapping[str, str], place: Place) -> str:
    """The step's key; `keys` are those of the steps before it."""
    if step.verb == CHECKPOINT:
        return content_sha256(place.checkpoint / MODEL)
    named = {flag: [keys[name] for name in names] for flag, names in step.names.items()}
    content = {
        "verb": step.verb,
        "settings": _settings(to_json(config), set(step.names), place.weights_sha256),
        "photos": photos.sha256(step),
        "uses": named | {"after": [keys[name] for name in step.after]},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _settings(
    values: Mapping[str, Any], named: set[str], known: Mapping[str, str]
) -> dict[str, Any]:
    """The settings of a verb that its result depends on."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= _settings(value, named, known)
        elif name in _FILES and isinstance(value, str) and Path(value).exists():
            found[name] = content_sha256(Path(value))
        elif name == "weights" and isinstance(value, str) and value in known:
            found[name] = known[value]
        elif name not in _NOT_IN_KEY | named | {"data"}:
            found[name] = value
    return found


def content_sha256(path: Path) -> str:
    """The hash of a file, or of the photos in a folder."""
    digest = hashlib.sha256()
    files = sorted(each for each in path.iterdir() if is_photo(each)) if path.is_dir() else [path]
    for file in files:
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()
