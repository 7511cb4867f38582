"""A map's mean is the logit through torch, the files and the handler; else there is no map."""

import base64
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from serving.app import App
from serving.model.classifier import Classifier
from serving.model.contract import Contract
from serving.model.preprocess import PreprocessSpec, normalize
from serving.settings import Settings
from tests.conftest import no_fetch
from tests.drawn import encoded, picture
from tests.networks import drawn_network
from train.evaluate.inference import pixels_of_files
from train.evaluate.report.gallery import Mistake
from train.evaluate.report.pictures import with_maps
from train.export.int8 import Quantizer, Recipe
from train.export.onnx import write_onnx
from train.networks.torch_model import TorchModel
from train.networks.transfer import Network, make_head

CLASSES = ("blue", "green", "red")
PX = 96
CONTRACT = Contract(name="drawn", classes=CLASSES, preprocess=PreprocessSpec.square(PX))
PHOTOS = [encoded(picture(colour, seed=seed)) for seed in range(3) for colour in CLASSES]


def pixels() -> NDArray[np.uint8]:
    return pixels_of_files(PHOTOS, CONTRACT.preprocess, 10**6)


@pytest.fixture(scope="module")
def network() -> Network:
    return drawn_network("resnet18", input_px=PX)


@pytest.fixture(scope="module")
def float32(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "classifier.onnx"
    write_onnx(network, CONTRACT, path)
    return path


@pytest.fixture(scope="module")
def quantizer(float32: Path, tmp_path_factory: pytest.TempPathFactory) -> Quantizer:
    return Quantizer(float32, CONTRACT.preprocess, pixels(), tmp_path_factory.mktemp("int8"))


def test_torch_and_the_file_draw_the_same_maps(network: Network, float32: Path):
    batch = normalize(pixels(), CONTRACT.preprocess)
    inferred, expected = TorchModel(network, CONTRACT).explain(batch)
    _, found = Classifier.load(float32).explain(batch)
    assert expected is not None
    assert found is not None
    assert expected.shape == (len(PHOTOS), PX // 32, PX // 32)
    np.testing.assert_allclose(expected.mean(axis=(1, 2)), inferred.logits.max(axis=1), atol=1e-3)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_channels_last_batch_of_torch_has_the_same_maps(network: Network):
    batch = torch.from_numpy(normalize(pixels(), CONTRACT.preprocess))
    turned = batch.contiguous(memory_format=torch.channels_last)
    _, expected = TorchModel(network, CONTRACT).explain(batch.numpy())
    _, found = TorchModel(network, CONTRACT).explain(turned.numpy())
    assert expected is not None
    assert found is not None
    np.testing.assert_allclose(found, expected, atol=1e-4)


def require_handlers_map(file: Path) -> None:
    """The handler's map has the logit that the file computes as its mean."""
    classifier = Classifier.load(file)
    app = App(classifier, Settings(), no_fetch)
    logits = classifier.logits(normalize(pixels(), CONTRACT.preprocess)).max(axis=1)
    for photo, logit in zip(PHOTOS, logits.tolist(), strict=True):
        asked = {"image": base64.b64encode(photo).decode(), "explain": True}
        explained = app.handle(asked, "id", remaining_s=30)["explanation"]
        assert np.shape(explained["map"]) == (PX // 32, PX // 32)
        assert np.mean(explained["map"]) == pytest.approx(logit, abs=1e-3)


def test_the_handlers_map_has_the_files_logit_as_its_mean(float32: Path):
    require_handlers_map(float32)


def test_so_has_an_int8_files_whose_last_layer_is_float(quantizer: Quantizer):
    require_handlers_map(quantizer.make(Recipe("minmax", "paired", 1)))


def test_an_int8_file_whose_last_layer_is_int8_has_no_map(quantizer: Quantizer):
    contract = Classifier.load(quantizer.make(Recipe("minmax", "paired", 0))).contract
    assert "not one linear layer in float32" in contract.unexplained_because


class Functional(nn.Module):
    """A backbone that pools by a function, as DenseNet does."""

    def __init__(self, pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.pool = nn.Conv2d(3, 8, 5, stride=4), pool

    def forward(self, images: Tensor) -> Tensor:
        pooled: Tensor = self.pool(nn.functional.relu(self.layer(images)))
        return pooled


MEAN = nn.Sequential(nn.Conv2d(3, 8, 5, stride=4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
BACKBONES = {
    "a pooling layer": (MEAN, {}, ""),
    "dropout": (MEAN, {"dropout": 0.5}, ""),
    "a mean": (Functional(lambda maps: maps.mean((2, 3))), {}, ""),
    "a mean of the last two": (Functional(lambda maps: maps.mean((-2, -1))), {}, ""),
    "an inner layer": (MEAN, {"inner": 4}, "inner layer"),
    "a layer after the pooling": (
        nn.Sequential(MEAN, nn.Linear(8, 8), nn.Hardswish()),
        {},
        "after the pooling",
    ),
    "the largest": (Functional(lambda maps: maps.amax((2, 3))), {}, "does not end in the mean"),
    "one position": (Functional(lambda maps: maps[:, :, 0, 0]), {}, "does not end in the mean"),
    "a mean of rows": (
        nn.Sequential(Functional(lambda maps: maps[:, :, :1].mean((2, 3))), nn.LayerNorm(8)),
        {},
        "does not end in the mean",
    ),
}


@pytest.mark.parametrize(("backbone", "head", "because"), BACKBONES.values(), ids=list(BACKBONES))
def test_only_one_linear_layer_of_a_mean_is_explained(
    backbone: nn.Module, head: dict[str, float], because: str, tmp_path: Path
):
    made = make_head(8, 3, **{"inner": 0, "dropout": 0.0, **head})  # type: ignore[arg-type]
    network = Network(backbone, made, train_backbone=True).eval()
    write_onnx(network, CONTRACT, tmp_path / "m.onnx")
    classifier = Classifier.load(tmp_path / "m.onnx")
    assert because in classifier.contract.unexplained_because
    assert bool(because) == bool(classifier.contract.unexplained_because)
    batch = normalize(pixels(), CONTRACT.preprocess)
    inferred, found = classifier.explain(batch)
    _, expected = TorchModel(network, CONTRACT).explain(batch)
    if because:
        assert found is expected is None
        return
    assert expected is not None
    assert found is not None
    np.testing.assert_allclose(found, expected, atol=1e-3)
    np.testing.assert_allclose(found.mean(axis=(1, 2)), inferred.logits.max(axis=1), atol=1e-3)


def test_a_reports_mistakes_have_maps_of_a_run_and_of_its_file(
    network: Network, float32: Path, tmp_path: Path
):
    (tmp_path / "a.jpg").write_bytes(PHOTOS[0])
    mistake = Mistake(tmp_path / "a.jpg", "blue", "red", 0.9, 0.1)
    for model in (TorchModel(network, CONTRACT), Classifier.load(float32)):
        (drawn,) = with_maps(model, [mistake])
        assert drawn.map_uri.startswith("data:image/png;base64,")
    inner = drawn_network("resnet18", input_px=PX, inner=4)
    assert with_maps(TorchModel(inner, CONTRACT), [mistake]) == (mistake,)
