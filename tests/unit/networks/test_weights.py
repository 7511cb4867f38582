"""Files of starting weights as people have them, and downloads that are not what they should be."""

import hashlib
import io
from argparse import Namespace
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torchvision import models

from train.__main__ import main
from train.errors import UsageError
from train.networks.backbones import open_backbone, whole_model
from train.networks.weights import read_state_dict, require_intact

State = dict[str, Tensor]
PAGE = b"<html>sign in</html>"


def network() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))


def prefixed(prefix: str, state: State) -> State:
    return {prefix + name: value for name, value in state.items()}


WRAPPED: dict[str, Callable[[State], Any]] = {
    "plain": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "model": lambda state: {"model": state, "optimizer": {"state": {}, "param_groups": []}},
    "data parallel": lambda state: prefixed("module.", state),
    "compiled": lambda state: prefixed("_orig_mod.", state),
    "lightning": lambda state: {"state_dict": prefixed("model.", state), "hyper_parameters": {}},
    "compiled in parallel": lambda state: {"model": prefixed("module._orig_mod.", state)},
    "nested": lambda state: {"checkpoint": {"model": {"state_dict": prefixed("module.", state)}}},
    "an average": lambda state: AveragedModel(network()).state_dict(),
    "the average is preferred": lambda state: {
        "state_dict": {name: value * 2 for name, value in state.items()},
        "state_dict_ema": state,
    },
    "settings beside": lambda state: {"model": state, "args": Namespace(lr=0.1)},
    "NumPy's figures beside": lambda state: {"state_dict": state, "best": np.float64(3)},
}  # fmt: skip


@pytest.mark.parametrize("how", WRAPPED)
def test_weights_are_found_however_a_training_wrapped_them(how: str, tmp_path: Path):
    state = network().state_dict()
    torch.save(WRAPPED[how](state), tmp_path / "weights.pth")
    found = read_state_dict(tmp_path / "weights.pth")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], value) for name, value in state.items())


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.bin"])
def test_safetensors_are_read_whatever_their_ending(name: str, tmp_path: Path):
    state = network().state_dict()
    save_file(prefixed("module.", state), tmp_path / name)
    found = read_state_dict(tmp_path / name)
    assert all(torch.equal(found[key], value) for key, value in state.items())


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"\n" + PAGE, "it is a web page"),
        (b"\x08\0\0\0\0\0\0\0{\"a\": 1}", "is not a state-dict file"),
        (b"\xff" * 8 + b"{", "is not a state-dict file"),
    ],
)  # fmt: skip
def test_a_file_without_weights_is_refused_by_what_it_is(
    content: bytes, match: str, tmp_path: Path
):
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(UsageError, match=match) as caught:
        read_state_dict(tmp_path / "weights.pth")
    assert "\n" not in str(caught.value)


def test_a_whole_network_in_a_file_names_its_class_and_the_way(tmp_path: Path):
    torch.save(network(), tmp_path / "weights.pth")
    with pytest.raises(UsageError, match=r"Sequential, a Python object.* torch\.save\(model"):
        read_state_dict(tmp_path / "weights.pth")


@pytest.mark.parametrize("content", [{}, [1], {"state_dict": {}}, {"epoch": 3}, torch.zeros(2)])
def test_a_file_without_tensors_by_name_is_refused(content: Any, tmp_path: Path):
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(UsageError, match="does not contain a state dict"):
        read_state_dict(tmp_path / "weights.pth")


def test_a_runs_checkpoint_as_weights_names_the_way(tmp_path: Path):
    state = {"format": 1, "weights": network().state_dict(), "manifest_sha256": "0" * 64}
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(UsageError, match=f"--start {tmp_path} takes it"):
        read_state_dict(tmp_path / "model.pt")


def test_a_classifier_of_other_classes_does_not_hinder_a_backbone(tmp_path: Path):
    torch.save(models.mobilenet_v3_small(num_classes=7).state_dict(), tmp_path / "weights.pth")
    backbone, _ = open_backbone("mobilenet_v3_small", str(tmp_path / "weights.pth"), 64)
    own = torch.load(tmp_path / "weights.pth")["features.0.0.weight"]
    assert torch.equal(backbone.state_dict()["features.0.0.weight"], own)
    with pytest.raises(UsageError, match="does not fit mobilenet_v3_small"):
        whole_model("mobilenet_v3_small", str(tmp_path / "weights.pth"))


@pytest.mark.parametrize(
    "backbone",
    [
        "timm/vit_tiny_patch16_224",
        pytest.param("timm/deit3_small_patch16_224", marks=pytest.mark.slow),
        pytest.param("timm/swinv2_cr_tiny_224", marks=pytest.mark.slow),
        pytest.param("vit_b_32", marks=pytest.mark.slow),
    ],
)
def test_a_backbone_built_for_a_size_takes_weights_of_another(backbone: str, tmp_path: Path):
    torch.manual_seed(5)
    own = open_backbone(backbone, "none", 224)[0].state_dict()
    torch.save(own, tmp_path / "weights.pth")
    network, width = open_backbone(backbone, str(tmp_path / "weights.pth"), 96)
    with torch.inference_mode():
        assert network.eval()(torch.zeros(1, 3, 96, 96)).shape == (1, width)
    alike = [name for name, value in network.state_dict().items() if value.shape == own[name].shape]
    assert len(alike) > 50
    assert all(torch.equal(network.state_dict()[name], own[name]) for name in alike)


class Answer(io.BytesIO):
    """A server's answer, as urlopen gives it."""

    def info(self) -> Message:
        return Message()


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torch keeps downloads; empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.mark.parametrize("verb", ["predict", "fit"])
def test_a_proxys_page_instead_of_weights_is_not_kept(
    verb: str, checkpoints: Path, drawn_data: Path, tmp_path: Path, monkeypatch, capsys
):
    monkeypatch.setattr("torch.hub.urlopen", lambda *_, **__: Answer(PAGE))
    where = ["--data", str(drawn_data), "--out", str(tmp_path / "run"), "--threads", "1"]
    words = {
        "predict": ["--backbone", "mobilenet_v2", "photo.jpg"],
        "fit": [*where, "--cache", str(tmp_path / "cache")],
    }
    for _ in range(2):  # the second time, nothing of the first is in the way
        assert main([verb, *words[verb]]) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert "mobilenet_v2's weights is not the file that it should be" in line
        assert "--weights FILE" in line
        assert list(checkpoints.iterdir()) == []


def test_a_damaged_download_in_the_cache_is_downloaded_again(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch
):
    def unreachable(*_: object, **__: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr("torch.hub.urlopen", unreachable)
    checkpoints.mkdir(parents=True)
    damaged = checkpoints / Path(models.MobileNet_V2_Weights.DEFAULT.url).name
    damaged.write_bytes(PAGE)
    with pytest.raises(UsageError, match="cannot be downloaded"):
        whole_model("mobilenet_v2", "default")
    assert not damaged.exists()


def test_a_file_of_hugging_faces_cache_is_compared_with_its_hash(tmp_path: Path):
    blobs = tmp_path / "models--timm--small" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / hashlib.sha256(b"weights").hexdigest()).write_bytes(b"weights")
    (blobs / ("a" * 40)).write_bytes(b"a small file, by git's hash")
    require_intact("timm/small", tmp_path)
    (blobs / ("b" * 64)).write_bytes(PAGE)
    with pytest.raises(RuntimeError, match="invalid hash value"):
        require_intact("timm/small", tmp_path)
    assert len(list(blobs.iterdir())) == 2
