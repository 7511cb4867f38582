"""What a run keeps of its training: the model, what going on needs, and the record for people."""

import math
import platform
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from train.config import FitConfig, from_json, to_json
from train.errors import CheckFailedError, UsageError
from train.files import read_json, require_writable, write_json
from train.photos.manifest import Manifest
from train.runs import folder as runs
from train.runs.command import fit_command
from train.runs.model import FORMAT, Epoch, refuse_old_kinds

PACKAGES = ("torch", "torchvision", "accelerate", "numpy", "pillow", "onnx", "onnxruntime")


@dataclass(slots=True)
class TrainingState:
    """All that changes while a run trains, but what the seed and the epoch's number give anew."""

    trained: nn.Module
    optimizer: Any
    schedule: LRScheduler
    average: AveragedModel | None
    scaler: Any
    history: list[Epoch]

    def _parts(self) -> dict[str, Any]:
        parts = {
            "trained": self.trained,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "average": self.average,
            "scaler": self.scaler,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def state_dict(self) -> dict[str, Any]:
        """Everything as tensors and plain values."""
        states = {name: part.state_dict() for name, part in self._parts().items()}
        return {"format": FORMAT, "history": self.history, **states}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over everything that `state_dict` gave."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.history[:] = state["history"]


def open_run(config: FitConfig, *, first: bool) -> None:
    """Make the run's folder, or check that going on with it is what its settings mean.

    Raises:
        UsageError: the folder holds another run or cannot be written into, or `--resume` comes
            with other settings.
    """
    require_writable(config.out, "--out")
    saved = config.out / runs.CONFIG
    settings = to_json(replace(config, resume=False))
    begun = (config.out / runs.LAST).is_file() or (config.out / runs.MODEL).is_file()
    if begun:
        _refuse_to_train_over(config.out)
    if begun and not config.resume:
        raise UsageError(
            f"{config.out} holds a run already: go on with it (--resume) or give another --out."
        )
    if begun:
        # A setting that the run's version of this code did not have is at its default.
        before = to_json(from_json(FitConfig, read_json(saved)))
        _refuse_changes(before, settings, saved)
    elif first:
        write_json(saved, settings)


def _refuse_to_train_over(run: Path) -> None:
    """Raises UsageError where a run is done and there is nothing that training could go on from."""
    if (run / runs.LAST).is_file() or not (run / runs.RECORD).is_file():
        return  # without a record it was stopped in its first epoch
    refuse_old_kinds(run / runs.RECORD, read_json(run / runs.RECORD))
    raise UsageError(
        f"{run / runs.LAST} is missing, without which training would begin anew over the run's "
        f"{runs.MODEL}. Restore it from a copy, or give another --out."
    )


# What may differ between a run and its resumption: where things lie and how fast they are read.
_FREE = frozenset({"out", "data.data", "data.cache", "data.workers", "threads", "tensorboard"})


def _refuse_changes(before: dict[str, Any], now: dict[str, Any], saved: Path) -> None:
    old, new = _flat(before), _flat(now)
    for name in sorted((old.keys() | new.keys()) - _FREE):
        if old.get(name) != new.get(name):
            flag = "--" + name.rpartition(".")[2].replace("_", "-")
            raise UsageError(
                f"{flag} is {new.get(name)}, but the run was started with {old.get(name)} "
                f"({saved}). Give the same value, or another --out."
            )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def save_last(run: Path, state: TrainingState, manifest: Manifest) -> None:
    """Write what going on needs, whole or not at all."""
    photos = {"manifest_sha256": manifest.sha256()}
    runs.save_checkpoint(run / runs.LAST, state.state_dict() | photos)


def load_last(run: Path, state: TrainingState, manifest: Manifest) -> None:
    """Go on from the last whole epoch; a run killed in its first starts from the beginning.

    Raises:
        UsageError: the checkpoint is damaged, of another format, or of other photos.
    """
    if not (run / runs.LAST).is_file():
        return
    saved = runs.load_checkpoint(run / runs.LAST)
    if saved.get("format") != FORMAT:
        raise UsageError(f"{run / runs.LAST} is of another version of this code: train anew.")
    # Of other photos others are held out, and what was trained on would be measured on.
    if saved.get("manifest_sha256", manifest.sha256()) != manifest.sha256():
        raise UsageError(
            f"{manifest.root} holds other photos than {run} was started with: put them back as "
            "they were, or train on these with another --out."
        )
    state.load_state_dict(saved)


def require_finite(entry: dict[str, Any], kept: nn.Module, out: Path) -> None:
    """Raise CheckFailedError if a loss of the epoch, or a weight that it left, is not finite.

    Called before the epoch is saved, so that the run's folder has what was kept before it.
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
    before = out / runs.MODEL
    left = f"{before} is the model before it" if before.is_file() else "There is no model"
    raise CheckFailedError(
        f"the training has diverged: after epoch {entry['epoch']} losses or weights are not finite "
        f"({found}). {left}. Train anew with a lower --lr and another --out."
    )


def is_kept(config: FitConfig, history: list[Epoch]) -> bool:
    """Whether the newest epoch's weights become the run's model."""
    if config.keep == "last" or config.data.choose_on == "nothing":
        return True
    return bool(best_epoch(history) is history[-1])


def best_epoch(history: list[Epoch]) -> Epoch:
    """The most accurate epoch; among equals the one with the lowest loss, then the first."""
    return max(history, key=lambda e: (e["validation_accuracy"], -e["validation_loss"]))


def is_model_lost(config: FitConfig, history: list[Epoch]) -> bool:
    """Whether the run's model is gone or damaged, and the last epoch's weights are its.

    Raises:
        UsageError: it is, and those of an earlier epoch were kept, which nothing else has.
    """
    if not history:
        return False
    try:
        runs.load_checkpoint(config.out / runs.MODEL)
    except UsageError as error:
        if is_kept(config, history):
            return True
        raise UsageError(
            f"{config.out / runs.MODEL} is missing or damaged, and {runs.LAST} has the weights of "
            f"epoch {history[-1]['epoch']}, not those of epoch {best_epoch(history)['epoch']}, "
            "which were kept. Restore it from a copy, or train anew with another --out."
        ) from error
    return False


def out_of_patience(config: FitConfig, history: list[Epoch]) -> bool:
    """Whether `patience` epochs have passed without a better one."""
    if not config.patience or not history or "validation_accuracy" not in history[-1]:
        return False
    return bool(history[-1]["epoch"] - best_epoch(history)["epoch"] >= config.patience)


def save_record(
    config: FitConfig,
    manifest: Manifest,
    training: Manifest,
    choosing: Manifest | None,
    history: list[Epoch],
) -> None:
    """Write run.json: command, photos, versions, seed, and every epoch's figures."""
    write_json(
        config.out / runs.RECORD,
        {
            "command": fit_command(config),
            "classes": list(manifest.classes),
            "manifest_sha256": manifest.sha256(),
            "photos": {
                "train": len(training.photos),
                "chosen_on": config.data.choose_on,
                "choosing": len(choosing.photos) if choosing else 0,
            },
            "versions": versions(),
            "seed": config.seed,
            "epochs": history,
        },
    )


def versions() -> dict[str, str]:
    """The packages that a model's figures may depend on, by version."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
