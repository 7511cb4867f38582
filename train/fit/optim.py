"""Optimizers, learning-rate schedules and the moving average of the weights, all from torch."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    SequentialLR,
    StepLR,
)
from torch.optim.swa_utils import AveragedModel

from train.config import FitConfig
from train.networks.transfer import Network

# Two steps up and two down; with fewer, torch's one-cycle divides by zero.
_LEAST_CYCLE_STEPS = 4


def make_optimizer(config: FitConfig, network: Network) -> Optimizer:
    """The optimizer of all trained weights, without decay of biases and normalisation weights."""
    head_lr = config.lr * (config.head_lr_factor if config.network.train_backbone else 1)
    groups = []
    for module, lr in ((network.backbone, config.lr), (network.head, head_lr)):
        trained = [p for p in module.parameters() if p.requires_grad]
        matrices = [p for p in trained if p.ndim > 1]
        vectors = [p for p in trained if p.ndim <= 1]
        groups.append({"params": matrices, "lr": lr, "weight_decay": config.weight_decay})
        groups.append({"params": vectors, "lr": lr, "weight_decay": 0.0})
    groups = [group for group in groups if group["params"]]
    if config.optimizer == "sgd":
        return SGD(groups, lr=config.lr, momentum=0.9, nesterov=True)
    return (Adam if config.optimizer == "adam" else AdamW)(groups, lr=config.lr)


def make_schedule(config: FitConfig, optimizer: Optimizer, steps: int) -> LRScheduler:
    """The learning rate over `steps` optimizer steps.

    onecycle: up over the warm-up, down along a cosine to nearly 0 (Smith and Topin 2018). cosine:
    linear warm-up, then a cosine to 0. step: divided by 10 after each third of the steps.
    """
    warmup_steps = round(config.warmup * steps)
    if config.schedule == "onecycle":
        if steps < _LEAST_CYCLE_STEPS:
            return ConstantLR(optimizer, factor=1.0, total_iters=0)
        peaks = [group["lr"] for group in optimizer.param_groups]
        share = min(max(2, warmup_steps), steps - 2) / steps
        return OneCycleLR(optimizer, max_lr=peaks, total_steps=steps, pct_start=share)
    if config.schedule == "cosine":
        fall = CosineAnnealingLR(optimizer, T_max=max(1, steps - warmup_steps))
        if warmup_steps == 0:
            return fall
        rise = LinearLR(optimizer, start_factor=0.01, total_iters=warmup_steps)
        return SequentialLR(optimizer, [rise, fall], milestones=[warmup_steps])
    if config.schedule == "step":
        return StepLR(optimizer, step_size=max(1, steps // 3), gamma=0.1)
    return ConstantLR(optimizer, factor=1.0, total_iters=0)


def moving_average(network: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of weights and batch-norm statistics.

    The decay rises from 0.1 to `decay` over the first steps, so that the random starting weights of
    the head soon leave the average.
    """
    return AveragedModel(network, multi_avg_fn=_warmed_up_average(decay), use_buffers=True)


def _warmed_up_average(decay: float) -> Callable[..., None]:
    @torch.no_grad()
    def update(averages: list[Tensor], current: list[Tensor], updates: Tensor | int) -> None:
        steps = int(updates)
        keep = min(decay, (1 + steps) / (10 + steps))
        for average, value in zip(averages, current, strict=True):
            if average.is_floating_point():
                average.lerp_(value, 1 - keep)
            else:
                average.copy_(value)

    return update
