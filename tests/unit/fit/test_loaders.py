"""Order and augmentation depend on the seed, the epoch and the photo, and on nothing else."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from train.config import Augment, DataConfig, FitConfig, Flip
from train.fit.augmentation import augmentation, batch_mixing
from train.fit.loaders import (
    AugmentedPhotos,
    BalancedOrder,
    EpochOrder,
    mixed_seed,
    photo_loader,
)


def photos() -> AugmentedPhotos:
    pixels = np.random.default_rng(1).integers(0, 256, (4, 48, 48, 3), np.uint8)
    return AugmentedPhotos(pixels, np.arange(4), augmentation("strong", 32), seed=9)


def test_a_variant_is_the_same_whatever_was_drawn_before_it():
    alone, _ = photos()[(2, 3)]
    after_others = photos()
    for draw in [(0, 3), (2, 1), (2, 2)]:
        after_others[draw]
    torch.rand(5)
    again, label = after_others[(2, 3)]
    assert torch.equal(alone, again)
    assert alone.shape == (3, 32, 32)
    assert alone.dtype == torch.uint8
    assert label == 3


def test_a_variant_depends_on_the_epoch_not_on_torchs_state():
    dataset = photos()
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    first, _ = dataset[(0, 0)]
    assert torch.equal(torch.rand(1), expected)
    second, _ = dataset[(1, 0)]
    assert not torch.equal(first, second)


def test_each_epoch_has_every_photo_once_in_its_own_order():
    order = EpochOrder(20, seed=4)
    first = list(order)
    assert sorted(index for _, index in first) == list(range(20))
    order.epoch = 1
    second = list(order)
    assert {epoch for epoch, _ in second} == {1}
    assert [i for _, i in first] != [i for _, i in second]
    order.epoch = 0
    assert list(order) == first


def test_a_balanced_epoch_has_each_class_equally_often():
    labels = np.array([0] * 17 + [1] * 4 + [2] * 3)
    order = BalancedOrder(labels, seed=4)
    first = list(order)
    assert len(first) == len(order) == 24
    assert [int((labels[[i for _, i in first]] == label).sum()) for label in range(3)] == [8, 8, 8]
    assert len(set(first)) == 24, "a photo that comes again comes in another variant"
    common = [index for _, index in first if labels[index] == 0]
    assert len(set(common)) == 8, "no photo repeats before all of its class were drawn"
    order.epoch = 1
    assert not set(order) & set(first)
    order.epoch = 0
    assert list(order) == first


def test_mixed_seeds_of_near_numbers_differ():
    seeds = {mixed_seed(a, b, c) for a in range(5) for b in range(5) for c in range(5)}
    assert len(seeds) == 125


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system pins no process")
def test_there_are_as_many_workers_as_cores_that_the_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {5})
    pixels, labels = np.zeros((2, 8, 8, 3), np.uint8), np.arange(2)
    config = FitConfig(out=Path("out"), data=DataConfig(Path("data")))
    assert photo_loader(config, pixels, labels, 8, EpochOrder(2, seed=0)).num_workers == 1


@pytest.mark.parametrize("name", ["light", "strong", "whole", "crops"])
@pytest.mark.parametrize("flip", ["horizontal", "none"])
def test_photos_are_mirrored_unless_flips_are_off(name: Augment, flip: Flip):
    torch.manual_seed(0)
    photo = torch.zeros(3, 48, 48, dtype=torch.uint8)
    photo[:, :, 24:] = 255  # dark on the left
    variants = [augmentation(name, 32, flip)(photo).float() for _ in range(40)]
    mirrored = sum(bool(v[:, :, :16].mean() > v[:, :, 16:].mean()) for v in variants)
    assert (mirrored > 5) is (flip == "horizontal")
    assert mirrored == 0 or flip == "horizontal"


def test_trivial_augment_gives_photos_of_many_kinds():
    torch.manual_seed(0)
    photo = torch.randint(0, 256, (3, 48, 48), dtype=torch.uint8)
    variants = [augmentation("trivial", 32)(photo) for _ in range(40)]
    assert {(v.shape, v.dtype) for v in variants} == {((3, 32, 32), torch.uint8)}
    means = [v.float().mean().item() for v in variants]
    assert max(means) - min(means) > 60, "brightness is among its operations"


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_of_the_batches_is_mixed(share: float):
    torch.manual_seed(0)
    mixing = batch_mixing(1.0, 0.0, classes=2, share=share)
    assert mixing is not None
    inputs, labels = torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 0, 1])
    mixed = sum(mixing(inputs, labels)[1].ndim == 2 for _ in range(400))
    assert mixed == pytest.approx(400 * share, abs=40)
