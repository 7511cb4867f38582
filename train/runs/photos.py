"""A run in, the photos that it was not trained on out: its held-out share, or validation.

The held-out share is drawn again from the run's settings. The manifest's hash shows whether the
photos are the same; other photos are refused. RUN/run.json knows which photos were trained on: in
another folder, or without the record of splits, a split that is made may hold some of them.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from train.errors import UsageError
from train.files import read_json
from train.photos.manifest import Manifest
from train.photos.splits import hold_out, labelled_split
from train.runs.folder import RECORD
from train.runs.model import SavedModel, TrainedModel

VALIDATION, HOLDOUT = "validation", "holdout"

TRAINED_ON = "trained_on"  # a field of run.json
_MARK = 12  # hexadecimal digits of a photo's SHA-256


def unseen_split(trained: TrainedModel | SavedModel) -> str:
    """Where a run's unseen photos come from: `holdout` if it held any out, else `validation`."""
    return HOLDOUT if trained.config.data.choose_on == HOLDOUT else VALIDATION


def unseen_photos(
    trained: TrainedModel, run: Path, cache: Path, root: Path | None = None
) -> Manifest:
    """The photos that a run held out of train, or validation if it held out none.

    `root` is the folder of the photos if they were moved.

    Raises:
        UsageError: there are none, or the photos differ from those that the run was trained on.
    """
    return named_photos(trained, run, unseen_split(trained), cache, root)


def named_photos(
    trained: TrainedModel, run: Path, split: str, cache: Path, root: Path | None = None
) -> Manifest:
    """The photos of a split, or with `holdout` those that the run held out.

    Those that the run was trained on are left out of every split but train.

    Raises:
        UsageError: as `unseen_photos`, or none is left.
    """
    if split == HOLDOUT:
        return held_out_photos(trained, run, cache, root)
    data = trained.config.data
    found = labelled_split(root or data.data, split, cache, trained.classes, like=data)
    return found if split == "train" else _unseen(found, run, split)


def marks(photos: Manifest) -> str:
    """What run.json keeps of the photos that were trained on: the first digits of each hash."""
    return "".join(sorted({photo.sha256[:_MARK] for photo in photos.photos}))


def _unseen(found: Manifest, run: Path, split: str) -> Manifest:
    """The photos that the run was not trained on; all, if an older version wrote the run."""
    record = run / RECORD
    kept = read_json(record).get(TRAINED_ON, "") if record.is_file() else ""
    known = {kept[at : at + _MARK] for at in range(0, len(kept), _MARK)}
    unseen = [photo for photo in found.photos if photo.sha256[:_MARK] not in known]
    if not unseen:
        raise UsageError(
            f"{found.root}: {run} was trained on every photo of {split}: give others, --data DIR."
        )
    if left_out := len(found.photos) - len(unseen):
        tqdm.write(f"{split}: left out {left_out} photos that {run} was trained on")
    return found.of(unseen)


def held_out_photos(
    trained: TrainedModel, run: Path, cache: Path, root: Path | None = None
) -> Manifest:
    """The photos that a run kept out of training, drawn again from its settings.

    Searches `root`, if given, then the folder that the run was trained on.

    Raises:
        UsageError: the run held nothing out, or its photos are in neither folder.
    """
    config = trained.config.data
    if config.choose_on != HOLDOUT:
        raise UsageError(
            f"{run} held no photos out: train it with --choose-on holdout, or give another --split."
        )
    folders = list(dict.fromkeys([root or config.data, config.data]))
    for folder in folders:
        with suppress(UsageError):  # it is not there, or has no train
            manifest = labelled_split(folder, "train", cache, trained.classes, like=config)
            if manifest.sha256() == trained.manifest_sha256:
                return hold_out(manifest, config.holdout, config.holdout_seed)[1]
    raise _not_found(folders, run)


def _not_found(folders: Sequence[Path], run: Path) -> UsageError:
    found = " nor ".join(map(str, folders))
    holds = f"Neither {found} holds" if len(folders) > 1 else f"{found} does not hold"
    return UsageError(
        f"{holds} the photos that {run} was trained on, so its held-out photos cannot be found. "
        "If the photos were moved, give their folder, --data DIR."
    )


def trained_photos(
    trained: TrainedModel, run: Path, cache: Path, root: Path | None = None
) -> Manifest:
    """The photos of train that the run was trained on: all except its held-out share."""
    train = named_photos(trained, run, "train", cache, root)
    if unseen_split(trained) != HOLDOUT:
        return train
    return without(train, held_out_photos(trained, run, cache, root))


def without(manifest: Manifest, others: Manifest) -> Manifest:
    """The photos whose content is not among the others'."""
    known = {photo.sha256 for photo in others.photos}
    return manifest.of(photo for photo in manifest.photos if photo.sha256 not in known)
