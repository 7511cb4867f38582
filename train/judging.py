"""A run and its sibling in; which photos calibrate int8 activations, and which judge them, out.

No photo judges that calibration has seen, nor one of the same content.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from train.data import Manifest
from train.errors import UsageError
from train.inference import labelled_split
from train.run_photos import held_out_photos
from train.saved import Trained, load_model

# Without a sibling, about this many photos of train judge the candidates: 99 % is three changed.
_JUDGED_WITHOUT_SIBLING = 300


@dataclass(frozen=True, slots=True)
class PhotoRoles:
    """Which photos do what.

    Attributes:
        calibration: what the ranges of activations are measured on.
        candidates: what candidates are judged on.
        run: what the run's own file is judged on.
        seen: whether the network that makes the candidates was trained on `candidates`.
    """

    calibration: Manifest
    candidates: Manifest
    run: Manifest
    seen: bool


def choose_photos(
    root: Path, trained: Trained, sibling: Path | None, count: int, cache: Path
) -> PhotoRoles:
    """Draw about `count` calibration photos from ROOT/train, with the run's seed; the rest judges.

    Raises:
        UsageError: the sibling held nothing out, or no photo is left to judge on.
    """
    train = labelled_split(root, "train", cache, trained.classes)
    seed = trained.config.seed
    if sibling is not None:
        held = held_out_photos(load_model(sibling), sibling, cache, root)
        calibration = balanced(without(train, held), count, seed)
        judging = without(held, calibration)
    else:
        calibration = balanced(train, count, seed)
        judging = balanced(without(train, calibration), _JUDGED_WITHOUT_SIBLING, seed + 1)
    if not calibration.photos or not judging.photos:
        raise UsageError(f"{root / 'train'} has too few photos: four of each class are needed.")
    return PhotoRoles(calibration, judging, without(train, calibration), seen=sibling is None)


def balanced(manifest: Manifest, count: int, seed: int) -> Manifest:
    """Draw about `count` photos, as many of each class, and of none more than half."""
    labels = manifest.labels()
    random = np.random.default_rng(seed)
    each = max(1, count // len(manifest.classes))
    drawn: list[int] = []
    for label in range(len(manifest.classes)):
        members = np.flatnonzero(labels == label)
        drawn += random.permutation(members)[: min(each, len(members) // 2)].tolist()
    return Manifest(
        manifest.root, manifest.classes, tuple(manifest.photos[i] for i in sorted(drawn))
    )


def without(manifest: Manifest, others: Manifest) -> Manifest:
    """The photos whose content is not among the others'."""
    known = {photo.sha256 for photo in others.photos}
    kept = tuple(photo for photo in manifest.photos if photo.sha256 not in known)
    return Manifest(manifest.root, manifest.classes, kept)
