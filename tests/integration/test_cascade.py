"""A cascade of two real runs, small ones on drawn photos, from its making to its model card."""

from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.training import tiny_config
from train import checkpoints, runs
from train.average import AverageConfig, average
from train.bundle import BundleConfig, bundle
from train.cascade import CascadeConfig, cascade
from train.errors import UsageError
from train.evaluate import EvaluateConfig, evaluate
from train.export import ExportConfig, export
from train.fit import fit
from train.inference import open_model
from train.quantize import QuantizeConfig, quantize

pytestmark = pytest.mark.slow

HOLDOUT = {"choose_on": "holdout", "holdout": 0.3}
BACKBONES = ("resnet18", "mobilenet_v3_small")


@pytest.fixture(scope="module")
def trained(
    drawn_data: Path, photo_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, Path]]:
    """Two runs that held photos out, and two of the same recipes that did not."""
    folder = tmp_path_factory.mktemp("parts")
    made: dict[str, tuple[Path, Path]] = {}
    for share, reading in (("holdout", HOLDOUT), ("nothing", {"choose_on": "nothing"})):
        parts = []
        for backbone in BACKBONES:
            out = folder / f"{share}-{backbone}"
            network = {"backbone": backbone}
            fit(tiny_config(drawn_data, photo_cache, out, network=network, reading=reading))
            parts.append(out)
        made[share] = (parts[0], parts[1])
    return made


@pytest.fixture(scope="module")
def sibling(trained: dict[str, tuple[Path, Path]], photo_cache: Path) -> Path:
    first, second = trained["holdout"]
    out = first.parent / "sibling"
    cascade(CascadeConfig(first, second, out, cache=photo_cache))
    return out


@pytest.fixture(scope="module")
def whole(trained: dict[str, tuple[Path, Path]], sibling: Path, photo_cache: Path) -> Path:
    first, second = trained["nothing"]
    out = first.parent / "whole"
    cascade(CascadeConfig(first, second, out, tuned_on=sibling, cache=photo_cache))
    return out


@pytest.fixture(scope="module")
def exported(whole: Path, sibling: Path, photo_cache: Path) -> Path:
    export(ExportConfig(run=whole, calibrate_on=sibling, cache=photo_cache))
    return whole / "classifier.onnx"


def network_of(run: Path) -> Any:
    return checkpoints.load_model(run).network


def test_the_rule_is_chosen_on_the_held_out_photos_and_written_down(sibling: Path):
    record = runs.read_json(sibling / runs.RECORD)
    assert record["tuned"]["photos"] > 0
    assert record["tuned"]["correct"] >= record["tuned"]["both_correct"]
    assert record["rule"]["sure_above"] == network_of(sibling).rule.sure_above


def test_a_cascade_of_all_photos_takes_its_siblings_rule(whole: Path, sibling: Path):
    assert network_of(whole).rule == network_of(sibling).rule
    assert checkpoints.load_model(whole).backbones == BACKBONES


def test_a_cascade_is_evaluated_exported_and_bundled(
    whole: Path, exported: Path, sibling: Path, drawn_data: Path, photo_cache: Path
):
    evaluate(EvaluateConfig(model=sibling, data=drawn_data, split="holdout", cache=photo_cache))
    out = whole.parent / "model"
    bundle(BundleConfig(run=whole, out=out, golden=out / "golden", cache=photo_cache))
    contract = open_model(out / "classifier.onnx").contract
    assert contract == open_model(exported).contract
    assert contract.name == "colours-resnet18-mobilenet_v3_small"
    assert contract.metrics["calibration_photos"] > 0
    card = (out / "MODEL_CARD.md").read_text()
    assert "| backbone | resnet18 and mobilenet_v3_small, the second where the first is" in card
    assert "| seed | 0 |" in card
    assert "--backbone resnet18 " in card
    assert "python -m train cascade FIRST SECOND --tuned-on SIBLING --out RUN" in card


def test_the_file_keeps_no_trace_of_the_machine(exported: Path):
    (branch,) = [node for node in onnx.load(str(exported)).graph.node if node.op_type == "If"]
    inner = next(one.g for one in branch.attribute if one.name == "then_branch")
    assert len(inner.node) > 20
    assert not [node for node in inner.node if node.metadata_props or node.doc_string]
    assert str(Path(__file__).parents[2]).encode() not in exported.read_bytes()


def test_what_takes_one_network_refuses_a_cascade(
    trained: dict[str, tuple[Path, Path]],
    whole: Path,
    exported: Path,
    drawn_data: Path,
    photo_cache: Path,
    tmp_path: Path,
):
    first, _ = trained["nothing"]
    out = tmp_path / "out"
    refused = f"{whole} is a cascade of two networks"
    with pytest.raises(UsageError, match=refused):
        cascade(CascadeConfig(whole, first, out, cache=photo_cache))
    with pytest.raises(UsageError, match=refused):
        average(AverageConfig((first, whole), out, cache=photo_cache))
    for changes in ({"start": str(whole)}, {"teacher": (str(whole),)}):
        network = {"backbone": "resnet18", "train_backbone": True}
        with pytest.raises(UsageError, match=refused):
            fit(tiny_config(drawn_data, photo_cache, out, network=network, **changes))
    assert exported.is_file()  # quantize would ask for it first
    with pytest.raises(UsageError, match=refused):
        quantize(QuantizeConfig(run=whole, cache=photo_cache))
    assert not (out / runs.MODEL).exists()


def test_runs_that_make_no_cascade_are_named(
    trained: dict[str, tuple[Path, Path]],
    sibling: Path,
    drawn_data: Path,
    photo_cache: Path,
    tmp_path: Path,
):
    (held_first, _), (first, second) = trained["holdout"], trained["nothing"]
    out = tmp_path / "out"
    with pytest.raises(UsageError, match=f"{second} has other (held-out )?photos than"):
        cascade(CascadeConfig(held_first, second, out, cache=photo_cache))
    with pytest.raises(UsageError, match=f"{first} held no photos out"):
        cascade(CascadeConfig(first, second, out, cache=photo_cache))
    with pytest.raises(UsageError, match=f"--tuned-on {held_first} is no cascade"):
        cascade(CascadeConfig(first, second, out, tuned_on=held_first, cache=photo_cache))
    with pytest.raises(UsageError, match="other classes or backbones"):
        cascade(CascadeConfig(second, first, out, tuned_on=sibling, cache=photo_cache))
    with pytest.raises(UsageError, match=f"{sibling} holds a run already"):
        cascade(CascadeConfig(first, second, sibling, cache=photo_cache))
    larger = tmp_path / "larger"
    network = {"backbone": "resnet18", "input_px": 64}
    reading = {"choose_on": "nothing"}
    fit(tiny_config(drawn_data, photo_cache, larger, network=network, reading=reading, epochs=1))
    with pytest.raises(UsageError, match=f"{larger} has other input size than {first}"):
        cascade(CascadeConfig(first, larger, out, tuned_on=sibling, cache=photo_cache))
