"""EfficientNet-Lite, which torchvision has not: its sizes, and weights as others published them."""

from pathlib import Path

import pytest
import torch
from torchvision import models

from serving.preprocess import IMAGENET_MEAN, IMAGENET_STD
from train.efficientnet_lite import NAMES, EfficientNetLite
from train.errors import UsageError
from train.network import load_pretrained
from train.pretrained import open_pretrained


# Millions, from the table of the models' authors (tensorflow/tpu, efficientnet/lite).
@pytest.mark.parametrize(
    ("name", "published"), list(zip(NAMES, (4.7, 5.4, 6.1, 8.2, 13.0), strict=True))
)
def test_each_size_has_the_parameters_of_the_published_network(name: str, published: float):
    model = models.get_model(name)
    assert sum(weight.numel() for weight in model.parameters()) / 1e6 == pytest.approx(
        published, abs=0.06
    )


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """A weights file of other names in the published order, for pixels of the published scale."""
    torch.manual_seed(0)
    state = models.get_model("efficientnet_lite0").state_dict()
    file: Path = tmp_path_factory.mktemp("weights") / "lite0.pth"
    torch.save({f"_tensor{n}": tensor for n, tensor in enumerate(state.values())}, file)
    return file


def test_published_weights_are_brought_to_the_scale_of_our_pixels(published: Path):
    ours = load_pretrained("efficientnet_lite0", str(published)).eval()
    as_published = EfficientNetLite(1.0, 1.0, 0.2).eval()
    assert isinstance(ours, EfficientNetLite)
    as_published.load_state_dict(
        dict(
            zip(
                as_published.state_dict(),
                torch.load(published, weights_only=True).values(),
                strict=True,
            )
        )
    )
    pixels = torch.randint(0, 256, (2, 3, 64, 64)).float()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.inference_mode():
        wanted = as_published.features[0]((pixels - 127) / 128)
        found = ours.features[0]((pixels / 255 - mean) / std)
    assert wanted.std() > 0.01
    # The last row and column look at the padding, whose zeros are another colour on each scale.
    torch.testing.assert_close(found[..., :-1, :-1], wanted[..., :-1, :-1], atol=1e-4, rtol=1e-4)


def test_weights_of_another_size_are_refused(published: Path):
    with pytest.raises(UsageError, match=r"does not fit efficientnet_lite1"):
        load_pretrained("efficientnet_lite1", str(published))


def test_there_is_nothing_to_download():
    with pytest.raises(UsageError, match="it has none to download"):
        load_pretrained("efficientnet_lite0", "IMAGENET1K_V2")


def test_the_untouched_network_names_imagenets_classes(published: Path):
    model = open_pretrained("efficientnet_lite0", str(published))
    assert len(model.contract.classes) == 1000
    assert "jersey" in model.contract.classes
