"""Which networks are taken as backbones, and at which sizes."""

from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from tests.training import tiny_config
from train.__main__ import main
from train.config import DataConfig, FitConfig, NetworkConfig
from train.errors import UsageError
from train.evaluate.inference import contract_of
from train.fit import earlier_runs
from train.fit.loop import fit
from train.networks.backbones import whole_model
from train.networks.transfer import Network
from train.photos.manifest import Manifest
from train.runs.model import TrainedModel

FLAGS = ["--weights", "none", "--epochs", "1", "--batch", "10", "--threads", "1", "--workers", "0"]


@pytest.mark.parametrize(
    "name",
    [
        "fasterrcnn_resnet50_fpn",
        "fcn_resnet50",
        "raft_small",
        "quantized_resnet18",
        "r3d_18",
        "nosuch",
    ],
)
def test_a_network_that_does_not_classify_is_no_backbone(name: str, capsys):
    with pytest.raises(UsageError, match=f"--backbone {name} is not one of torchvision's"):
        whole_model(name, "none")
    assert main(["predict", "--backbone", name, "photo.jpg"]) == 2
    assert f"--backbone {name} is not one of torchvision's" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("backbone", "input_px"), [("vit_b_32", "100"), ("inception_v3", "64"), ("alexnet", "32")]
)
def test_a_size_that_a_backbone_does_not_take_is_refused(
    backbone: str, input_px: str, drawn_data: Path, photo_cache: Path, tmp_path: Path, capsys
):
    where = ["--data", str(drawn_data), "--out", str(tmp_path / "run"), "--cache", str(photo_cache)]
    size = ["--backbone", backbone, "--input-px", input_px]
    assert main(["fit", *where, *FLAGS, *size]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"train fit: {backbone} does not support --input-px {input_px}: ")


def test_a_sweep_refuses_such_a_size_as_well(
    drawn_data: Path, photo_cache: Path, tmp_path: Path, capsys
):
    where = ["--data", str(drawn_data), "--out", str(tmp_path / "run"), "--cache", str(photo_cache)]
    size = ["--backbone", "alexnet", "--weights", "none", "--input-px", "32"]
    assert main(["sweep", *where, *size, "--seeds", "0"]) == 2
    assert "train sweep: alexnet does not support --input-px 32: " in capsys.readouterr().err


def test_a_training_size_that_a_backbone_does_not_take_is_refused(
    drawn_data: Path, photo_cache: Path, tmp_path: Path
):
    network = {"backbone": "alexnet", "input_px": 64}
    sizes = {"progressive_px": (64, 32), "augment": "light"}
    with pytest.raises(UsageError, match="alexnet does not support --progressive-px 32"):
        fit(tiny_config(drawn_data, photo_cache, tmp_path / "run", network=network, **sizes))


@pytest.fixture
def only_at_32_px() -> TrainedModel:
    """A run whose network takes images of 32 pixels and no others."""
    network = Network(nn.Flatten(), nn.Sequential(nn.Linear(3 * 32 * 32, 2)), train_backbone=False)
    config = FitConfig(Path("run"), DataConfig(Path("photos")), NetworkConfig(input_px=32))
    return TrainedModel(network.eval(), ("hat", "shoe"), config, "0" * 64, {})


def test_a_run_is_not_served_at_a_size_that_it_does_not_take(only_at_32_px: TrainedModel):
    assert contract_of(only_at_32_px).preprocess.height_px == 32
    assert contract_of(only_at_32_px, 32).preprocess.height_px == 32
    with pytest.raises(UsageError, match="mobilenet_v2 does not support an input of 48 pixels"):
        contract_of(only_at_32_px, 48)


def test_a_teacher_is_not_shown_a_size_that_it_does_not_take(
    only_at_32_px: TrainedModel, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(earlier_runs, "load_model", lambda run: only_at_32_px)
    photos = Manifest(Path("photos"), ("hat", "shoe"), ())
    own = tiny_config(Path("photos"), Path("cache"), Path("run"), teacher=("taught",))
    assert earlier_runs.open_teachers(own, photos) == (only_at_32_px,)
    with pytest.raises(UsageError, match=r"of --teacher taught does not support --teacher-px 48"):
        earlier_runs.open_teachers(replace(own, teacher_px=48), photos)
