"""Which photos are trained on, and which ones the epochs are compared on."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from train.config import DataConfig
from train.errors import UsageError
from train.photos.manifest import Manifest, scan
from train.photos.pixels import without_unreadable


def divide(config: DataConfig) -> tuple[Manifest, Manifest, Manifest | None]:
    """All readable photos; those to train on; those to compare epochs on, None for `nothing`.

    The validation split is read only if the epochs are compared on it.

    Raises:
        UsageError: the folder has no usable photos, fewer than two classes, an unreadable photo
            under `strict`, or a class that is left without training photos.
    """
    splits = ("train", "validation") if config.choose_on == "validation" else ("train",)
    scanned = scan(config.data, splits)
    if len(scanned.classes) < 2:
        raise UsageError(f"{config.data}/train has one class folder; a classifier needs two.")
    manifest = without_unreadable(scanned, config.cache, strict=config.strict)
    training = manifest.split("train")
    _require_each_class(training, "is readable: replace them, or remove the class everywhere")
    if config.choose_on == "validation":
        return manifest, training, manifest.split("validation")
    if config.choose_on == "nothing":
        return manifest, training, None
    kept, held = hold_out(training, config.holdout, config.holdout_seed)
    _require_each_class(kept, f"is left for training with --holdout {config.holdout:g}: lower it")
    return manifest, kept, held


def _require_each_class(training: Manifest, expected: str) -> None:
    found = {photo.label for photo in training.photos}
    missing = ", ".join(f"train/{label}" for label in training.classes if label not in found)
    if missing:
        raise UsageError(f"{training.root}: no photo of {missing} {expected}.")


def hold_out(manifest: Manifest, share: float, seed: int) -> tuple[Manifest, Manifest]:
    """Split photos in two by drawing `share` of each class: (what stays, what is held out).

    Copies of a photo, even in different classes, stay together, so that no training photo is
    measured on. If copies would exceed a class's share, fewer are held out.

    Raises:
        UsageError: no photo would be held out.
    """
    labels = manifest.labels()
    random = np.random.default_rng(seed)
    copies: dict[str, list[int]] = {}  # content -> the photos that have it
    for index, photo in enumerate(manifest.photos):
        copies.setdefault(photo.sha256, []).append(index)
    count = len(manifest.classes)
    wanted = np.array([round(n * share) for n in np.bincount(labels, minlength=count).tolist()])
    held = np.zeros(len(labels), bool)
    drawn = np.zeros(count, int)  # of each class
    for label in range(count):
        for index in random.permutation(np.flatnonzero(labels == label)).tolist():
            group = copies[manifest.photos[index].sha256]
            after = drawn + np.bincount(labels[group], minlength=count)
            if not held[index] and (after <= wanted).all():
                held[group], drawn = True, after
    if not held.any():
        raise UsageError(f"--holdout {share:g} holds out no photos: the classes are too small.")

    def part(mask: NDArray[np.bool_]) -> Manifest:
        chosen = tuple(p for p, kept in zip(manifest.photos, mask, strict=True) if kept)
        return Manifest(manifest.root, manifest.classes, chosen)

    return part(~held), part(held)


def labelled_split(root: Path, split: str, cache: Path, classes: tuple[str, ...]) -> Manifest:
    """The readable photos of one split, with labels numbered as in the model.

    Raises:
        UsageError: the split has a class that the model does not know, or no readable photos.
    """
    found = without_unreadable(scan(root, (split,)), cache, strict=False)
    strangers = set(found.classes) - set(classes)
    if strangers:
        raise UsageError(
            f"{root / split} has classes that the model does not know: "
            f"{', '.join(sorted(strangers))}."
        )
    if not found.photos:
        raise UsageError(f"{root / split} has no readable photos.")
    return Manifest(found.root, classes, found.photos)
