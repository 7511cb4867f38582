"""The verb `sweep`: compare learning rates, head sizes and dropouts on a frozen backbone.

Photos in class folders in; OUT/sweep.json, OUT/sweep.md and OUT/sweep.png out. Every training has
the same number of epochs and is measured after the last one: no epoch is chosen.
"""

import itertools
import math
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from torch import nn
from tqdm import tqdm

from train.config import DataConfig, require_px, to_json
from train.errors import require
from train.files import require_writable, write_bytes, write_json, write_whole
from train.networks.backbones import open_backbone, preprocessing, require_size
from train.networks.features import cached_features
from train.networks.transfer import make_head
from train.photos import splits
from train.photos.collection import Specs
from train.photos.folders import SPLITS
from train.photos.manifest import Manifest
from train.reading import OWN_RANGE
from train.sweep import report as sweep_report
from train.sweep.comparison import SettingResult, compare
from train.sweep.heads import Rows, Setting, measure_head, train_head

JSON, MARKDOWN, PICTURE = "sweep.json", "sweep.md", "sweep.png"


@dataclass(frozen=True, slots=True)
class SweepConfig:
    """Compare heads on a frozen backbone: every combination of the values given."""

    out: Path
    """Folder of the report."""
    data: Annotated[DataConfig, tyro.conf.arg(name="")]
    backbone: str = "mobilenet_v2"
    """Name of a torchvision classification model, or timm/NAME for one of timm's."""
    weights: str = "default"
    """Starting weights: `default` downloads the library's, `none` draws random ones, or a file of
    torch or safetensors."""
    input_px: int = 0
    """Height and width of the network's input; 0 is the size of the backbone's pre-training."""
    lr: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1)
    """Learning rates of Adam."""
    inner: tuple[int, ...] = (0, 10, 100, 1000)
    """Units of a hidden layer between features and logits; 0 for none."""
    dropout: tuple[float, ...] = (0.0, 0.2, 0.5)
    """Dropout before the last layer, as shares."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each setting is trained once with each seed."""
    epochs: int = 10
    """Passes over the training photos, in each training."""
    batch: int = 32
    """Photos per step."""
    alpha: float = 0.05
    """Significance level of the comparison with the best setting."""
    threads: int = 0
    """CPU threads of torch; 0 is torch's default."""

    def __post_init__(self) -> None:
        for flag, values in (("lr", self.lr), ("inner", self.inner), ("dropout", self.dropout)):
            require(bool(values), f"--{flag}", "at least one value", "none")
            require(len(set(values)) == len(values), f"--{flag}", "each value once", values)
        require(len(set(self.seeds)) == len(self.seeds), "--seeds", "each value once", self.seeds)
        require(bool(self.seeds), "--seeds", "at least one value", "none")
        require(min(self.seeds) >= 0, "--seeds", "numbers 0 or more", self.seeds)
        rates = all(0 < lr < math.inf for lr in self.lr)
        require(rates, "--lr", "finite numbers above 0", self.lr)
        require(min(self.inner) >= 0, "--inner", "numbers 0 or more", self.inner)
        fractions = all(0 <= share < 1 for share in self.dropout)
        require(fractions, "--dropout", "numbers from 0 to below 1", self.dropout)
        require(self.data.choose_on != "nothing", "--choose-on", "validation or holdout", "nothing")
        require_px("--input-px", self.input_px or None)
        require(self.epochs >= 1, "--epochs", "a number 1 or more", self.epochs)
        require(self.batch >= 1, "--batch", "a number 1 or more", self.batch)
        require(self.threads >= 0, "--threads", "a number 0 or more", self.threads)
        require(0 < self.alpha < 1, "--alpha", "a number between 0 and 1", self.alpha)

    def settings(self) -> list[Setting]:
        """Every combination of head size, dropout and learning rate, the simplest head first."""
        heads = itertools.product(sorted(self.inner), sorted(self.dropout), sorted(self.lr))
        return [Setting(lr, inner, dropout) for inner, dropout, lr in heads]


def sweep(config: SweepConfig) -> None:
    """Train every setting with every seed, and write the comparison into `config.out`."""
    require_writable(config.out, "--out")
    require_writable(config.data.cache, "--cache")
    spec = preprocessing(config.backbone, config.input_px)
    config = replace(config, input_px=spec.height_px)
    started = time.perf_counter()
    if config.threads:
        torch.set_num_threads(config.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    manifest, training, choosing = splits.divide(config.data, _cached_for(config))
    config = replace(config, data=splits.measured(config.data, training))
    assert choosing is not None  # the config refuses `--choose-on nothing`
    make_heads, (train_rows, choosing_rows) = _frozen(config, (training, choosing), device)
    featured = time.perf_counter()
    results = _train_all(config, make_heads, train_rows, choosing_rows)
    trained = time.perf_counter()
    comparison = compare(results, config.alpha)
    record = {
        "config": to_json(config),
        "classes": list(manifest.classes),
        "manifest_sha256": manifest.sha256(),
        "photos": {"train": len(training.photos), "choosing": len(choosing.photos)},
        "versions": {"python": platform.python_version(), "torch": version("torch")},
        "device": str(device),
        "seconds": {"features": featured - started, "training": trained - featured},
        **comparison,
    }
    write_json(config.out / JSON, record)
    write_bytes(config.out / MARKDOWN, sweep_report.markdown(record, PICTURE).encode())
    write_whole(config.out / PICTURE, lambda file: sweep_report.draw(record, file))
    print(sweep_report.summary(record))
    print(f"The comparison is in {config.out / MARKDOWN} and {config.out / PICTURE}.")


def _cached_for(config: SweepConfig) -> Specs:
    """What photos are cached for; nothing while their range is not known."""
    if config.data.value_range == OWN_RANGE:
        return {}
    spec = preprocessing(config.backbone, config.input_px, config.data.levels)
    return dict.fromkeys(SPLITS, spec)


# inner units, dropout, seed -> a head with its starting weights
MakeHead = Callable[[int, float, int], nn.Sequential]


def _frozen(
    config: SweepConfig, parts: tuple[Manifest, Manifest], device: torch.device
) -> tuple[MakeHead, list[Rows]]:
    """The features of both parts, and a function that makes heads as `fit` would start them."""
    random_states = {}
    for seed in reversed(config.seeds):  # if weights are `none`, the first seed's are kept
        torch.manual_seed(seed)
        backbone, width = open_backbone(config.backbone, config.weights, config.input_px)
        random_states[seed] = torch.get_rng_state()  # building a backbone draws random numbers, too
    require_size(backbone, config.backbone, config.input_px, f"--input-px {config.input_px}")
    classes = len(parts[0].classes)

    def make(inner: int, dropout: float, seed: int) -> nn.Sequential:
        torch.set_rng_state(random_states[seed])
        return make_head(width, classes, inner=inner, dropout=dropout)

    backbone = backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    spec = preprocessing(config.backbone, config.input_px, config.data.levels)
    rows = []
    for part in parts:
        features = cached_features(backbone, part, spec, config.data.cache, device)
        labels = torch.from_numpy(part.labels())
        rows.append(Rows(torch.from_numpy(features).to(device), labels.to(device)))
    return make, rows


def _train_all(
    config: SweepConfig, make_head: MakeHead, train_rows: Rows, choosing_rows: Rows
) -> list[SettingResult]:
    """Every setting with every seed, trained and measured, in the order of `config.settings`."""
    results = []
    settings = config.settings()
    with tqdm(total=len(settings) * len(config.seeds), desc="training", unit="head") as bar:
        for setting in settings:
            rights, losses, train_accuracies = [], [], []
            for seed in config.seeds:
                head = make_head(setting.inner, setting.dropout, seed).to(train_rows.labels.device)
                train_head(
                    head,
                    train_rows,
                    lr=setting.lr,
                    seed=seed,
                    epochs=config.epochs,
                    batch=config.batch,
                )
                right, loss = measure_head(head, choosing_rows)
                rights.append(right)
                losses.append(loss)
                train_accuracies.append(float(measure_head(head, train_rows)[0].mean()))
                bar.update()
            parameters = sum(parameter.numel() for parameter in head.parameters())
            results.append(
                SettingResult(setting, parameters, np.stack(rights), losses, train_accuracies)
            )
    return results
