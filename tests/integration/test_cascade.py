"""A cascade of two real runs, small ones on drawn photos, from its making to its model card."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from ops.hook import pretraffic
from serving.app import App
from serving.classifier import Classifier, softmax
from serving.settings import Settings
from tests.cascades import BACKBONES, SECOND_PX
from tests.conftest import no_fetch
from tests.training import tiny_config
from train import runs
from train.average import AverageConfig, average
from train.bundle import BundleConfig, bundle
from train.calibration import calibrate
from train.cascade import CascadeConfig, cascade
from train.errors import UsageError
from train.evaluate import EvaluateConfig, evaluate
from train.export import ExportConfig, add_contract, export
from train.fit import fit
from train.golden import clear_pictures
from train.inference import (
    TorchModel,
    contract_of,
    open_model,
    split_logits,
)
from train.metrics import expected_calibration_error
from train.run_photos import held_out_photos
from train.saved import TrainedCascade, load_model

pytestmark = pytest.mark.slow


def cascade_of(run: Path) -> TrainedCascade:
    made = load_model(run)
    assert isinstance(made, TrainedCascade)
    return made


def test_the_rule_is_chosen_on_the_held_out_photos_and_written_down(cascade_sibling: Path):
    record = runs.read_json(cascade_sibling / runs.RECORD)
    assert record["tuned"]["photos"] > 0
    assert record["tuned"]["correct"] >= record["tuned"]["both_correct"]
    assert record["rule"]["sure_above"] == cascade_of(cascade_sibling).rule.sure_above


def test_a_cascade_of_all_photos_takes_its_siblings_rule(cascade_run: Path, cascade_sibling: Path):
    made = cascade_of(cascade_run)
    assert made.rule == cascade_of(cascade_sibling).rule
    assert tuple(part.config.network.backbone for part in made.parts) == BACKBONES


def test_a_cascade_is_evaluated_exported_and_bundled(
    cascade_run: Path,
    exported_cascade: Path,
    cascade_sibling: Path,
    drawn_data: Path,
    photo_cache: Path,
):
    evaluate(
        EvaluateConfig(model=cascade_sibling, data=drawn_data, split="holdout", cache=photo_cache)
    )
    out = cascade_run.parent / "model"
    bundle(BundleConfig(run=cascade_run, out=out, golden=out / "golden", cache=photo_cache))
    model = open_model(out / "classifier.onnx")
    contract = model.contract
    assert contract == open_model(exported_cascade).contract
    assert model.second().contract.preprocess.width_px == SECOND_PX
    report = runs.read_json(out / "report.json")
    accuracy = report["splits"]["validation"]["accuracy"]
    assert accuracy == contract.metrics["validation_accuracy"]
    # Its logits are the mean of two models' answers: no one temperature comes before them.
    assert report["splits"]["validation"]["ece_uncalibrated"] is None
    assert contract.name == "colours-resnet18-mobilenet_v3_small"
    assert contract.metrics["calibration_photos"] > 0
    card = (out / "MODEL_CARD.md").read_text()
    assert "| backbone | resnet18 and mobilenet_v3_small, the second where the first is" in card
    assert "| input | 32 x 32 and 48 x 48 RGB" in card
    assert "| seed | 0 |" in card
    rule = cascade_of(cascade_sibling).rule
    temperatures = f"{rule.first_temperature:.3f} and {rule.second_temperature:.3f}"
    assert f"Temperature {temperatures}, fitted on" in card
    assert "--backbone resnet18 " in card
    assert "python -m train cascade FIRST SECOND --tuned-on SIBLING --out RUN" in card


def test_the_bundled_cascade_answers_the_golden_pictures_through_the_service(
    cascade_run: Path, exported_cascade: Path, photo_cache: Path, tmp_path: Path
):
    out = tmp_path / "model"
    bundle(BundleConfig(run=cascade_run, out=out, golden=out / "golden", cache=photo_cache))
    app = App(Classifier.load(out / "classifier.onnx"), Settings(), no_fetch)
    goldens = pretraffic.load(out / "golden")
    assert pretraffic.check(goldens, lambda event: app.handle(event, "test")) == []


def test_calibration_is_compared_with_both_networks_own_probabilities(
    cascade_sibling: Path, photo_cache: Path
):
    made = cascade_of(cascade_sibling)
    photos = held_out_photos(made, cascade_sibling, photo_cache)
    logits = [
        split_logits(TorchModel(part, contract_of(part, px)), photos, photo_cache)
        for part, px in zip(made.parts, (32, SECOND_PX), strict=True)
    ]
    first, second = (softmax(one.astype(np.float64)) for one in logits)
    sure = first.max(axis=1) >= made.rule.sure_above
    answers = np.where(sure[:, None], first, (first + second) / 2)
    before = expected_calibration_error(answers, photos.labels())
    assert calibrate(cascade_sibling, photo_cache).ece_before == pytest.approx(before, abs=1e-6)


def test_a_cascade_is_fitted_to_the_answers_of_a_model_where_siblings_are_gone(
    cascade_parts: dict[str, tuple[Path, Path]],
    exported_cascade: Path,
    cascade_sibling: Path,
    photo_cache: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    first, second = cascade_parts["nothing"]
    run, model, out = tmp_path / "run", Classifier.load(exported_cascade), tmp_path / "model"
    cascade(
        CascadeConfig(
            first, second, run, second_px=SECOND_PX, like=exported_cascade, cache=photo_cache
        )
    )
    assert f"as {model.version} answers them" in capsys.readouterr().out
    made, asked = cascade_of(run), cascade_of(cascade_sibling).rule
    assert made.like == runs.read_json(run / runs.RECORD)["tuned"]["like"] == model.version
    # The networks are those of the model, so that its own first temperature is found again as far
    # as it answers alone.
    assert made.rule.second_px == SECOND_PX
    assert made.rule.first_temperature == pytest.approx(asked.first_temperature, rel=0.5)

    export(ExportConfig(run=run, calibrate_like=exported_cascade, cache=photo_cache))
    bundle(BundleConfig(run=run, out=out, golden=out / "golden", cache=photo_cache))
    fitted = Classifier.load(out / "classifier.onnx").contract.metrics
    assert fitted["calibration_like"] == model.version
    assert fitted["calibration_photos"] == fitted["validation_photos"]
    card = (out / "MODEL_CARD.md").read_text()
    assert f"what the model `{model.version}` holds for likely" in card
    made_by = f"python -m train cascade FIRST SECOND --second-px {SECOND_PX} --like MODEL --out RUN"
    assert made_by in card


def test_a_single_network_is_calibrated_like_a_model(
    tiny_run: Path, photo_cache: Path, tmp_path: Path
):
    """Its own file, say: the temperature is found again, whatever the labels are."""
    plain, model, out = (tmp_path / name for name in ("plain.onnx", "model.onnx", "out.onnx"))
    export(ExportConfig(run=tiny_run, out=plain, cache=photo_cache))
    contract = replace(Classifier.load(plain).contract, temperature=1.7)
    model.write_bytes(add_contract(plain, contract))
    export(ExportConfig(run=tiny_run, out=out, calibrate_like=model, cache=photo_cache))
    assert Classifier.load(out).contract.temperature == pytest.approx(1.7, rel=1e-3)


def test_pictures_at_the_edge_of_the_rule_hold_no_deployment(
    cascade_run: Path, exported_cascade: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    pictures = sorted((Path(__file__).parents[2] / "samples").glob("*.jpg"))
    first = Classifier.load(exported_cascade)
    shipped = tmp_path / "classifier.onnx"
    (tmp_path / "second.onnx").write_bytes(exported_cascade.with_name("second.onnx").read_bytes())

    def kept(sure_above: float) -> list[Path]:
        assert first.contract.second is not None
        second = replace(first.contract.second, sure_above=sure_above)
        contract = replace(first.contract, second=second, temperature=1e3)
        shipped.write_bytes(add_contract(exported_cascade, contract))
        model = TorchModel(load_model(cascade_run), contract)
        return clear_pictures(model, Classifier.load(shipped), pictures)

    assert kept(2.0) == pictures
    # At that temperature it is as sure of each drawing: at this confidence all are on the edge.
    with pytest.raises(UsageError, match="No golden picture is left"):
        kept(1 / len(first.contract.classes))
    said = "left out, at the edge of where the second model is asked: "
    assert f"{said}{', '.join(path.name for path in pictures)}" in capsys.readouterr().out


def test_a_model_of_one_network_leaves_no_second_file_of_a_model_before(
    tiny_run: Path, photo_cache: Path, tmp_path: Path
):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "second.onnx").write_bytes(b"of a model before")
    bundle(BundleConfig(run=tiny_run, out=tmp_path / "model", cache=photo_cache))
    assert not (tmp_path / "model" / "second.onnx").exists()


def test_the_files_keep_no_trace_of_the_machine(exported_cascade: Path):
    for file in (exported_cascade, exported_cascade.with_name("second.onnx")):
        nodes = onnx.load(str(file)).graph.node
        assert len(nodes) > 20
        assert not [node for node in nodes if node.metadata_props or node.doc_string]
        assert str(Path(__file__).parents[2]).encode() not in file.read_bytes()


def test_a_second_file_of_another_cascade_is_not_replaced(
    cascade_run: Path, exported_cascade: Path, photo_cache: Path
):
    second = exported_cascade.with_name("second.onnx")
    before = second.read_bytes()
    another = exported_cascade.with_name("another.onnx")
    with pytest.raises(UsageError, match=r"holds the second\.onnx of another model"):
        export(ExportConfig(run=cascade_run, out=another, cache=photo_cache))
    assert second.read_bytes() == before
    assert not another.exists()


def test_what_takes_one_network_refuses_a_cascade(
    cascade_parts: dict[str, tuple[Path, Path]],
    cascade_run: Path,
    drawn_data: Path,
    photo_cache: Path,
    tmp_path: Path,
):
    first, _ = cascade_parts["nothing"]
    out = tmp_path / "out"
    refused = f"{cascade_run} is a cascade of two networks"
    with pytest.raises(UsageError, match=refused):
        cascade(CascadeConfig(cascade_run, first, out, cache=photo_cache))
    with pytest.raises(UsageError, match=refused):
        average(AverageConfig((first, cascade_run), out, cache=photo_cache))
    for changes in ({"start": str(cascade_run)}, {"teacher": (str(cascade_run),)}):
        network = {"backbone": "resnet18", "train_backbone": True}
        with pytest.raises(UsageError, match=refused):
            fit(tiny_config(drawn_data, photo_cache, out, network=network, **changes))
    assert not (out / runs.MODEL).exists()


def test_only_a_run_of_the_same_backbones_calibrates_an_export(
    cascade_parts: dict[str, tuple[Path, Path]],
    cascade_run: Path,
    cascade_sibling: Path,
    photo_cache: Path,
    tmp_path: Path,
):
    held_first, held_second = cascade_parts["holdout"]
    first, _ = cascade_parts["nothing"]
    out = tmp_path / "classifier.onnx"
    for run, other in ((first, held_second), (cascade_run, held_first), (first, cascade_sibling)):
        with pytest.raises(UsageError, match=f"--calibrate-on {other} is .* {run} is .* recipe"):
            export(ExportConfig(run=run, out=out, calibrate_on=other, cache=photo_cache))
    assert not out.exists()


def test_runs_that_make_no_cascade_are_named(
    cascade_parts: dict[str, tuple[Path, Path]],
    cascade_sibling: Path,
    drawn_data: Path,
    photo_cache: Path,
    tmp_path: Path,
):
    (held_first, _), (first, second) = cascade_parts["holdout"], cascade_parts["nothing"]
    out = tmp_path / "out"
    with pytest.raises(UsageError, match=f"{second} has other (held-out )?photos than"):
        cascade(CascadeConfig(held_first, second, out, cache=photo_cache))
    with pytest.raises(UsageError, match=f"{first} held no photos out"):
        cascade(CascadeConfig(first, second, out, cache=photo_cache))
    with pytest.raises(UsageError, match=f"--tuned-on {held_first} is no cascade"):
        cascade(CascadeConfig(first, second, out, tuned_on=held_first, cache=photo_cache))
    with pytest.raises(UsageError, match="other classes or backbones"):
        cascade(CascadeConfig(second, first, out, tuned_on=cascade_sibling, cache=photo_cache))
    with pytest.raises(UsageError, match=f"{cascade_sibling} holds a run already"):
        cascade(CascadeConfig(first, second, cascade_sibling, cache=photo_cache))
    twice = CascadeConfig(first, second, out, tuned_on=cascade_sibling, like=Path("model.onnx"))
    with pytest.raises(UsageError, match="--tuned-on and --like both give the rule"):
        cascade(twice)
    with pytest.raises(UsageError, match="--first-px and --second-px are the sibling's"):
        cascade(
            CascadeConfig(
                first, second, out, first_px=64, tuned_on=cascade_sibling, cache=photo_cache
            )
        )
    with pytest.raises(UsageError, match="--input-px is for one network"):
        open_model(cascade_sibling, input_px=64)
