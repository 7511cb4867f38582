"""A data folder in; how many photos each step reads, and their hashes, out."""

from collections.abc import Mapping
from dataclasses import dataclass

from train.config import DataConfig
from train.photos.collection import Specs, collect
from train.photos.manifest import Manifest
from train.photos.splits import parted, require_usable
from train.recipes.recipe import Step


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


def look_at(config: DataConfig, fits: Mapping[str, DataConfig], specs: Specs) -> Photos:
    """Read every photo of the folder once, and print what may spoil the result.

    `specs` are what the first fit wants photos to be cached for.

    Raises:
        UsageError: the photos cannot be trained on, or a fit holds out too many.
    """
    collection = collect(config, specs=specs)
    for line in require_usable(collection):
        print(line)
    divided: dict[DataConfig, Part] = {}
    for each in fits.values():
        if each not in divided:
            manifest, training, choosing = parted(collection, each)
            held = len(choosing.photos) if choosing else 0
            divided[each] = Part(manifest.sha256(), len(training.photos), held)
    test = collection.manifest(("test",))
    return Photos(
        classes=collection.manifest(("train",)).classes,
        fits={name: divided[each] for name, each in fits.items()},
        validation=_part(collection.manifest(("validation",))),
        test=_part(test) if test.photos else None,
    )


def _part(manifest: Manifest) -> Part:
    return Part(manifest.sha256(), len(manifest.photos))
