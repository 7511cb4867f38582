"""Which runs with frozen weights are averaged: those whose frozen weights are the same."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.networks import drawn_network
from tests.training import tiny_config
from train import runs
from train.average import AverageConfig, average
from train.checkpoints import save_derived
from train.errors import UsageError
from train.lineage import Training
from train.saved import load_single

FROZEN: dict[str, Any] = {"backbone": "mobilenet_v3_small"}
TRAINED = FROZEN | {"train_backbone": True}


def written_run(
    out: Path, network: dict[str, Any], changed: str = "", *, by: float = 0.01, **changes
) -> Path:
    """A run whose weights are always the same but for those of one layer, `changed`."""
    weights = drawn_network(network["backbone"]).state_dict()
    if changed:
        weights[changed] += by * torch.rand_like(weights[changed])
    config = tiny_config(Path("photos"), Path("cache"), out, network=network, **changes)
    save_derived(Training(config), ("hat", "shoe", "skirt"), "", weights, {})
    return out


def test_heads_on_one_frozen_backbone_are_averaged_and_their_mean_once_more(tmp_path: Path):
    members = [
        written_run(tmp_path / f"run{n}", FROZEN, "head.0.weight", by=n, seed=n) for n in range(3)
    ]
    average(AverageConfig(tuple(members), tmp_path / "mean"))
    average(AverageConfig((members[0], tmp_path / "mean"), tmp_path / "again"))
    assert len(load_single(tmp_path / "again").averaged) == 4


@pytest.mark.parametrize(
    "changed", ["backbone.features.12.0.weight", "backbone.features.0.1.running_var"]
)
def test_heads_on_different_frozen_backbones_are_refused(changed: str, tmp_path: Path):
    one, other = (
        written_run(tmp_path / "one", FROZEN | {"weights": "V1"}),
        written_run(tmp_path / "other", FROZEN | {"weights": "V2"}, changed),
    )
    refused = f"{other} has other weights in its frozen backbone than {one} .*V2; --weights V1.*"
    with pytest.raises(UsageError, match=refused + "train both from the same weights"):
        average(AverageConfig((one, other), tmp_path / "mean"))
    assert not (tmp_path / "mean" / runs.MODEL).exists()


def test_drawn_backbones_are_told_by_the_seed_that_drew_them(tmp_path: Path):
    layer = "backbone.features.0.0.weight"
    drawn = FROZEN | {"weights": "none"}
    one = written_run(tmp_path / "one", drawn, seed=1)
    other = written_run(tmp_path / "other", drawn, layer, seed=2)
    with pytest.raises(UsageError, match=r"\(--weights none --seed 2; --weights none --seed 1\)"):
        average(AverageConfig((one, other), tmp_path / "mean"))


@pytest.mark.parametrize(
    ("frozen_stages", "changed", "refused"),
    [
        ((3, 2), "backbone.features.1.block.0.0.weight", "other weights in its 2 frozen stages"),
        ((3, 2), "backbone.features.2.block.0.0.weight", "photos is missing|train is missing"),
        ((3, 0), "backbone.features.0.0.weight", "photos is missing|train is missing"),
    ],
    ids=["frozen in both", "frozen in one", "trained in one"],
)
def test_stages_that_all_runs_froze_are_the_same(
    frozen_stages: tuple[int, int], changed: str, refused: str, tmp_path: Path
):
    one, other = (
        written_run(tmp_path / f"run{n}", TRAINED | {"frozen_stages": stages}, layer)
        for n, (stages, layer) in enumerate(zip(frozen_stages, ("", changed), strict=True))
    )
    with pytest.raises(UsageError, match=refused):  # photos are looked for after the weights
        average(AverageConfig((one, other), tmp_path / "mean"))
