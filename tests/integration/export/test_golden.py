"""`bundle` writes what a deployment is held to, from the checkpoint and not from the export."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from ops.hook.pretraffic import check, load
from serving.app import App
from serving.model.classifier import Classifier
from serving.settings import Settings
from tests.conftest import no_fetch
from tests.photo_folder import write_photo
from tests.tampering import add_noise, write_tampered
from train.errors import CheckFailedError, UsageError
from train.export.bundle import BundleConfig, bundle


@pytest.fixture
def config(tiny_run: Path, photo_cache: Path, tmp_path: Path) -> BundleConfig:
    return BundleConfig(run=tiny_run, out=tmp_path / "model", cache=photo_cache)


def test_the_bundled_model_answers_golden_pictures_as_the_checkpoint(config, tmp_path):
    bundle(config)
    goldens = load(tmp_path / "ops" / "hook" / "golden")
    app = App(Classifier.load(config.out / "classifier.onnx"), Settings(), no_fetch)
    assert check(goldens, lambda event: app.handle(event, "test")) == []
    assert len(goldens) == 10


def test_bundling_again_replaces_the_pictures(config, tmp_path):
    golden, others = tmp_path / "ops" / "hook" / "golden", tmp_path / "others"
    write_photo(others / "other.jpg")
    bundle(replace(config, pictures=others))
    bundle(config)
    assert not (golden / "other.jpg").exists()
    assert len(list(golden.glob("*.jpg"))) == len(load(golden))


def test_a_golden_folder_with_other_pictures_is_refused(config, tmp_path):
    golden = tmp_path / "album"
    photo = write_photo(golden / "holiday.jpg")
    before = photo.read_bytes()
    with pytest.raises(UsageError, match=r"holiday\.jpg.*--golden"):
        bundle(replace(config, golden=golden))
    assert photo.read_bytes() == before
    assert not config.out.exists()


def test_a_photo_put_into_the_golden_folder_is_not_deleted(config, tmp_path):
    golden = tmp_path / "ops" / "hook" / "golden"
    bundle(config)
    photo = write_photo(golden / "mine.png")
    with pytest.raises(UsageError, match=r"mine\.png"):
        bundle(config)
    assert photo.is_file()


def test_pictures_that_an_interrupted_bundle_left_are_no_ones_loss(config, tmp_path):
    golden = tmp_path / "ops" / "hook" / "golden"
    bundle(config)
    (golden / "expectations.json").unlink()
    bundle(config)
    assert len(load(golden)) == 10


def test_the_folder_of_the_pictures_is_not_taken_for_the_golden_ones(config, tmp_path):
    pictures = tmp_path / "pictures"
    write_photo(pictures / "one.jpg")
    (tmp_path / "link").symlink_to(pictures)
    with pytest.raises(UsageError, match="--pictures"):
        bundle(replace(config, pictures=pictures, golden=tmp_path / "link"))
    assert [path.name for path in pictures.iterdir()] == ["one.jpg"]
    assert not config.out.exists()


def test_a_list_that_names_a_file_outside_the_folder_does_not_delete_it(config, tmp_path):
    golden, keep = tmp_path / "album", write_photo(tmp_path / "keep.jpg")
    golden.mkdir()
    (golden / "expectations.json").write_text('{"pictures": [{"file": "../keep.jpg"}]}')
    bundle(replace(config, golden=golden))
    assert keep.is_file()


@pytest.mark.parametrize("listed", ['["keep.jpg"]', "{", "{}", '{"pictures": 1}'])
def test_a_list_that_bundle_did_not_write_is_refused(config, tmp_path, listed: str):
    golden = tmp_path / "album"
    golden.mkdir()
    (golden / "expectations.json").write_text(listed)
    with pytest.raises(UsageError, match=r"expectations\.json is"):
        bundle(replace(config, golden=golden))
    assert not config.out.exists()


def test_an_export_that_differs_from_the_checkpoint_is_refused(
    config, tiny_run, photo_cache, tmp_path
):
    run = tmp_path / "run"
    run.mkdir()
    for path in tiny_run.iterdir():
        (run / path.name).write_bytes(path.read_bytes())
    write_tampered(run / "classifier.onnx", run / "classifier.onnx", add_noise)
    with pytest.raises(CheckFailedError, match="differs from the checkpoint"):
        bundle(BundleConfig(run=run, out=tmp_path / "model", cache=photo_cache))
    assert not (tmp_path / "model").exists()
    assert not (tmp_path / "ops").exists()


def test_the_stacks_parameters_are_the_reports_figures(config):
    bundle(config)
    report = json.loads((config.out / "report.json").read_text())
    parameters = yaml.safe_load((config.out / "parameters.yaml").read_text())
    assert parameters == {
        "ModelName": report["model"],
        "ReportConfidence": pytest.approx(report["answers"]["mean_confidence"], abs=5e-4),
        "ReportUnfamiliarShare": pytest.approx(report["answers"]["unfamiliar_share"], abs=5e-4),
    }


def test_the_report_says_what_the_alarms_on_drift_compare_with(config):
    bundle(config)
    answers = json.loads((config.out / "report.json").read_text())["answers"]
    assert 1 / 3 < answers["mean_confidence"] <= 1
    assert answers["unsure_share"] >= answers["unfamiliar_share"]
