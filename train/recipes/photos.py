"""A data folder in; how many photos each step reads, and their hashes, out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from train.config import DataConfig
from train.errors import UsageError
from train.photos.manifest import Manifest, scan
from train.photos.splits import divide
from train.recipes.recipe import Step

SPLITS, TEST = ("train", "validation"), "test"


@dataclass(frozen=True, slots=True)
class Part:
    """Photos that belong together.

    Attributes:
        photos, choosing: numbers of photos; for a fit, those to train on and to compare epochs on.
    """

    sha256: str
    photos: int
    choosing: int = 0


@dataclass(frozen=True, slots=True)
class Photos:
    """The photos of a build.

    Attributes:
        fits: what each step of fit trains on, by its name.
        test: None if there is no such split.
    """

    classes: tuple[str, ...]
    fits: Mapping[str, Part]
    validation: Part
    test: Part | None

    def sha256(self, step: Step) -> list[str]:
        """Hashes of the photos that a step reads, except its run's training photos."""
        if step.name in self.fits:
            return [self.fits[step.name].sha256]
        measured = [self.validation.sha256]
        return [*measured, self.test.sha256] if step.verb == "bundle" and self.test else measured


def look_at(root: Path, fits: Mapping[str, DataConfig]) -> Photos:
    """Read every photo of the folder once, as `fit` does, and print those that are unreadable.

    Raises:
        UsageError: a split is missing or unusable, or test has a class that train does not have.
    """
    scanned = scan(root, SPLITS)
    divided: dict[DataConfig, Part] = {}
    for config in fits.values():
        if config not in divided:
            manifest, training, choosing = divide(config)
            held = len(choosing.photos) if choosing else 0
            divided[config] = Part(manifest.sha256(), len(training.photos), held)
    test = scan(root, (TEST,)) if (root / TEST).is_dir() else None
    strangers = set(test.classes) - set(scanned.classes) if test else None
    if strangers:
        raise UsageError(
            f"{root / TEST} has classes that are not in train: {', '.join(sorted(strangers))}."
        )
    return Photos(
        classes=scanned.classes,
        fits={name: divided[config] for name, config in fits.items()},
        validation=_part(scanned.split("validation")),
        test=_part(test) if test else None,
    )


def _part(manifest: Manifest) -> Part:
    return Part(manifest.sha256(), len(manifest.photos))
