"""Pruning a run: a real MobileNetV2 without weights, trained a little on drawn photos."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from serving.preprocess import PreprocessSpec, normalize
from tests.drawn import write_class_folders
from tests.training import tiny_config
from train import data, lineage, runs
from train.__main__ import main
from train.average import AverageConfig, average
from train.channels import counts, hidden_channels
from train.errors import UsageError
from train.export import ExportConfig, export
from train.fit import fit
from train.prune import PruneConfig, prune
from train.saved import load_single

pytestmark = pytest.mark.slow

PX = 64
NETWORK = {"backbone": "mobilenet_v2", "train_backbone": True, "input_px": PX}


@pytest.fixture(scope="module")
def whole(drawn_data: Path, photo_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prune") / "whole"
    # Batch-norm has seen enough after few steps, so that answers depend on the photo.
    settings = {"epochs": 10, "lr": 1e-3, "keep": "last", "batchnorm_momentum": 0.5}
    fit(tiny_config(drawn_data, photo_cache, out, network=NETWORK, **settings))
    return out


@pytest.fixture(scope="module")
def pruned(whole: Path, photo_cache: Path) -> Path:
    out = whole.parent / "pruned"
    prune(PruneConfig(whole, out, share=0.7, cache=photo_cache))
    return out


@torch.no_grad()
def answers(run: Path, root: Path, cache: Path) -> torch.Tensor:
    """(N, C) probabilities of the photos of validation."""
    spec = PreprocessSpec.square(PX)
    pixels = data.pixels(data.scan(root).split("validation"), spec, cache)
    images = torch.from_numpy(normalize(pixels, spec))
    probabilities: torch.Tensor = load_single(run).network(images).softmax(dim=1)
    return probabilities


def widths(run: Path) -> np.ndarray:
    network = load_single(run).network
    return np.array(counts(network, hidden_channels(network)))


def test_a_pruned_run_has_fewer_channels_and_answers_nearly_as_before(
    whole: Path, pruned: Path, drawn_data: Path, photo_cache: Path
):
    assert (widths(pruned) <= widths(whole)).all()
    assert widths(pruned).sum() < 0.75 * widths(whole).sum()
    before, after = (answers(run, drawn_data, photo_cache) for run in (whole, pruned))
    assert before.std(dim=0).max() > 0.1
    assert (after.argmax(dim=1) == before.argmax(dim=1)).float().mean() > 0.8
    # How far its answers are from those of a network that ignores the photo.
    scale = (before - before.mean(dim=0)).square().mean().sqrt()
    assert (after - before).square().mean().sqrt() < scale / 2


def test_a_smaller_share_leaves_fewer_channels(whole: Path, pruned: Path, photo_cache: Path):
    out = whole.parent / "narrower"
    prune(PruneConfig(whole, out, share=0.4, cache=photo_cache))
    assert widths(out).sum() < widths(pruned).sum()
    assert (widths(out) <= widths(pruned)).all()


def test_a_pruned_run_is_exported_trained_on_and_averaged(
    pruned: Path, drawn_data: Path, photo_cache: Path, tmp_path: Path
):
    export(ExportConfig(run=pruned, out=tmp_path / "pruned.onnx", cache=photo_cache))
    exported = [node.op_type for node in onnx.load(str(tmp_path / "pruned.onnx")).graph.node]
    layers = [m for m in load_single(pruned).network.modules() if isinstance(m, nn.Conv2d)]
    assert exported.count("Conv") < len(layers)  # some are folded
    config = tiny_config(drawn_data, photo_cache, tmp_path / "one", network=NETWORK, epochs=1)
    one = replace(config, start=str(pruned))
    for run in (one, replace(one, out=tmp_path / "two", seed=1)):
        fit(run)
    fit(replace(one, resume=True))  # nothing left to do, and no other settings

    assert (widths(tmp_path / "one") == widths(pruned)).all()
    average(
        AverageConfig((tmp_path / "one", tmp_path / "two"), tmp_path / "mean", cache=photo_cache)
    )
    made = lineage.commands(load_single(tmp_path / "mean").members)
    assert made[1] == "python -m train prune RUN1 --share 0.7 --out RUN2"
    assert ["--start RUN2" in line for line in made] == [False, False, True, True, False]
    assert "--hidden" not in " ".join(made)
    assert json.loads((pruned / runs.RECORD).read_text())["pruned_to"] == 0.7


def test_a_pruned_run_is_not_averaged_with_a_whole_one(whole: Path, pruned: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="other network"):
        average(AverageConfig((whole, pruned), tmp_path / "mean"))


@pytest.mark.parametrize(
    ("share", "named"), [("0", "--share"), ("1", "--share"), ("0.01", "0.01: the narrowest has")]
)
def test_a_share_that_cannot_be_had_is_refused(
    whole: Path,
    photo_cache: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    share: str,
    named: str,
):
    out, cache = str(tmp_path / "out"), str(photo_cache)
    assert main(["prune", str(whole), "--share", share, "--out", out, "--cache", cache]) == 2
    assert named in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_pruned_is_refused(
    whole: Path, pruned: Path, tiny_run: Path, drawn_data: Path, photo_cache: Path, tmp_path: Path
):
    with pytest.raises(UsageError, match="resnet18; prune takes one of mobilenet_v2"):
        prune(PruneConfig(tiny_run, tmp_path / "out"))
    with pytest.raises(UsageError, match="holds a run already"):
        prune(PruneConfig(whole, pruned))
    others = write_class_folders(tmp_path / "others", train=11)
    with pytest.raises(UsageError, match="does not hold the photos"):
        prune(PruneConfig(whole, tmp_path / "out", data=others, cache=photo_cache))


def test_a_cascade_is_not_pruned_but_its_networks_are(
    cascade_run: Path, photo_cache: Path, tmp_path: Path
):
    with pytest.raises(UsageError, match="cascade of two networks"):
        prune(PruneConfig(cascade_run, tmp_path / "out", cache=photo_cache))
