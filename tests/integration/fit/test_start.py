"""Training that goes on from another run's weights: what it takes over, which runs it refuses."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.drawn import write_class_folders
from tests.training import tiny_config
from train.config import FitConfig
from train.errors import UsageError
from train.files import read_json, write_json
from train.fit.loop import fit
from train.runs.folder import CONFIG
from train.runs.model import load_model

NETWORK = {"backbone": "resnet18"}


@pytest.fixture(scope="module")
def first(
    drawn_data: Path, photo_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> FitConfig:
    """The settings of a run that has been trained, without a share of the photos."""
    reading = {"choose_on": "holdout", "holdout": 0.3}
    out = tmp_path_factory.mktemp("first") / "run"
    config = tiny_config(
        drawn_data, photo_cache, out, network=NETWORK, reading=reading, epochs=4, seed=3
    )
    fit(config)
    return config


def going_on(first: FitConfig, out: Path, **changes) -> FitConfig:
    settings: dict[str, Any] = {"start": str(first.out), "epochs": 1, "seed": 4} | changes
    return replace(first, out=out, **settings)


def test_the_first_step_is_taken_from_the_weights_of_the_run(first: FitConfig, tmp_path: Path):
    fit(going_on(first, tmp_path / "next", lr=1e-12))
    before, after = (load_model(run).network.state_dict() for run in (first.out, tmp_path / "next"))
    assert before.keys() == after.keys()
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, msg=name)
    drawn_anew = going_on(first, tmp_path / "anew", start="", lr=1e-12)
    fit(drawn_anew)
    other = load_model(drawn_anew.out).network.state_dict()
    assert (other["head.0.weight"] - before["head.0.weight"]).abs().max() > 1e-3


def test_a_start_fits_although_dropout_differs(first: FitConfig, tmp_path: Path):
    network = replace(first.network, dropout=0.3)
    fit(going_on(first, tmp_path / "next", network=network, lr=1e-12))
    before = load_model(first.out).network.state_dict()
    after = load_model(tmp_path / "next").network.state_dict()
    torch.testing.assert_close(after["head.1.weight"], before["head.0.weight"])


def test_another_head_is_refused_with_the_runs_flags(first: FitConfig, tmp_path: Path):
    network = replace(first.network, inner=8)
    with pytest.raises(UsageError, match=r"has --backbone resnet18 --inner 0, which does not fit"):
        fit(going_on(first, tmp_path / "next", network=network))


def test_a_run_with_a_start_is_resumed(first: FitConfig, tmp_path: Path):
    whole, parts = (
        going_on(first, tmp_path / "whole", epochs=2),
        going_on(first, tmp_path / "parts", epochs=2),
    )
    fit(whole)
    fit(replace(parts, epochs=1, out=tmp_path / "begun"))
    shutil.copytree(tmp_path / "begun", parts.out)
    saved = read_json(parts.out / CONFIG)
    write_json(parts.out / CONFIG, saved | {"epochs": 2})
    fit(replace(parts, resume=True))
    one, other = (load_model(config.out).network for config in (whole, parts))
    assert all(
        torch.equal(a, b)
        for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"choose_on": "nothing", "holdout": 0.1},
        {"choose_on": "holdout", "holdout": 0.2},
        {"choose_on": "holdout", "holdout": 0.3, "holdout_seed": 1},
    ],
)
def test_a_start_trained_on_the_held_out_photos_is_refused(
    changes: dict[str, Any], first: FitConfig, tmp_path: Path
):
    seen = replace(first, out=tmp_path / "seen", epochs=1, data=replace(first.data, **changes))
    fit(seen)
    with pytest.raises(UsageError, match=r"--start .*seen has trained on photos that"):
        fit(going_on(first, tmp_path / "next", start=str(seen.out)))


def test_all_of_train_may_follow_on_a_share_of_it(first: FitConfig, tmp_path: Path):
    everything = replace(first.data, choose_on="nothing", holdout=0.1)
    fit(going_on(first, tmp_path / "next", data=everything))
    assert load_model(tmp_path / "next").config.data.held_out is None


def test_other_classes_are_refused_by_name(first: FitConfig, tmp_path: Path):
    others = write_class_folders(tmp_path / "photos")
    for split in ("train", "validation"):
        shutil.rmtree(others / split / "red")
    other = replace(first.data, data=others)
    with pytest.raises(UsageError, match=r"knows the classes blue, green, red, but .*blue, green"):
        fit(going_on(first, tmp_path / "next", data=other))


def test_another_shape_of_network_is_refused(first: FitConfig, tmp_path: Path):
    wider = replace(first.network, inner=8)
    with pytest.raises(UsageError, match=r"--start .* does not fit the network asked for"):
        fit(going_on(first, tmp_path / "next", network=wider))


def test_a_missing_run_is_named(first: FitConfig, tmp_path: Path):
    with pytest.raises(UsageError, match="nowhere"):
        fit(going_on(first, tmp_path / "next", start="nowhere"))
