"""`bundle` writes what a deployment is held to, from the checkpoint and not from the export."""

import json
from pathlib import Path

import pytest

from ops.hook.pretraffic import check, load
from serving.app import App
from serving.classifier import Classifier
from serving.settings import Settings
from tests.tampering import add_noise, write_tampered
from train.bundle import BundleConfig, bundle
from train.errors import CheckFailedError


def no_fetch(url: str, *, timeout_s: float) -> bytes:
    raise AssertionError(f"nothing here names a URL, and {url} was asked for")


@pytest.fixture
def config(tiny_run: Path, photo_cache: Path, tmp_path: Path) -> BundleConfig:
    return BundleConfig(run=tiny_run, out=tmp_path / "model", cache=photo_cache)


def test_the_bundled_model_answers_the_golden_pictures_as_the_checkpoint(config, tmp_path):
    bundle(config)
    goldens = load(tmp_path / "ops" / "hook" / "golden")
    app = App(Classifier.load(config.out / "classifier.onnx"), Settings(), no_fetch)
    assert check(goldens, lambda event: app.handle(event, "test")) == []
    assert len(goldens) == 10


def test_bundling_again_replaces_the_pictures(config, tmp_path):
    old = tmp_path / "ops" / "hook" / "golden" / "old.jpg"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"jpeg")
    bundle(config)
    assert not old.exists()


def test_an_export_that_is_not_the_checkpoint_is_refused_and_nothing_is_written(
    config, tiny_run, photo_cache, tmp_path
):
    run = tmp_path / "run"
    run.mkdir()
    for path in tiny_run.iterdir():
        (run / path.name).write_bytes(path.read_bytes())
    write_tampered(run / "classifier.onnx", run / "classifier.onnx", add_noise)
    with pytest.raises(CheckFailedError, match="not the checkpoint"):
        bundle(BundleConfig(run=run, out=tmp_path / "model", cache=photo_cache))
    assert not (tmp_path / "model").exists()
    assert not (tmp_path / "ops").exists()


def test_the_report_says_what_the_alarms_on_drift_compare_with(config):
    bundle(config)
    answers = json.loads((config.out / "report.json").read_text())["answers"]
    assert 1 / 3 < answers["mean_confidence"] <= 1
    assert answers["unsure_share"] == 0  # an uncalibrated model is never unsure
