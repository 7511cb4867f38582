"""Class activation maps of a torch network: images (N, 3, H, W) -> maps (N, h, w), in logits.

As serving/model/explanation.py computes them of an ONNX file. A run's report is made before
there is one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from train.networks.transfer import Network


def top_class_maps(network: Network, images: Tensor) -> Tensor | None:
    """The maps of the most likely classes, each with the logit as its mean.

    None unless the head is one linear layer of a feature map's mean over its positions.
    """
    layers = [layer for layer in network.head.modules() if not isinstance(layer, nn.Sequential)]
    layers = [layer for layer in layers if not isinstance(layer, nn.Dropout)]
    linear = layers[0]
    if len(layers) != 1 or not isinstance(linear, nn.Linear):
        return None
    with _Pooled() as pooled:
        features = network.backbone(images)  # (N, F)
    feature_map = next((each for each in pooled.maps if _has_mean(each, features)), None)
    if feature_map is None:
        return None
    labels = linear(features).argmax(dim=1)  # (N,)
    maps: Tensor = torch.einsum("nf,nfhw->nhw", linear.weight[labels], feature_map)
    return maps + linear.bias[labels, None, None]


class _Pooled(TorchFunctionMode):
    """Notes each (N, F, h, w) of which some function makes one number for each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.maps: list[Tensor] = []

    def __torch_function__(
        self,
        function: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        given = args[0] if args else None
        if isinstance(given, Tensor) and isinstance(result, Tensor) and given.ndim == 4:
            photos, channels, height, width = given.shape
            if height * width > 1 and result.numel() == photos * channels:
                self.maps.append(given)
        return result


def _has_mean(feature_map: Tensor, features: Tensor) -> bool:
    mean = feature_map.mean(dim=(2, 3))
    return mean.shape == features.shape and torch.allclose(mean, features, rtol=1e-4, atol=1e-5)
