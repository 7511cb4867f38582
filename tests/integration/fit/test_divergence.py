"""A training whose loss is no number any more ends with what to do, and with the best before it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training import tiny_config
from train.errors import CheckFailedError
from train.fit.loop import fit
from train.runs.folder import LAST, MODEL, RECORD

DIVERGING = {
    "network": {"backbone": "resnet18", "train_backbone": True},
    "optimizer": "sgd",
    "epochs": 2,
}


def test_a_training_that_diverges_at_once_says_so_and_leaves_no_model(
    drawn_data: Path, photo_cache: Path, tmp_path: Path
):
    run = tmp_path / "run"
    with pytest.raises(CheckFailedError, match=r"epoch 1, .* lower --lr") as ended:
        fit(tiny_config(drawn_data, photo_cache, run, **DIVERGING, lr=1e30))
    assert "No model was written" in str(ended.value)
    assert not (run / MODEL).exists()
    assert not (run / LAST).exists()


def test_a_training_without_a_split_to_choose_on_stops_for_its_own_loss(
    drawn_data: Path, photo_cache: Path, tmp_path: Path
):
    reading = {"choose_on": "nothing"}
    with pytest.raises(CheckFailedError, match="lower --lr"):
        fit(tiny_config(drawn_data, photo_cache, tmp_path, **DIVERGING, lr=1e30, reading=reading))


def test_the_best_model_before_a_divergence_is_kept(
    drawn_data: Path, photo_cache: Path, tmp_path: Path
):
    # Each step multiplies the weights by about lr x weight decay: after some they overflow.
    growing = {"optimizer": "sgd", "lr": 1.0, "weight_decay": 1e6, "epochs": 9}
    run = tmp_path / "run"
    with pytest.raises(CheckFailedError, match=r"model\.pt is the best before it"):
        fit(tiny_config(drawn_data, photo_cache, run, **growing))
    kept = torch.load(run / MODEL, weights_only=True)
    assert all(weight.isfinite().all() for weight in kept["weights"].values())
    epochs = json.loads((run / RECORD).read_text())["epochs"]
    assert 1 <= len(epochs) < 9
    assert kept["epoch"] in epochs
    assert np.isfinite([entry["validation_loss"] for entry in epochs]).all()
