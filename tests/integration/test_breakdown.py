"""Where the handler's milliseconds go: the stages make the whole, and the layers are all there."""

import json
from pathlib import Path

import pytest
import torch
from benchmarks import breakdown, models, networks, photos

from serving.model.classifier import Classifier

pytestmark = pytest.mark.slow


def multiply_adds_in_torch(path: Path, px: int) -> int:
    """Of the convolutions, counted as torch's layers are called."""
    counted = []

    def count(layer: torch.nn.Module, _: object, output: torch.Tensor) -> None:
        assert isinstance(layer, torch.nn.Conv2d)
        counted.append(output.numel() * layer.weight[0].numel())

    network = networks.network_of(path)
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(count)
    network(torch.zeros(1, 3, px, px))
    return sum(counted)


def test_stages_and_layers_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    breakdown.main(["--quick", "--out", str(tmp_path)])
    found = json.loads((tmp_path / "breakdown.json").read_text())["measured"]
    assert found["stages_ms"].keys() == photos.KINDS.keys()
    for of in found["stages_ms"].values():
        parts = [of[stage] for stage in (*breakdown.STAGES, breakdown.REST)]
        assert min(parts) > 0
        assert max(parts) < of[breakdown.WHOLE]
    layers = found["layers"]
    assert {"pointwise convolutions, int8", "depthwise convolutions, int8"} <= layers.keys()
    px = Classifier.load(models.BUNDLED).contract.preprocess.width_px
    counted = sum(of["multiply_adds"] for of in layers.values())
    assert counted == multiply_adds_in_torch(models.BUNDLED, px)
    assert min(found["product_multiply_adds_per_s"].values()) > 0
    printed = capsys.readouterr().out
    assert "a large matrix product, int8" in printed
    assert "request_id" not in printed  # the function's log
