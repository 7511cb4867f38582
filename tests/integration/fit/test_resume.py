"""Going on with a run: what `fit --resume` takes, and what it refuses by name."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torchvision import models

from tests.drawn import encoded, picture, write_class_folders
from tests.training import tiny_config
from train.config import FitConfig
from train.errors import UsageError
from train.files import read_json
from train.fit import checkpoints
from train.fit.loop import fit
from train.runs.folder import LAST, MODEL, RECORD, load_checkpoint, save_checkpoint
from train.runs.model import load_model


@pytest.fixture
def config(photo_cache: Path, tmp_path: Path) -> FitConfig:
    """Settings of a run of three epochs on photos of its own."""
    return tiny_config(write_class_folders(tmp_path / "data"), photo_cache, tmp_path / "run")


def stop_after(config: FitConfig, epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train, and end with the first so many epochs kept, as Ctrl+C leaves a run."""
    save_record = checkpoints.save_record

    def save_and_stop(*args) -> None:
        save_record(*args)
        if len(args[-1]) == epochs:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save_record", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            fit(config)


def test_how_photos_were_read_is_no_setting_of_the_run(config: FitConfig):
    fit(replace(config, epochs=1, data=replace(config.data, rehash=True, cache_gb=5.0)))
    saved = load_model(config.out).config.data
    assert (saved.rehash, saved.cache_gb) == (False, -1.0)


@pytest.mark.parametrize("photo", ["train/red/new.jpg", "train/mauve/new.jpg"])
def test_a_run_does_not_go_on_with_other_photos(
    config: FitConfig, monkeypatch: pytest.MonkeyPatch, photo: str
):
    config = replace(config, data=replace(config.data, choose_on="holdout", holdout=0.2))
    stop_after(config, 1, monkeypatch)
    before = (config.out / MODEL).read_bytes()
    added = config.data.data / photo
    added.parent.mkdir(exist_ok=True)
    added.write_bytes(encoded(picture("red", seed=12_345)))
    with pytest.raises(
        UsageError, match=r"photos in .*data are not those that .*run was started with"
    ):
        fit(replace(config, resume=True))
    assert (config.out / MODEL).read_bytes() == before

    added.unlink()
    if not any(added.parent.iterdir()):  # an empty class folder is refused
        added.parent.rmdir()
    fit(replace(config, resume=True))
    assert len(read_json(config.out / RECORD)["epochs"]) == 3


def test_a_run_that_did_not_note_its_photos_goes_on(
    config: FitConfig, monkeypatch: pytest.MonkeyPatch
):
    stop_after(config, 1, monkeypatch)
    last = load_checkpoint(config.out / LAST)
    save_checkpoint(config.out / LAST, {k: v for k, v in last.items() if k != "manifest_sha256"})
    fit(replace(config, resume=True))
    assert len(read_json(config.out / RECORD)["epochs"]) == 3


@pytest.mark.parametrize("source", ["weights", "start"])
def test_frozen_weights_come_from_the_checkpoint_not_from_where_they_came_once(
    source: str, config: FitConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    other = tmp_path / "other"
    if source == "weights":
        torch.manual_seed(5)
        torch.save(models.mobilenet_v3_small().state_dict(), other)
        config = replace(config, network=replace(config.network, weights=str(other)))
    else:
        fit(replace(config, out=other, seed=9, epochs=1))
        config = replace(config, start=str(other))
    fit(replace(config, out=tmp_path / "whole"))
    stop_after(config, 1, monkeypatch)
    other.rename(tmp_path / "gone")
    fit(replace(config, resume=True))
    whole, resumed = (
        load_checkpoint(run / MODEL)["weights"] for run in (tmp_path / "whole", config.out)
    )
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize("damage", [Path.unlink, cut_short])
def test_a_lost_model_is_written_again_from_the_last_epoch(
    config: FitConfig, damage: Callable[[Path], None], ema: float
):
    config = replace(config, keep="last", ema=ema)
    fit(config)
    before = load_checkpoint(config.out / MODEL)
    damage(config.out / MODEL)
    fit(replace(config, resume=True))
    after = load_checkpoint(config.out / MODEL)
    before["config"]["resume"] = True
    weights = before.pop("weights"), after.pop("weights")
    assert before == after
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("damage", [Path.unlink, cut_short])
def test_a_lost_model_of_an_earlier_epoch_is_named_with_what_to_do(
    config: FitConfig, damage: Callable[[Path], None]
):
    fit(config)
    last = load_checkpoint(config.out / LAST)
    last["history"][1]["validation_accuracy"] = 2.0
    save_checkpoint(config.out / LAST, last)
    damage(config.out / MODEL)
    with pytest.raises(UsageError, match=r"model\.pt .* epoch 3, .*epoch 2, .* another --out"):
        fit(replace(config, resume=True))


def test_a_damaged_model_is_named_with_what_writes_it_again(tiny_run: Path, tmp_path: Path):
    shutil.copy(tiny_run / MODEL, tmp_path)
    cut_short(tmp_path / MODEL)
    with pytest.raises(UsageError, match=r"model\.pt is damaged.*fit --resume") as raised:
        load_model(tmp_path)
    assert "Delete" not in str(raised.value)


def test_a_run_that_lost_what_going_on_needs_is_not_trained_over(config: FitConfig):
    fit(config)
    (config.out / LAST).unlink()
    with pytest.raises(UsageError, match=r"last\.pt .*another --out"):
        fit(replace(config, resume=True))


def test_a_run_killed_between_the_files_of_its_first_epoch_begins_anew(
    config: FitConfig, monkeypatch: pytest.MonkeyPatch
):
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save_last", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(config)
    assert sorted(path.name for path in config.out.iterdir()) == ["config.json", "model.pt"]
    fit(replace(config, resume=True))
    assert len(read_json(config.out / RECORD)["epochs"]) == 3
