"""Which photos are trained on, and which ones the epochs are compared on."""

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from serving.model.preprocess import PreprocessSpec
from train.errors import UsageError
from train.photos.collection import Collection, Specs, collect, division
from train.photos.contents import Facts, rules_of_facts
from train.photos.findings import Finding, find_all, line
from train.photos.folders import printable
from train.photos.manifest import Manifest
from train.photos.sides import units_of
from train.reading import OWN_RANGE, DataConfig
from train.store import Store

# Findings of a kind that are printed before a training.
_FEW = 3

# Shares of the training photos whose darkest and brightest values do not count.
_TAIL = 0.01


def divide(
    config: DataConfig, specs: Specs = MappingProxyType({})
) -> tuple[Manifest, Manifest, Manifest | None]:
    """All readable photos; those to train on; those to compare epochs on, None for `nothing`.

    The validation split is read only if the epochs are compared on it. Prints what was passed over
    and what may spoil the result. `specs` say what the photos' pixels are cached for.

    Raises:
        UsageError: the photos cannot be trained on, a file is passed over under `strict`, or a
            class is left without training photos.
    """
    collection = collect(config, _splits_of(config), specs)
    for said in require_usable(collection):
        tqdm.write(said)
    return parted(collection, config)


def parted(
    collection: Collection, config: DataConfig
) -> tuple[Manifest, Manifest, Manifest | None]:
    """As `divide`, of photos that were read before.

    Raises:
        UsageError: a class is left without training photos.
    """
    splits = _splits_of(config)
    manifest = collection.manifest(splits)
    training = manifest.split("train")
    if config.choose_on == "validation":
        return manifest, training, manifest.split("validation")
    if config.choose_on == "nothing":
        return manifest, training, None
    kept, held = hold_out(training, config.holdout, config.holdout_seed)
    _require_each_class(kept, f"is left for training with --holdout {config.holdout:g}: lower it")
    return manifest, kept, held


def _splits_of(config: DataConfig) -> tuple[str, ...]:
    return ("train", "validation") if config.choose_on == "validation" else ("train",)


def require_usable(collection: Collection) -> list[str]:
    """What to print before a training on these photos.

    Raises:
        UsageError: the photos cannot be trained on, or `strict` and a file is passed over.
    """
    collection.require_nothing_passed_over()
    findings = find_all(collection)
    refuse(collection, findings)
    lines = division(collection)
    told = [finding for finding in findings if finding.told]
    for kind, count in Counter(finding.kind for finding in told).items():
        lines += [line(finding) for finding in told if finding.kind == kind][:_FEW]
        if count > _FEW:
            lines.append(f"{kind}: {count - _FEW} more; `python -m train inspect` lists them")
    return lines


def refuse(collection: Collection, findings: Sequence[Finding]) -> None:
    """Raise UsageError for the first finding that stops a training."""
    for finding in findings:
        if finding.stops:
            raise UsageError(f"{printable(collection.root)}: {finding.found}: {finding.advice}.")


def measured(config: DataConfig, training: Manifest) -> DataConfig:
    """The config with a range of values LOW:HIGH instead of `data`."""
    if config.value_range != OWN_RANGE:
        return config
    rules = rules_of_facts(config.max_pixels)
    with closing(Store(config.cache)) as store:
        found = [store.facts(bytes.fromhex(photo.sha256), rules) for photo in training.photos]
    ranges = [(facts.low, facts.high) for each in found if each and (facts := Facts(*each))]
    lows, highs = np.array(ranges).T
    low, high = np.quantile(lows, _TAIL), np.quantile(highs, 1 - _TAIL)
    tqdm.write(f"the values of the training photos: {low:.6f} to {high:.6f} of the full range")
    return replace(config, value_range=f"{low:.6f}:{max(high, low + 1e-6):.6f}")


def _require_each_class(training: Manifest, expected: str) -> None:
    found = {photo.label for photo in training.photos}
    missing = ", ".join(label for label in training.classes if label not in found)
    if missing:
        raise UsageError(f"{training.root}: no photo of {missing} {expected}.")


def hold_out(manifest: Manifest, share: float, seed: int) -> tuple[Manifest, Manifest]:
    """Split photos in two by drawing `share` of each class: (what stays, what is held out).

    Copies of a photo, even in different classes, and photos of one group stay together, so that no
    training photo is measured on. If they would exceed a class's share, fewer are held out.

    Raises:
        UsageError: no photo would be held out.
    """
    labels = manifest.labels()
    random = np.random.default_rng(seed)
    together = _together(manifest)
    count = len(manifest.classes)
    wanted = np.array([round(n * share) for n in np.bincount(labels, minlength=count).tolist()])
    held = np.zeros(len(labels), bool)
    drawn = np.zeros(count, int)  # of each class
    for label in range(count):
        for index in random.permutation(np.flatnonzero(labels == label)).tolist():
            group = together[index]
            after = drawn + np.bincount(labels[group], minlength=count)
            if not held[index] and (after <= wanted).all():
                held[group], drawn = True, after
    if not held.any():
        raise UsageError(f"--holdout {share:g} holds out no photos: the classes are too small.")

    def part(mask: NDArray[np.bool_]) -> Manifest:
        chosen = tuple(p for p, kept in zip(manifest.photos, mask, strict=True) if kept)
        return manifest.of(chosen)

    return part(~held), part(held)


def _together(manifest: Manifest) -> list[list[int]]:
    """For each photo, the indices of those that share its content or its group, its own too."""
    numbers = units_of([(photo.sha256, photo.group) for photo in manifest.photos])
    units: dict[int, list[int]] = {}
    for index, number in enumerate(numbers):
        units.setdefault(number, []).append(index)
    return [units[number] for number in numbers]


def labelled_split(
    root: Path,
    split: str,
    cache: Path,
    classes: tuple[str, ...],
    like: DataConfig | None = None,
    spec: PreprocessSpec | None = None,
) -> Manifest:
    """The readable photos of one split, with labels numbered as in the model.

    `like` says how the photos of a run are read: with which table and groups. `spec` is what their
    pixels are cached for.

    Raises:
        UsageError: there is no such split, it has a class that the model does not know, or it has
            no readable photos.
    """
    config = replace(like or DataConfig(root), data=root, cache=cache)
    collection = collect(config, (split,), {split: spec} if spec else {})
    if split not in collection.splits:
        raise UsageError(f"{printable(root)} has no split {split}: give another, or its folder.")
    collection.require_nothing_passed_over()
    if passed := collection.passed_over():
        tqdm.write(f"{split}: passed over: {passed}")
    found = collection.manifest((split,))
    strangers = sorted(set(found.classes) - set(classes))
    if strangers:
        raise UsageError(
            f"{printable(root)}: {split} has classes that the model does not know: "
            f"{', '.join(strangers)}."
        )
    if not found.photos:
        raise UsageError(f"{printable(root)}: {split} has no readable photos.")
    return replace(found, classes=classes)
