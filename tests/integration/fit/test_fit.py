"""Training, on drawn photos and small networks: real runs, no fakes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.drawn import write_class_folders
from tests.training import tiny_config
from train.config import ChooseBy
from train.errors import TrainError, UsageError
from train.fit import checkpoints
from train.fit.loop import fit
from train.networks.transfer import build
from train.runs.folder import LAST, MODEL, RECORD, load_checkpoint, save_checkpoint

FINE_TUNING = {
    "network": {"train_backbone": True, "dropout": 0.2},
    "augment": "strong",
    "optimizer": "adamw",
    "schedule": "onecycle",
    "ema": 0.9,
    "mixup": 0.2,
    "progressive_px": (32, 48),
    "accumulate": 2,
    "sampling": "balanced",
    "choose_by": "f1",
    "epochs": 4,
    "lr": 1e-3,
}


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = torch.load(run / MODEL, weights_only=True)["weights"]
    return weights


def same_bits(one: Path, other: Path) -> bool:
    first, second = weights_of(one), weights_of(other)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def epochs_of(run: Path) -> list[dict[str, Any]]:
    epochs: list[dict[str, Any]] = json.loads((run / RECORD).read_text())["epochs"]
    return epochs


@pytest.fixture(scope="module")
def fine_tuned(
    drawn_data: Path, photo_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("fit") / "whole"
    fit(tiny_config(drawn_data, photo_cache, out, **FINE_TUNING))
    return out


def test_a_frozen_backbone_keeps_weights_and_batchnorm_statistics(
    drawn_data: Path, photo_cache: Path, tmp_path: Path
):
    config = tiny_config(drawn_data, photo_cache, tmp_path / "run", augment="light", epochs=1)
    fit(config)
    torch.manual_seed(config.seed)
    before = build(config.network, 3).state_dict()
    after = weights_of(tmp_path / "run")
    backbone = [name for name in before if name.startswith("backbone.")]
    assert all(torch.equal(before[name], after[name]) for name in backbone)
    assert not torch.equal(before["head.0.weight"], after["head.0.weight"])


def test_cached_features_train_the_same_head_as_photos(
    drawn_data: Path, photo_cache: Path, tmp_path: Path
):
    on_features = tiny_config(drawn_data, photo_cache, tmp_path / "features", epochs=8)
    fit(on_features)
    history = epochs_of(tmp_path / "features")
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    # The model's own forward pass, on pixels, gives the accuracy measured on features.
    from train.evaluate.verb import EvaluateConfig, evaluate

    evaluate(EvaluateConfig(model=tmp_path / "features", data=drawn_data, cache=photo_cache))
    report = json.loads((tmp_path / "features" / "report.json").read_text())
    best = max(entry["validation_accuracy"] for entry in history)
    assert report["splits"]["validation"]["accuracy"] == pytest.approx(best)


def test_a_process_trains_several_times_each_with_its_own_precision(
    drawn_data: Path, photo_cache: Path, tmp_path: Path
):
    for out, precision in (("before", "no"), ("mixed", "bf16"), ("after", "no")):
        fit(tiny_config(drawn_data, photo_cache, tmp_path / out, precision=precision))
    assert same_bits(tmp_path / "before", tmp_path / "after")
    assert not same_bits(tmp_path / "before", tmp_path / "mixed")


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(
    fine_tuned: Path, drawn_data: Path, photo_cache: Path, tmp_path: Path
):
    config = tiny_config(drawn_data, photo_cache, tmp_path / "again", **FINE_TUNING)
    fit(config)
    assert same_bits(fine_tuned, tmp_path / "again")
    fit(replace(config, out=tmp_path / "other", seed=1))
    assert not same_bits(fine_tuned, tmp_path / "other")


def start_in_a_process(out: Path, data: Path, cache: Path, *more: str) -> subprocess.Popen[str]:
    flags = (
        "--backbone mobilenet_v3_small --weights none --input-px 32 --train-backbone --dropout 0.2 "
        "--augment strong --optimizer adamw --schedule onecycle --ema 0.9 --mixup 0.2 "
        "--progressive-px 32 48 --epochs 4 --lr 1e-3 --batch 10 --threads 1 --workers 0 "
        "--accumulate 2 --sampling balanced --choose-by f1"
    ).split()
    where = ["--data", str(data), "--cache", str(cache), "--out", str(out)]
    return subprocess.Popen(
        [sys.executable, "-m", "train", "fit", *where, *flags, *more],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_epochs(run: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Watch the run's record, which appears whole, until `count` epochs are in it."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if (run / RECORD).is_file() and len(epochs_of(run)) >= count:
            return
        if process.poll() is not None:
            raise AssertionError(f"fit ended early: {process.communicate()[1]}")
        os.sched_yield()
    raise AssertionError(f"{count} epochs did not pass in two minutes")


@pytest.mark.slow
def test_a_run_killed_and_resumed_ends_with_the_same_bits(
    fine_tuned: Path, drawn_data: Path, photo_cache: Path, tmp_path: Path
):
    killed = tmp_path / "killed"
    process = start_in_a_process(killed, drawn_data, photo_cache)
    wait_for_epochs(killed, 2, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(epochs_of(killed)) < 4, "it was to be killed before it was done"

    resumed = start_in_a_process(killed, drawn_data, photo_cache, "--resume")
    _, stderr = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, stderr
    assert len(epochs_of(killed)) == 4
    assert same_bits(fine_tuned, killed)


def test_a_full_disk_is_named_and_leaves_the_last_good_checkpoint(tmp_path: Path):
    file = tmp_path / "last.pt"
    save_checkpoint(file, {"epoch": 1})

    class FullDisk:
        """Pickles into a disk that fills up after a while."""

        def __reduce__(self):
            raise OSError(28, "No space left on device")

    with pytest.raises(TrainError, match="No space left on device"):
        save_checkpoint(file, {"epoch": 2, "rest": FullDisk()})
    assert load_checkpoint(file) == {"epoch": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_a_truncated_checkpoint_is_named_and_the_run_is_left_as_it_is(
    fine_tuned: Path, drawn_data: Path, photo_cache: Path, tmp_path: Path
):

    run = tmp_path / "run"
    shutil.copytree(fine_tuned, run)
    whole = (run / LAST).read_bytes()
    (run / LAST).write_bytes(whole[: len(whole) // 2])
    config = tiny_config(drawn_data, photo_cache, run, **FINE_TUNING)
    with pytest.raises(UsageError, match=r"last\.pt is damaged"):
        fit(replace(config, resume=True))
    assert same_bits(fine_tuned, run)


def test_a_folder_with_a_run_is_not_trained_over(
    fine_tuned: Path, drawn_data: Path, photo_cache: Path
):
    with pytest.raises(UsageError, match="already has a run"):
        fit(tiny_config(drawn_data, photo_cache, fine_tuned, **FINE_TUNING))


def test_resuming_with_another_setting_names_it(
    fine_tuned: Path, drawn_data: Path, photo_cache: Path
):
    config = tiny_config(drawn_data, photo_cache, fine_tuned, **FINE_TUNING)
    with pytest.raises(UsageError, match=r"--lr is 0\.002, but the run was started with 0\.001"):
        fit(replace(config, lr=2e-3, resume=True))


def test_more_epochs_than_the_run_was_started_with_name_the_way(
    fine_tuned: Path, drawn_data: Path, photo_cache: Path
):
    config = tiny_config(drawn_data, photo_cache, fine_tuned, **FINE_TUNING)
    with pytest.raises(UsageError, match=rf"--epochs is 9, .* --start {fine_tuned} with another"):
        fit(replace(config, epochs=9, resume=True))


def test_small_batches_added_train_as_one_large_batch(
    drawn_data: Path, photo_cache: Path, tmp_path: Path
):
    # 30 photos: 20, then 10. Adam would make much of rounding where a gradient is almost 0.
    shared = {"optimizer": "sgd", "schedule": "onecycle", "clip_norm": 0.1, "ema": 0.5}
    shared |= {"keep": "last"}
    for name, sizes in (("large", {"batch": 20}), ("small", {"batch": 5, "accumulate": 4})):
        fit(tiny_config(drawn_data, photo_cache, tmp_path / name, **shared, **sizes))
    large, small = weights_of(tmp_path / "large"), weights_of(tmp_path / "small")
    for name, weights in large.items():
        torch.testing.assert_close(small[name], weights, rtol=1e-4, atol=1e-5)
    rates = [[e["lr"] for e in epochs_of(tmp_path / name)] for name in ("large", "small")]
    assert rates[0] == pytest.approx(rates[1])


@pytest.mark.parametrize(("choose_by", "best"), [("accuracy", 1), ("loss", 2), ("f1", 3)])
def test_the_best_epoch_is_by_what_was_chosen(choose_by: ChooseBy, best: int):
    figures = [(0.9, 0.6, 0.5), (0.8, 0.4, 0.6), (0.8, 0.5, 0.7), (0.8, 0.5, 0.7)]
    history = [
        {"epoch": i, "validation_accuracy": a, "validation_loss": b, "validation_f1": c}
        for i, (a, b, c) in enumerate(figures, start=1)
    ]
    assert checkpoints.best_epoch(history, choose_by)["epoch"] == best


def test_f1_counts_each_class_the_same(drawn_data: Path, photo_cache: Path, tmp_path: Path):
    fit(tiny_config(drawn_data, photo_cache, tmp_path, epochs=1))
    from train.evaluate.verb import EvaluateConfig, evaluate

    evaluate(EvaluateConfig(model=tmp_path, data=drawn_data, cache=photo_cache))
    report = json.loads((tmp_path / "report.json").read_text())["splits"]["validation"]
    assert epochs_of(tmp_path)[0]["validation_f1"] == pytest.approx(report["macro_f1"])


def test_patience_stops_a_run_that_no_longer_improves(
    drawn_data: Path, photo_cache: Path, tmp_path: Path
):
    config = tiny_config(drawn_data, photo_cache, tmp_path / "run", lr=1e-9, epochs=9, patience=2)
    fit(config)
    history = epochs_of(tmp_path / "run")
    assert len(history) < 9
    assert history[-1]["epoch"] - checkpoints.best_epoch(history)["epoch"] == 2


def test_the_kept_model_is_the_best_epoch_not_the_newest(
    drawn_data: Path, photo_cache: Path, tmp_path: Path
):
    fit(tiny_config(drawn_data, photo_cache, tmp_path / "run", lr=0.3, epochs=6))
    history = epochs_of(tmp_path / "run")
    kept = torch.load(tmp_path / "run" / MODEL, weights_only=True)["epoch"]
    assert kept == checkpoints.best_epoch(history)
    assert kept["validation_accuracy"] == max(e["validation_accuracy"] for e in history)


def test_choosing_on_a_held_out_share_never_reads_the_validation_split(
    photo_cache: Path, tmp_path: Path
):
    data = write_class_folders(tmp_path / "data", train=10, validation=1)
    for photo in (data / "validation").rglob("*.jpg"):
        photo.unlink()
    reading = {"choose_on": "holdout", "holdout": 0.2}
    fit(tiny_config(data, photo_cache, tmp_path / "run", reading=reading))
    record = json.loads((tmp_path / "run" / RECORD).read_text())
    assert record["photos"] == {"train": 24, "chosen_on": "holdout", "choosing": 6}


def test_an_unreadable_photo_is_left_out_or_stops_a_strict_run(
    photo_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    data = write_class_folders(tmp_path / "data")
    broken = data / "train/red/broken.jpg"
    broken.write_bytes((data / "train/red/0.jpg").read_bytes()[:300])
    fit(tiny_config(data, photo_cache, tmp_path / "run", epochs=1))
    assert "an unreadable photo: train/red/broken.jpg: " in capsys.readouterr().out
    record = json.loads((tmp_path / "run" / RECORD).read_text())
    assert record["photos"]["train"] == 30

    named = r"passed over: 1 unreadable, such as train/red/broken\.jpg; --strict allows none"
    with pytest.raises(UsageError, match=named):
        fit(tiny_config(data, photo_cache, tmp_path / "strict", reading={"strict": True}))


def test_tensorboard_events_are_written_when_asked_for(
    drawn_data: Path, photo_cache: Path, tmp_path: Path
):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fit(tiny_config(drawn_data, photo_cache, tmp_path / "run", tracker="tensorboard"))
    events = EventAccumulator(str(tmp_path / "run" / "photo-classifier"))
    events.Reload()
    losses = [event.value for event in events.Scalars("train_loss")]
    assert losses == pytest.approx([e["train_loss"] for e in epochs_of(tmp_path / "run")])


def test_every_switch_of_the_loop_trains(drawn_data: Path, photo_cache: Path, tmp_path: Path):
    config = tiny_config(
        drawn_data,
        photo_cache,
        tmp_path / "run",
        augment="light",
        network={"train_backbone": True, "inner": 8, "dropout": 0.2},
        optimizer="sgd",
        schedule="cosine",
        class_weights=True,
        clip_norm=1.0,
        cutmix=1.0,
        label_smoothing=0.1,
        deterministic=True,
        keep="last",
        epochs=1,
    )
    fit(config)
    assert np.isfinite(epochs_of(tmp_path / "run")[0]["train_loss"])
    torch.use_deterministic_algorithms(False)
