"""Runs of verbs and settings that no longer exist are refused by name."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.networks import drawn_network
from tests.training import tiny_config
from train.errors import UsageError
from train.files import write_json
from train.fit.loop import fit
from train.photos.manifest import Manifest
from train.runs.folder import MODEL, RECORD, load_checkpoint, save_checkpoint
from train.runs.model import load_model, save_model


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run that `fit` could have written, its model alone."""
    config = tiny_config(Path("photos"), Path("cache"), tmp_path / "run")
    whole = drawn_network("mobilenet_v3_small")
    photos = Manifest(Path("photos"), ("hat", "shoe", "skirt"), ())
    save_model(config, photos, whole, whole, {})
    assert load_model(config.out).classes == photos.classes
    return config.out


def change_model(run: Path, **changes: Any) -> None:
    model = load_checkpoint(run / MODEL)
    save_checkpoint(run / MODEL, model | changes)


@pytest.mark.parametrize(
    ("field", "verb"),
    [("averaged", "average"), ("pruned_to", "prune"), ("cascade", "cascade")],
)
def test_a_model_of_a_verb_that_is_gone_is_refused(field: str, verb: str, run: Path):
    change_model(run, **{field: []})
    with pytest.raises(UsageError, match=rf"model\.pt has a field `{field}`: .* by `{verb}`"):
        load_model(run)


@pytest.mark.parametrize("field", ["averaged", "pruned_to", "rule"])
@pytest.mark.parametrize("resume", [False, True])
def test_fit_does_not_go_on_with_a_run_of_a_verb_that_is_gone(
    field: str, resume: bool, run: Path, tmp_path: Path
):
    write_json(run / RECORD, {field: 1})
    before = (run / MODEL).read_bytes()
    config = tiny_config(tmp_path / "photos", tmp_path / "cache", run)
    with pytest.raises(UsageError, match=rf"run\.json has a field `{field}`.* another --out"):
        fit(replace(config, resume=resume))
    assert (run / MODEL).read_bytes() == before


@pytest.mark.parametrize(("setting", "value"), [("hidden", [16, 8]), ("head_seed", 7)])
def test_a_model_trained_with_a_setting_that_is_gone_is_refused(
    setting: str, value: Any, run: Path
):
    config = load_checkpoint(run / MODEL)["config"]
    config["network"][setting] = value
    change_model(run, config=config)
    with pytest.raises(UsageError, match=rf"model\.pt .* unknown fields: {setting}"):
        load_model(run)


def test_a_model_that_notes_the_runs_before_it_is_refused(run: Path):
    config = load_checkpoint(run / MODEL)["config"]
    change_model(run, config=config | {"started_from": []})
    with pytest.raises(UsageError, match="unknown fields: started_from"):
        load_model(run)
