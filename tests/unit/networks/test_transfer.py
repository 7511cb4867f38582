"""Backbones, heads and weights: what is frozen, what is refused and how."""

from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import nn
from torchvision import models

from serving.model.preprocess import IMAGENET_MEAN, IMAGENET_STD
from train.config import NetworkConfig
from train.errors import UsageError
from train.networks.backbones import open_backbone, pretraining, whole_model
from train.networks.transfer import build, make_head


@pytest.mark.parametrize(
    ("backbone", "width"),
    [
        ("mobilenet_v2", 1280),
        ("mobilenet_v3_small", 1024),
        ("resnet18", 512),
        ("efficientnet_b0", 1280),
        ("timm/tf_efficientnet_lite0", 1280),
        ("timm/mobilenetv3_small_050", 1024),
        ("shufflenet_v2_x0_5", 1024),
        ("squeezenet1_1", None),
    ],
)
def test_a_backbone_yields_pooled_features_of_its_width(backbone: str, width: int | None):
    if width is None:
        with pytest.raises(UsageError, match="does not end in a linear layer"):
            open_backbone(backbone, "none", 64)
        return
    model, features = open_backbone(backbone, "none", 64)
    assert features == width
    with torch.inference_mode():
        assert model.eval()(torch.zeros(2, 3, 64, 64)).shape == (2, width)


def test_the_inner_layer_and_dropout_are_there_only_when_asked_for():
    kinds = [type(layer) for layer in make_head(8, 3, inner=5, dropout=0.5)]
    assert kinds == [nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    assert [type(layer) for layer in make_head(8, 3, inner=0, dropout=0)] == [nn.Linear]


def test_a_frozen_backbone_stays_in_eval_mode_while_the_head_trains():
    network = build(NetworkConfig(weights="none", dropout=0.5), classes=3).train()
    assert not any(module.training for module in network.backbone.modules())
    assert all(module.training for module in network.head.modules())
    assert not any(parameter.requires_grad for parameter in network.backbone.parameters())


def test_a_trained_backbone_trains():
    network = build(NetworkConfig(weights="none", train_backbone=True), classes=3).train()
    assert all(module.training for module in network.modules())
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_the_first_stages_stay_as_they_are_while_the_others_train():
    config = NetworkConfig(weights="none", train_backbone=True, frozen_stages=4)
    network = build(config, classes=3).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    network(torch.rand(2, 3, 64, 64)).square().sum().backward()
    optimizer.step()
    moved = {n for n, value in network.state_dict().items() if not torch.equal(value, before[n])}
    early = tuple(f"backbone.features.{stage}." for stage in range(4))
    assert not [name for name in moved if name.startswith(early)]
    left = {n.rsplit(".", 1)[0] for n in before.keys() - moved if not n.startswith(early)}
    assert not left, "every later module trains, batch-norm's statistics among it"


@pytest.mark.parametrize("backbone", ["resnet18", "efficientnet_b0", "mobilenet_v3_small"])
def test_any_backbone_has_stages_to_freeze(backbone: str):
    config = NetworkConfig(backbone, "none", train_backbone=True, frozen_stages=2)
    network = build(config, classes=3).train()
    trained = [parameter.requires_grad for parameter in network.backbone.parameters()]
    assert not trained[0]
    assert trained == sorted(trained), "what is frozen comes first"
    assert trained[-1]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"train_backbone": True, "frozen_stages": 19}, "19: mobilenet_v2 has 19 stages"),
        ({"train_backbone": True, "frozen_stages": -1}, "--frozen-stages -1"),
        ({"frozen_stages": 2}, "goes with --train-backbone"),
    ],
)
def test_stages_that_cannot_be_frozen_are_refused(changes: dict[str, Any], match: str):
    with pytest.raises(UsageError, match=match):
        build(NetworkConfig(weights="none", **changes), classes=3)


def test_weights_come_from_a_state_dict_file(tmp_path: Path):
    torch.manual_seed(5)
    original = models.mobilenet_v3_small()
    torch.save(original.state_dict(), tmp_path / "weights.pth")
    loaded = whole_model("mobilenet_v3_small", str(tmp_path / "weights.pth"))
    pairs = zip(original.state_dict().values(), loaded.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_weights_that_do_not_fit_are_refused_in_one_line(tmp_path: Path):
    torch.save(models.mobilenet_v3_small().state_dict(), tmp_path / "weights.pth")
    with pytest.raises(UsageError, match="does not fit resnet18") as caught:
        whole_model("resnet18", str(tmp_path / "weights.pth"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut short"])
def test_a_weights_file_that_torch_cannot_read_is_refused(tmp_path: Path, content: bytes):
    file = tmp_path / "weights.pth"
    file.write_bytes(content)
    with pytest.raises(UsageError, match="not a state-dict file"):
        whole_model("mobilenet_v2", str(file))


def test_without_a_network_one_line_names_the_way_out(monkeypatch: pytest.MonkeyPatch):
    def unreachable(*args, **kwargs):
        raise URLError("Name or service not known")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    with pytest.raises(UsageError, match="--weights FILE") as caught:
        whole_model("mobilenet_v2", "default")
    assert "\n" not in str(caught.value)


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(UsageError, match="resnet18"):
        whole_model("resnet17", "none")
    with pytest.raises(UsageError, match="timm has no such model; the nearest are timm/resnet18"):
        open_backbone("timm/resnet181", "none", 64)
    with pytest.raises(UsageError, match="IMAGENET22K is neither a file, nor `default`"):
        whole_model("mobilenet_v2", "IMAGENET22K")


def test_timm_weights_come_from_a_file_without_its_classifier(tmp_path: Path):
    import timm

    torch.manual_seed(5)
    original = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=1000)
    torch.save(original.state_dict(), tmp_path / "weights.pth")
    loaded, _ = open_backbone("timm/tf_efficientnet_lite0", str(tmp_path / "weights.pth"), 64)
    assert all(
        torch.equal(value, original.state_dict()[name])
        for name, value in loaded.state_dict().items()
    )


@pytest.mark.parametrize(
    ("backbone", "mean", "px", "resample"),
    [
        ("mobilenet_v2", (0.485, 0.456, 0.406), 224, "draft-bilinear-antialias"),
        ("inception_v3", (0.5, 0.5, 0.5), 299, "draft-bilinear-antialias"),
        ("timm/tf_efficientnet_lite2", (0.5, 0.5, 0.5), 260, "draft-bicubic-antialias"),
    ],
)
def test_a_backbone_brings_the_preprocessing_it_learnt_with(
    backbone: str, mean: tuple[float, ...], px: int, resample: str
):
    spec = pretraining(backbone).spec
    assert (spec.mean, spec.height_px, spec.resample) == (mean, px, resample)


def test_inception_answers_as_it_converts_its_input_itself():
    torch.manual_seed(3)
    network = whole_model("inception_v3", "none").eval()
    images = torch.rand(1, 3, 96, 96)  # of 0 to 1
    imagenet, own = (
        (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
        for mean, std in (
            (IMAGENET_MEAN, IMAGENET_STD),
            (pretraining("inception_v3").spec.mean, pretraining("inception_v3").spec.std),
        )
    )
    with torch.inference_mode():
        ours = network(own)
        # As torchvision sets it where it loads the weights.
        network.transform_input = True  # type: ignore[assignment]
        assert torch.allclose(network(imagenet), ours, atol=1e-4)
