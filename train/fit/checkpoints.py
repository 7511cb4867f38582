"""The state of a training: what `--resume` needs, which epoch is kept, and the record run.json."""

import math
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from train.config import ChooseBy, FitConfig, from_json, to_json
from train.errors import CheckFailedError, UsageError
from train.files import read_json, require_writable, write_json
from train.networks.transfer import Network
from train.photos.manifest import Manifest
from train.runs.command import fit_command
from train.runs.folder import (
    CONFIG,
    LAST,
    MODEL,
    RECORD,
    damaged,
    load_checkpoint,
    save_checkpoint,
)
from train.runs.model import FORMAT, Epoch, refuse_old_kinds, require_format
from train.runs.photos import TRAINED_ON, marks

PACKAGES = ("torch", "torchvision", "accelerate", "numpy", "pillow", "onnx", "onnxruntime")


@dataclass(slots=True)
class TrainingState:
    """All that a training ends with, except what is drawn from the seed and the epoch.

    The network's frozen weights are in it, too: the file that they came from may change.
    """

    network: Network
    optimizer: Any
    schedule: LRScheduler
    average: AveragedModel | None
    scaler: Any
    history: list[Epoch]

    def _parts(self) -> dict[str, Any]:
        parts = {
            "trained": self.network,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "average": self.average,
            "scaler": self.scaler,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def state_dict(self) -> dict[str, Any]:
        """The state as tensors and plain values."""
        states = {name: part.state_dict() for name, part in self._parts().items()}
        return {"format": FORMAT, "history": self.history, **states}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, except the network, whose weights come first."""
        for name, part in self._parts().items():
            if part is not self.network:
                part.load_state_dict(state[name])
        self.history[:] = state["history"]


def open_run(config: FitConfig, *, first: bool) -> None:
    """Create the run's folder, or check that the run in it can be resumed with these settings.

    Raises:
        UsageError: the folder already has a run, it or the cache is not writable, or `--resume`
            comes with different settings.
    """
    require_writable(config.out, "--out")
    require_writable(config.data.cache, "--cache")
    saved = config.out / CONFIG
    settings = to_json(replace(config, resume=False))
    begun = (config.out / LAST).is_file() or (config.out / MODEL).is_file()
    if begun:
        _refuse_to_train_over(config.out)
    if begun and not config.resume:
        raise UsageError(
            f"{config.out} already has a run: continue it (--resume) or give another --out."
        )
    if begun:
        # Settings that an older version did not have are at their defaults.
        before = to_json(from_json(FitConfig, read_json(saved)))
        _refuse_changes(before, settings, saved)
    elif first:
        write_json(saved, settings)


def _refuse_to_train_over(run: Path) -> None:
    """Raise UsageError if a trained run has lost the checkpoint that resuming needs."""
    if (run / LAST).is_file() or not (run / RECORD).is_file():
        return  # without a record, it was stopped in its first epoch
    refuse_old_kinds(run / RECORD, read_json(run / RECORD))
    raise UsageError(
        f"{run / LAST} is missing, so training would start again and replace the run's "
        f"{MODEL}. Restore it from a copy, or give another --out."
    )


# Settings that may change when a run is resumed: where files lie and how fast they are read.
_FREE = frozenset(
    {"out", "data.data", "data.table", "data.cache", "data.workers", "threads", "tracker"}
)


def _refuse_changes(before: dict[str, Any], now: dict[str, Any], saved: Path) -> None:
    old, new = flat(before), flat(now)
    if new["epochs"] > old["epochs"]:
        raise UsageError(
            f"--epochs is {new['epochs']}, but the run was started with {old['epochs']} ({saved}), "
            "which its learning rates were laid out for. Train on from its weights in a new run: "
            f"--start {now['out']} with another --out, and without --resume."
        )
    for name in sorted((old.keys() | new.keys()) - _FREE):
        if old.get(name) != new.get(name):
            flag = "--" + name.rpartition(".")[2].replace("_", "-")
            raise UsageError(
                f"{flag} is {new.get(name)}, but the run was started with {old.get(name)} "
                f"({saved}). Give the same value, or another --out."
            )


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A config's JSON values without nesting, as `data.cache`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def save_last(run: Path, state: TrainingState, manifest: Manifest) -> None:
    """Write the checkpoint that resuming needs, whole or not at all."""
    photos = {"manifest_sha256": manifest.sha256()}
    save_checkpoint(run / LAST, state.state_dict() | photos)


def read_last(config: FitConfig, manifest: Manifest) -> dict[str, Any] | None:
    """The last complete epoch of a run that is resumed; None if the training starts at the first.

    Raises:
        UsageError: the checkpoint is damaged, has another format, or belongs to other photos.
    """
    file = config.out / LAST
    if not config.resume or not file.is_file():
        return None
    saved = load_checkpoint(file)
    require_format(file, saved)
    # With other photos, others would be held out: training photos would be measured on.
    if saved.get("manifest_sha256", manifest.sha256()) != manifest.sha256():
        raise UsageError(
            f"The photos in {manifest.root} are not those that {config.out} was started with: "
            "restore them, or train on these with another --out."
        )
    with restoring(config.out):
        has_frozen = any(name.startswith("backbone.") for name in saved["trained"])
    if not has_frozen:
        raise UsageError(
            f"{file} lacks the frozen weights: it was written by an older version of this code. "
            "Train again with another --out."
        )
    return saved


@contextmanager
def restoring(run: Path) -> Iterator[None]:
    """Turn what torch raises about a checkpoint's content into a UsageError that names it."""
    try:
        yield
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise UsageError(damaged(run / LAST)) from error


def require_finite(entry: dict[str, Any], kept: nn.Module, out: Path) -> None:
    """Raise CheckFailedError if a loss of the epoch or a weight is not finite.

    Called before the epoch is saved, so that the run's folder keeps the model before it.
    """
    losses = {
        name: entry[key]
        for name, key in (("train loss", "train_loss"), ("validation loss", "validation_loss"))
        if key in entry
    }
    floats = (value for value in kept.state_dict().values() if value.is_floating_point())
    if all(map(math.isfinite, losses.values())) and all(bool(v.isfinite().all()) for v in floats):
        return
    found = ", ".join(f"{name} {loss:.4g}" for name, loss in losses.items())
    before = out / MODEL
    left = f"{before} is the best before it" if before.is_file() else "No model was written"
    raise CheckFailedError(
        f"the training has diverged: after epoch {entry['epoch']}, losses or weights are not "
        f"finite ({found}). {left}. Train again with a lower --lr and another --out."
    )


def is_kept(config: FitConfig, history: list[Epoch]) -> bool:
    """Whether the newest epoch's weights become the run's model."""
    if config.keep == "last" or config.data.choose_on == "nothing":
        return True
    return bool(best_epoch(history, config.choose_by) is history[-1])


def best_epoch(history: list[Epoch], choose_by: ChooseBy = "accuracy") -> Epoch:
    """The best epoch; among equals the one with the lowest loss, then the first."""
    if choose_by == "loss":
        return min(history, key=lambda e: float(e["validation_loss"]))
    return max(history, key=lambda e: (e[f"validation_{choose_by}"], -e["validation_loss"]))


def is_model_lost(config: FitConfig, history: list[Epoch]) -> bool:
    """Whether the run's model is missing or damaged, and can be written from the last epoch.

    Raises:
        UsageError: it is missing or damaged, and was of an earlier epoch, which is lost.
    """
    if not history:
        return False
    try:
        load_checkpoint(config.out / MODEL)
    except UsageError as error:
        if is_kept(config, history):
            return True
        best = best_epoch(history, config.choose_by)
        raise UsageError(
            f"{config.out / MODEL} is missing or damaged, and {LAST} has the weights of "
            f"epoch {history[-1]['epoch']}, not those of epoch {best['epoch']}, which was the "
            "best. Restore it from a copy, or train again with another --out."
        ) from error
    return False


def out_of_patience(config: FitConfig, history: list[Epoch]) -> bool:
    """Whether `patience` epochs have passed without a better one."""
    if not config.patience or not history or "validation_accuracy" not in history[-1]:
        return False
    best = best_epoch(history, config.choose_by)
    return bool(history[-1]["epoch"] - best["epoch"] >= config.patience)


def save_record(
    config: FitConfig,
    manifest: Manifest,
    training: Manifest,
    choosing: Manifest | None,
    history: list[Epoch],
) -> None:
    """Write run.json: command, photos, versions, seed, and every epoch's figures."""
    write_json(
        config.out / RECORD,
        {
            "command": fit_command(config),
            "classes": list(manifest.classes),
            "manifest_sha256": manifest.sha256(),
            "photos": {
                "train": len(training.photos),
                "chosen_on": config.data.choose_on,
                "choosing": len(choosing.photos) if choosing else 0,
            },
            TRAINED_ON: marks(training),
            "versions": versions(),
            "seed": config.seed,
            "epochs": history,
        },
    )


def versions() -> dict[str, str]:
    """Versions of the packages that a model's figures may depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
