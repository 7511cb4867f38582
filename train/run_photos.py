"""A run in, its photos out: those that it was trained on, and those that it held out.

The hash of the names and contents tells whether they are the same; other photos are refused.
"""

from collections.abc import Sequence
from pathlib import Path

from train import data
from train.config import DataConfig
from train.data import Manifest
from train.errors import UsageError
from train.saved import Trained


def training_photos(config: DataConfig, trained: Trained, run: Path) -> Manifest:
    """The photos that a run was trained on, found as `config` says.

    Raises:
        UsageError: its folder holds others.
    """
    manifest, training, _ = data.divide(config)
    if manifest.sha256() != trained.manifest_sha256:
        raise _not_found([config.data], run)
    return training


def held_out_photos(trained: Trained, run: Path, cache: Path, root: Path | None = None) -> Manifest:
    """The photos that a run kept out of training, drawn again from its settings.

    They are looked for in `root`, if it is given, and where the run was trained.

    Raises:
        UsageError: the run held nothing out, or its photos are in neither folder.
    """
    config = trained.config.data
    if config.choose_on != "holdout":
        raise UsageError(
            f"{run} held no photos out. Train the same recipe with --choose-on holdout and name "
            "that run."
        )
    folders = list(dict.fromkeys([root or config.data, config.data]))
    for folder in folders:
        if (folder / "train").is_dir():
            scanned = data.scan(folder, ("train",))
            manifest = data.without_unreadable(scanned, cache, strict=False)
            if manifest.sha256() == trained.manifest_sha256:
                return data.hold_out(manifest, config.holdout, config.holdout_seed)[1]
    raise _not_found(folders, run, ", so that those it held out cannot be told from the others")


def _not_found(folders: Sequence[Path], run: Path, so_that: str = "") -> UsageError:
    found = " nor ".join(map(str, folders))
    holds = f"Neither {found} holds" if len(folders) > 1 else f"{found} does not hold"
    return UsageError(
        f"{holds} the photos that {run} was trained on{so_that}. If they were moved unchanged, "
        "name their folder, --data DIR."
    )
