"""A run in, the photos that its network was not trained on out: those that it held out, or those of
validation.

What a run held out is drawn again from its settings. The hash of the names and contents tells
whether they are the same photos; others are refused.
"""

from collections.abc import Sequence
from pathlib import Path

from train.errors import UsageError
from train.photos.manifest import Manifest, scan
from train.photos.pixels import without_unreadable
from train.photos.splits import hold_out, labelled_split
from train.runs.model import TrainedModel

VALIDATION, HOLDOUT = "validation", "holdout"


def unseen_split(trained: TrainedModel) -> str:
    """Where a run's unseen photos are from: `holdout` if it held any out, else `validation`."""
    return HOLDOUT if trained.config.data.choose_on == HOLDOUT else VALIDATION


def unseen_photos(
    trained: TrainedModel, run: Path, cache: Path, root: Path | None = None
) -> Manifest:
    """The photos that a run held out of train; those of validation where it held out none.

    `root` is where the photos lie now, if they were moved.

    Raises:
        UsageError: there are none, or the folder holds other photos than the run was trained on.
    """
    if unseen_split(trained) == HOLDOUT:
        return held_out_photos(trained, run, cache, root)
    return labelled_split(root or trained.config.data.data, VALIDATION, cache, trained.classes)


def held_out_photos(
    trained: TrainedModel, run: Path, cache: Path, root: Path | None = None
) -> Manifest:
    """The photos that a run kept out of training, drawn again from its settings.

    They are looked for in `root`, if it is given, and where the run was trained.

    Raises:
        UsageError: the run held nothing out, or its photos are in neither folder.
    """
    config = trained.config.data
    if config.choose_on != HOLDOUT:
        raise UsageError(
            f"{run} held no photos out: train it with --choose-on holdout, or name another split."
        )
    folders = list(dict.fromkeys([root or config.data, config.data]))
    for folder in folders:
        if (folder / "train").is_dir():
            scanned = scan(folder, ("train",))
            manifest = without_unreadable(scanned, cache, strict=False)
            if manifest.sha256() == trained.manifest_sha256:
                return hold_out(manifest, config.holdout, config.holdout_seed)[1]
    raise _not_found(folders, run)


def _not_found(folders: Sequence[Path], run: Path) -> UsageError:
    found = " nor ".join(map(str, folders))
    holds = f"Neither {found} holds" if len(folders) > 1 else f"{found} does not hold"
    return UsageError(
        f"{holds} the photos that {run} was trained on, so that those it held out cannot be told "
        "from the others. If they were moved unchanged, name their folder, --data DIR."
    )
