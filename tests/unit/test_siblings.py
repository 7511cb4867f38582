"""Runs that stand for another where photos are wanted that it has not seen."""

from pathlib import Path

import pytest

from tests.networks import drawn_network
from tests.training import tiny_config
from train.checkpoints import save_derived
from train.errors import UsageError
from train.lineage import Training
from train.saved import load_model
from train.siblings import open_sibling


def written_run(out: Path, backbone: str, classes: tuple[str, ...] = ("hat", "shoe", "skirt")):
    config = tiny_config(Path("photos"), Path("cache"), out, network={"backbone": backbone})
    save_derived(Training(config), classes, "", drawn_network(backbone).state_dict(), {})
    return out


def test_a_run_of_the_same_backbone_and_classes_is_a_sibling(tmp_path: Path):
    run = written_run(tmp_path / "run", "mobilenet_v3_small")
    found = open_sibling("--sibling", run, load_model(run), run)
    assert found.config.network.backbone == "mobilenet_v3_small"


@pytest.mark.parametrize("flag", ["--sibling", "--calibrate-on"])
def test_a_run_of_another_backbone_is_refused_by_both_names(flag: str, tmp_path: Path):
    run = written_run(tmp_path / "run", "mobilenet_v3_small")
    other = written_run(tmp_path / "other", "shufflenet_v2_x0_5")
    refused = f"{flag} {other} is shufflenet_v2_x0_5, {run} is mobilenet_v3_small: .* same recipe"
    with pytest.raises(UsageError, match=refused):
        open_sibling(flag, other, load_model(run), run)


def test_a_run_of_other_classes_is_refused(tmp_path: Path):
    run = written_run(tmp_path / "run", "mobilenet_v3_small")
    other = written_run(tmp_path / "other", "mobilenet_v3_small", ("hat", "shoe", "sock"))
    with pytest.raises(UsageError, match=f"{other} has other classes than {run}"):
        open_sibling("--sibling", other, load_model(run), run)
