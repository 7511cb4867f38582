"""Learning-rate schedules and the moving average, step by step."""

from pathlib import Path

import pytest
import torch
from torch import nn

from train.config import DataConfig, FitConfig, NetworkConfig
from train.fit.optim import make_optimizer, make_schedule, moving_average
from train.networks.transfer import Network


def config(**changes) -> FitConfig:
    network = NetworkConfig(train_backbone=changes.pop("train_backbone", False))
    return FitConfig(
        out=Path("run"), data=DataConfig(data=Path("data")), network=network, **changes
    )


def small_network(*, train_backbone: bool = False) -> Network:
    backbone = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    return Network(backbone, nn.Sequential(nn.Linear(4, 2)), train_backbone=train_backbone)


def rates(settings: FitConfig, steps: int) -> list[float]:
    optimizer = make_optimizer(settings, small_network())
    schedule = make_schedule(settings, optimizer, steps)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


def test_a_constant_schedule_never_changes():
    assert rates(config(lr=0.5), 5) == [0.5] * 5


@pytest.mark.parametrize("schedule", ["onecycle", "cosine", "step", "constant"])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 6, 11])
@pytest.mark.parametrize("warmup", [0.0, 0.2, 0.9])
def test_schedules_of_few_steps_hold(schedule, steps: int, warmup: float):
    seen = rates(config(lr=1.0, schedule=schedule, warmup=warmup), steps)
    assert len(seen) == steps
    assert all(0 <= rate <= 1 + 1e-9 for rate in seen)


def test_one_cycle_peaks_after_the_warm_up_and_ends_near_nothing():
    seen = rates(config(lr=1.0, schedule="onecycle", warmup=0.2), 50)
    assert seen.index(max(seen)) == pytest.approx(10, abs=1)
    assert max(seen) == pytest.approx(1.0)
    assert seen[0] < 0.05
    assert seen[-1] < 0.01


def test_cosine_warms_up_along_a_line_and_falls_to_nothing():
    seen = rates(config(lr=1.0, schedule="cosine", warmup=0.2), 50)
    assert seen[:3] == pytest.approx([0.01, 0.109, 0.208])
    assert seen[10] == pytest.approx(1.0)
    assert seen[30] == pytest.approx(0.5, abs=0.05)
    assert seen[-1] < 0.01


def test_step_takes_a_tenth_after_each_third():
    assert rates(config(lr=1.0, schedule="step"), 9) == pytest.approx(
        [1] * 3 + [0.1] * 3 + [0.01] * 3
    )


@pytest.mark.parametrize(
    ("optimizer", "kind"), [("adam", "Adam"), ("adamw", "AdamW"), ("sgd", "SGD")]
)
def test_optimizers_are_torchs_by_name(optimizer, kind: str):
    made = make_optimizer(config(optimizer=optimizer), small_network())
    assert type(made).__name__ == kind


def test_only_matrices_are_decayed_and_the_head_learns_faster():
    settings = config(weight_decay=0.1, lr=1.0, head_lr_factor=5.0, train_backbone=True)
    groups = make_optimizer(settings, small_network(train_backbone=True)).param_groups
    assert [(g["lr"], g["weight_decay"]) for g in groups] == [
        (1.0, 0.1),
        (1.0, 0.0),
        (5.0, 0.1),
        (5.0, 0.0),
    ]
    assert all(p.ndim > 1 for g in groups if g["weight_decay"] for p in g["params"])


def test_a_frozen_backbone_is_not_given_to_the_optimizer():
    network = small_network()
    made = make_optimizer(config(), network)
    held = {id(p) for group in made.param_groups for p in group["params"]}
    assert held == {id(p) for p in network.head.parameters()}


def test_the_moving_average_warms_up_and_averages_buffers_too():
    network = nn.BatchNorm1d(1)
    assert network.running_mean is not None
    average = moving_average(network, decay=0.5)
    expected = 1.0
    average.update_parameters(network)  # the first update copies
    for step in range(1, 4):
        with torch.no_grad():
            network.weight.fill_(10.0)
            network.running_mean.fill_(10.0)
        average.update_parameters(network)
        keep = min(0.5, (1 + step) / (10 + step))
        expected = expected * keep + 10 * (1 - keep)
    assert average.state_dict()["module.weight"].item() == pytest.approx(expected)
    assert average.state_dict()["module.running_mean"].item() == pytest.approx(
        10 * (1 - (2 / 11) * (3 / 12) * (4 / 13))
    )
