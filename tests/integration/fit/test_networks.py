"""What is trained, and how: compiled steps, an accelerator, other backbones."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.integration.fit.test_fit import FINE_TUNING, weights_of
from tests.training import tiny_config
from train.errors import UsageError
from train.fit.loop import fit
from train.runs.model import load_model


@pytest.mark.slow  # compiling takes most of a minute
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")  # of its own deprecated calls
@pytest.mark.skipif(not shutil.which("g++"), reason="torch compiles for the CPU with g++")
def test_a_compiled_step_trains_the_same_head(drawn_data: Path, photo_cache: Path, tmp_path: Path):
    for name, compiled in (("plain", False), ("compiled", True)):
        fit(tiny_config(drawn_data, photo_cache, tmp_path / name, compile=compiled))
    plain, compiled_weights = weights_of(tmp_path / "plain"), weights_of(tmp_path / "compiled")
    assert plain.keys() == compiled_weights.keys()
    for name in plain:
        torch.testing.assert_close(compiled_weights[name], plain[name], rtol=1e-4, atol=1e-5)


def test_compiling_without_a_compiler_says_what_to_do(
    drawn_data: Path, photo_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UsageError, match=r"install g\+\+, or leave --compile out"):
        fit(tiny_config(drawn_data, photo_cache, tmp_path / "run", compile=True))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no accelerator here")
def test_a_run_trained_on_a_gpu_loads_on_the_cpu(
    drawn_data: Path, photo_cache: Path, tmp_path: Path
):
    fit(tiny_config(drawn_data, photo_cache, tmp_path / "run", **FINE_TUNING))
    model = load_model(tmp_path / "run").network
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}


@pytest.mark.parametrize(
    "backbone", ["resnet18", "efficientnet_b0", "mobilenet_v3_small", "mnasnet0_5"]
)
def test_other_backbones_train_without_weights(
    backbone: str, drawn_data: Path, photo_cache: Path, tmp_path: Path
):
    network = {"backbone": backbone, "inner": 8, "train_backbone": True}
    config = tiny_config(drawn_data, photo_cache, tmp_path / "run", network=network, epochs=1)
    fit(config)
    model = load_model(tmp_path / "run")
    with torch.inference_mode():
        logits = model.network(torch.zeros(2, 3, 32, 32))
    assert logits.shape == (2, 3)
    assert np.isfinite(logits.numpy()).all()
