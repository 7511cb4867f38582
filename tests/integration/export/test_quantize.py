"""`quantize` writes an int8 file that serving takes, or none; `bundle --int8` ships it."""

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import numpy_helper

from ops.hook.pretraffic import check, load
from serving.app import App
from serving.model.classifier import Classifier
from serving.settings import Settings
from tests.conftest import no_fetch
from tests.quantized import clock_that_takes, faster
from tests.tampering import write_tampered
from train.__main__ import main
from train.errors import CheckFailedError, UsageError
from train.export.bundle import BundleConfig, bundle
from train.export.int8 import SAFE_PAIR, Quantizer, Recipe, largest_pair
from train.export.quantize import choose_photos, quantize
from train.runs.model import load_model

pytestmark = pytest.mark.slow  # a run is trained, exported and quantised first


def test_the_int8_file_keeps_the_contract_and_has_its_figures(int8_run):
    float32 = Classifier.load(int8_run / "classifier.onnx").contract
    int8 = Classifier.load(int8_run / "classifier.int8.onnx").contract
    remeasured: dict[str, Any] = {"metrics": {}, "familiarity": None, "unsure_below": 0.0}
    assert replace(int8, **remeasured) == replace(float32, **remeasured)
    assert int8.familiarity != float32.familiarity  # of its own distances
    assert int8.metrics["int8_agreement"] >= 0.9
    assert int8.metrics["float32_holdout_photos"] == float32.metrics["holdout_photos"]


def test_the_int8_file_has_int8_weights_of_which_no_pair_saturates(int8_run):
    path = int8_run / "classifier.int8.onnx"
    kinds = {tensor.data_type for tensor in onnx.load(str(path)).graph.initializer}
    assert onnx.TensorProto.INT8 in kinds
    assert 64 < largest_pair(path) <= SAFE_PAIR
    sizes = [(int8_run / name).stat().st_size for name in ("classifier.onnx", path.name)]
    assert sizes[1] < sizes[0] / 3


def test_the_record_holds_every_candidate_and_no_path(int8_run):
    text = (int8_run / "quantize.json").read_text()
    record = json.loads(text)
    assert [c["weights"] for c in record["candidates"]] == ["eight", "paired"]
    assert record["candidates"][0]["agreement_interval_95"][0] < 1
    assert record["photos"] == {"calibration": 12, "judging": 24, "judging_split": "holdout"}
    assert record["passed"] == record["candidates"][1]
    assert record["int8"] == Classifier.load(int8_run / "classifier.int8.onnx").version
    assert str(int8_run.parent) not in text


def test_eight_bits_are_refused_because_they_may_saturate(int8_run):
    record = json.loads((int8_run / "quantize.json").read_text())
    eight = [c for c in record["candidates"] if c["weights"] == "eight"]
    assert [any("VNNI" in line for line in c["refused"]) for c in eight] == [True]


def test_calibration_photos_are_never_used_for_evaluation(small, copied_run):
    roles = choose_photos(small(photos=30), load_model(copied_run))
    seen = {photo.sha256 for photo in roles.calibration.photos}
    assert len(seen) == 30
    assert len(roles.comparison.photos) == 24  # 0.4 of 3 x 20
    assert not seen & {photo.sha256 for photo in roles.comparison.photos}


def test_a_slower_file_is_refused_and_not_written(small, copied_run):
    (copied_run / "classifier.int8.onnx").write_bytes(b"of an earlier time")
    with pytest.raises(
        CheckFailedError, match=r"1\.50 times float32's time, less than 1 is needed"
    ):
        quantize(small(), clock=clock_that_takes(1.0, 1.5))
    assert not (copied_run / "classifier.int8.onnx").exists()
    record = json.loads((copied_run / "quantize.json").read_text())
    assert record["int8"] is None
    assert record["passed"] is None
    assert record["candidates"][0]["time_ratio"] == 1.5


def test_broken_weights_are_refused(small, copied_run, monkeypatch):
    make = Quantizer.make

    def make_broken(self: Quantizer, recipe: Recipe) -> Path:
        path = make(self, recipe)

        def negate(model: onnx.ModelProto) -> None:
            for tensor in model.graph.initializer:
                values = numpy_helper.to_array(tensor)
                if values.dtype == "int8" and values.ndim > 1:
                    tensor.CopyFrom(numpy_helper.from_array(-values, tensor.name))

        return write_tampered(path, path, negate)

    monkeypatch.setattr(Quantizer, "make", make_broken)
    with pytest.raises(CheckFailedError, match="a different label from float32's on"):
        quantize(small(), clock=faster())
    assert not (copied_run / "classifier.int8.onnx").exists()


def test_a_run_that_was_not_exported_says_what_to_do(small, copied_run, capsys):
    (copied_run / "classifier.onnx").unlink()
    assert main(["quantize", str(copied_run)]) == 2
    assert "python -m train export RUN" in capsys.readouterr().err


def test_without_held_out_photos_candidates_use_validation(tiny_run, tmp_path, small):
    run = tmp_path / "tiny"
    run.mkdir()
    for name in ("classifier.onnx", "model.pt"):
        (run / name).write_bytes((tiny_run / name).read_bytes())
    quantize(replace(small(min_agreement=0.0, max_accuracy_loss=1.0), run=run), clock=faster())
    photos = json.loads((run / "quantize.json").read_text())["photos"]
    assert (photos["judging_split"], photos["judging"]) == ("validation", 18)


@pytest.fixture
def config(int8_run: Path, photo_cache: Path, tmp_path: Path) -> BundleConfig:
    return BundleConfig(run=int8_run, out=tmp_path / "model", cache=photo_cache, int8=True)


def test_the_bundled_int8_file_answers_the_golden_pictures(config, tmp_path):
    bundle(config)
    served = config.out / "classifier.onnx"
    assert served.read_bytes() == (config.run / "classifier.int8.onnx").read_bytes()
    app = App(Classifier.load(served), Settings(), no_fetch)
    goldens = load(tmp_path / "ops" / "hook" / "golden")
    assert check(goldens, lambda event: app.handle(event, "test")) == []
    event = {"image": base64.b64encode(goldens[0].picture).decode()}
    assert app.handle(event, "test")["label"] == goldens[0].label


def test_report_and_card_give_both_accuracies_and_what_was_gated(config):
    bundle(config)
    report = json.loads((config.out / "report.json").read_text())
    int8, split = report["int8"]["splits"]["validation"], report["splits"]["validation"]
    assert report["version"] == Classifier.load(config.out / "classifier.onnx").version
    assert int8["photos"] == split["photos"] == 18
    assert report["int8"]["gate"]["limits"]["min_agreement"] == 0.9
    card = (config.out / "MODEL_CARD.md").read_text()
    assert f"| validation | {int8['float32_correct']} of 18 | {split['correct']} of 18 |" in card
    assert "It passed the gate on 24 photos of holdout" in card


def change(file: Path) -> None:
    """Make another file of a model, which answers alike."""
    model = onnx.load(str(file))
    model.doc_string = "changed"
    onnx.save(model, str(file))


def copy_int8(run: Path, copied_run: Path) -> None:
    for name in ("classifier.int8.onnx", "quantize.json"):
        (copied_run / name).write_bytes((run / name).read_bytes())


def test_only_the_file_that_passed_is_bundled(config, copied_run):
    with pytest.raises(UsageError, match="is missing: write it first, python -m train quantize"):
        bundle(replace(config, run=copied_run))
    copy_int8(config.run, copied_run)
    change(copied_run / "classifier.int8.onnx")
    with pytest.raises(UsageError, match="is not the file that passed the gate"):
        bundle(replace(config, run=copied_run))
    assert not config.out.exists()


def test_an_int8_file_of_another_export_is_not_bundled(config, copied_run):
    copy_int8(config.run, copied_run)
    change(copied_run / "classifier.onnx")
    with pytest.raises(UsageError, match="was made from another export"):
        bundle(replace(config, run=copied_run))
