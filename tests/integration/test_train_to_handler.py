"""Drawn photos -> fit -> export -> bundle -> handler: the whole way, with nothing faked."""

import base64
import importlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest

from serving.app import App
from serving.model.classifier import Classifier
from serving.model.contract import METADATA_KEY
from serving.settings import Settings
from tests.conftest import no_fetch
from tests.drawn import write_class_folders
from tests.photo_folder import manifest_of
from tests.training import tiny_config
from train.__main__ import main
from train.errors import UsageError
from train.evaluate.verb import EvaluateConfig, evaluate
from train.export.bundle import BundleConfig, bundle
from train.export.onnx import ExportConfig, export
from train.files import read_json
from train.fit.loop import fit


@pytest.fixture(scope="module")
def bundled(tiny_run: Path, photo_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "model"
    bundle(BundleConfig(run=tiny_run, out=folder, cache=photo_cache))
    return folder


def test_the_handler_answers_every_validation_photo_as_the_report_says(
    bundled: Path, drawn_data: Path
):
    app = App(Classifier.load(bundled / "classifier.onnx"), Settings(), no_fetch)
    photos = manifest_of(drawn_data, "validation").photos
    right = 0
    for photo in photos:
        image = base64.b64encode((drawn_data / photo.path).read_bytes()).decode()
        right += app.handle({"image": image}, "test")["label"] == photo.label

    report = json.loads((bundled / "report.json").read_text())
    assert report["splits"]["validation"]["correct"] == right
    assert right > len(photos) / 2, "three colours should be easier than guessing"


def test_the_bundled_file_is_the_exported_one_and_the_report_names_it(
    bundled: Path, tiny_run: Path
):
    exported = (tiny_run / "classifier.onnx").read_bytes()
    assert (bundled / "classifier.onnx").read_bytes() == exported
    report = json.loads((bundled / "report.json").read_text())
    assert report["version"] == Classifier.load(bundled / "classifier.onnx").version


def test_the_card_names_the_command_the_figures_and_the_notes(
    tiny_run: Path, photo_cache: Path, tmp_path: Path
):
    notes = tmp_path / "notes.md"
    notes.write_text("## Limits\n\nDrawn colours only.\n")
    bundle(BundleConfig(run=tiny_run, out=tmp_path / "model", cache=photo_cache, notes=notes))
    card = (tmp_path / "model" / "MODEL_CARD.md").read_text()
    report = json.loads((tmp_path / "model" / "report.json").read_text())
    split = report["splits"]["validation"]
    assert report["version"] in card
    command = read_json(tiny_run / "run.json")["command"]
    assert f"```\n{command}\n```" in card
    assert "--backbone resnet18" in command
    assert f"{split['correct']} of {split['photos']};" in card
    assert "There is no split `test`" in card
    assert all(f"| {label} |" in card for label in ("blue", "green", "red"))
    assert card.endswith("Drawn colours only.\n")
    assert str(tmp_path) not in card


def test_the_report_and_the_card_have_test_beside_validation(
    tiny_run: Path, drawn_data: Path, photo_cache: Path, tmp_path: Path
):
    data = shutil.copytree(drawn_data, tmp_path / "photos")
    for label in ("blue", "green", "red"):
        (data / "test" / label).mkdir(parents=True)
        (data / "validation" / label / "0.jpg").rename(data / "test" / label / "0.jpg")
    bundle(BundleConfig(run=tiny_run, out=tmp_path / "model", data=data, cache=photo_cache))
    splits = read_json(tmp_path / "model" / "report.json")["splits"]
    assert {name: split["photos"] for name, split in splits.items()} == {
        "validation": 15,
        "test": 3,
    }
    card = (tmp_path / "model" / "MODEL_CARD.md").read_text()
    assert "| figure | validation | test |" in card
    assert "## Each class of test" in card
    assert "There is no split" not in card


def test_only_the_splits_that_are_named_are_measured(
    tiny_run: Path, drawn_data: Path, photo_cache: Path, tmp_path: Path
):
    data = shutil.copytree(drawn_data, tmp_path / "photos")
    (data / "validation").rename(data / "outdoors")
    out, splits = tmp_path / "model", ("outdoors",)
    bundle(BundleConfig(run=tiny_run, out=out, data=data, splits=splits, cache=photo_cache))
    assert list(read_json(out / "report.json")["splits"]) == ["outdoors"]


def test_a_card_does_not_report_photos_that_were_trained_on(tiny_run: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="--splits train: a card does not report photos"):
        bundle(BundleConfig(run=tiny_run, out=tmp_path, splits=("validation", "train")))


@pytest.mark.parametrize("place", ["train", "validation", ""])
def test_photos_that_were_trained_on_are_refused_in_any_split(
    place: str, tiny_run: Path, drawn_data: Path, photo_cache: Path, tmp_path: Path
):
    data, model = tmp_path / "photos", tmp_path / "model"
    shutil.copytree(drawn_data / "train", data / place)
    with pytest.raises(UsageError, match="was trained on every photo of validation: give others"):
        bundle(BundleConfig(run=tiny_run, out=model, data=data, cache=photo_cache))


def test_a_photo_that_was_trained_on_is_left_out_of_the_figures(
    tiny_run: Path, drawn_data: Path, photo_cache: Path, tmp_path: Path, capsys
):
    data, model = shutil.copytree(drawn_data, tmp_path / "photos"), tmp_path / "model"
    shutil.copy(data / "train/red/0.jpg", data / "validation/red/copied.jpg")
    bundle(BundleConfig(run=tiny_run, out=model, data=data, cache=photo_cache))
    assert read_json(model / "report.json")["splits"]["validation"]["photos"] == 18
    assert "validation: left out 1 photos that" in capsys.readouterr().out


def test_the_exported_file_is_one_file_with_a_dynamic_batch_and_its_contract(tiny_run: Path):
    model = onnx.load(str(tiny_run / "classifier.onnx"), load_external_data=False)
    onnx.checker.check_model(model)
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    batch, *rest = model.graph.input[0].type.tensor_type.shape.dim
    assert batch.dim_param
    assert [d.dim_value for d in rest] == [3, 32, 32]
    contract = json.loads({p.key: p.value for p in model.metadata_props}[METADATA_KEY])
    assert contract["classes"] == ["blue", "green", "red"]
    assert contract["metrics"]["validation_photos"] == 18


def test_lambda_function_serves_a_bundle_named_by_the_environment(
    bundled: Path, drawn_data: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MODEL_PATH", str(bundled / "classifier.onnx"))
    lambda_function = importlib.reload(importlib.import_module("lambda_function"))
    photo = (drawn_data / "validation/red/0.jpg").read_bytes()
    context = SimpleNamespace(aws_request_id="r-1", get_remaining_time_in_millis=lambda: 10_000)
    answer = lambda_function.lambda_handler({"image": base64.b64encode(photo).decode()}, context)
    assert {p["label"] for p in answer["predictions"]} == {"blue", "green", "red"}


@pytest.mark.slow
def test_a_run_that_held_photos_out_needs_no_other_split(photo_cache: Path, tmp_path: Path):
    data = write_class_folders(tmp_path / "data", train=20)  # 9 of 60 become a validation
    shutil.rmtree(data / "validation")
    run, model = tmp_path / "run", tmp_path / "model"
    reading = {"choose_on": "holdout", "holdout": 0.3}
    fit(tiny_config(data, photo_cache, run, reading=reading, network={"backbone": "resnet18"}))
    export(ExportConfig(run=run, cache=photo_cache))
    evaluate(EvaluateConfig(model=run, data=data, cache=photo_cache))
    bundle(BundleConfig(run=run, out=model, cache=photo_cache))
    for folder, wanted in ((run, {"holdout": 15}), (model, {"holdout": 15, "validation": 9})):
        splits = read_json(folder / "report.json")["splits"]
        assert {name: split["photos"] for name, split in splits.items()} == wanted
    assert Classifier.load(model / "classifier.onnx").contract.metrics["holdout_photos"] == 15
    assert "| figure | holdout |" in (model / "MODEL_CARD.md").read_text()


@pytest.mark.slow
def test_a_run_that_held_photos_out_is_measured_calibrated_and_exported_at_a_chosen_size(
    drawn_data: Path, photo_cache: Path, tmp_path: Path
):
    run = tmp_path / "run"
    reading = {"choose_on": "holdout", "holdout": 0.2}
    network = {"backbone": "resnet18"}
    fit(tiny_config(drawn_data, photo_cache, run, reading=reading, network=network))
    evaluate(
        EvaluateConfig(model=run, data=drawn_data, split="holdout", input_px=48, cache=photo_cache)
    )
    held_out = json.loads((run / "report.json").read_text())["splits"]["holdout"]
    assert held_out["photos"] == 6

    export(ExportConfig(run=run, input_px=48, cache=photo_cache))
    contract = Classifier.load(run / "classifier.onnx").contract
    assert (contract.preprocess.height_px, contract.preprocess.width_px) == (48, 48)
    assert contract.metrics["calibration_photos"] == 6
    assert contract.metrics["calibration_ece_before"] == round(held_out["ece_uncalibrated"], 4)
    assert 0 < contract.unsure_below <= 1


def test_an_export_says_that_photos_without_a_mistake_cannot_calibrate(
    drawn_data: Path, photo_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    reading = {"choose_on": "holdout", "holdout": 0.3}
    run = tmp_path / "run"
    network = {"backbone": "resnet18"}
    fit(tiny_config(drawn_data, photo_cache, run, epochs=20, reading=reading, network=network))
    assert max(e["validation_accuracy"] for e in read_json(run / "run.json")["epochs"]) == 1
    export(ExportConfig(run=run, cache=photo_cache))
    contract = Classifier.load(run / "classifier.onnx").contract
    assert contract.temperature == 1
    assert "all 9 answers are right, which is too few mistakes to" in capsys.readouterr().out


@pytest.mark.parametrize(("validation", "photos"), [(True, 18), (False, 6)])
def test_a_run_that_chose_on_nothing_is_calibrated_on_validation(
    validation: bool, photos: int, drawn_data: Path, photo_cache: Path, tmp_path: Path
):
    data, run = shutil.copytree(drawn_data, tmp_path / "photos"), tmp_path / "run"
    if not validation:
        shutil.rmtree(data / "validation")
    fit(tiny_config(data, photo_cache, run, epochs=1, reading={"choose_on": "nothing"}))
    export(ExportConfig(run=run, split="train", cache=photo_cache))
    contract = Classifier.load(run / "classifier.onnx").contract
    assert contract.metrics["calibration_photos"] == photos


def test_a_run_that_held_nothing_out_has_no_held_out_photos(
    tiny_run: Path, drawn_data: Path, photo_cache: Path
):
    with pytest.raises(UsageError, match="held no photos out"):
        evaluate(
            EvaluateConfig(model=tiny_run, data=drawn_data, split="holdout", cache=photo_cache)
        )


def test_notes_that_are_not_utf8_are_refused_by_name(tiny_run: Path, tmp_path: Path, capsys):
    notes = tmp_path / "notes.md"
    notes.write_bytes("Fotos aus Köln".encode("latin-1"))
    assert main(["bundle", str(tiny_run), "--out", str(tmp_path), "--notes", str(notes)]) == 2
    assert f"--notes {notes} is not UTF-8 text" in capsys.readouterr().err


def test_the_exported_file_names_no_folder_of_this_machine(tiny_run: Path):
    exported = (tiny_run / "classifier.onnx").read_bytes()
    assert b"site-packages" not in exported
    assert str(Path(__file__).parents[2]).encode() not in exported
