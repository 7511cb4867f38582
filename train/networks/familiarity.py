"""How far a photo lies from the training photos: images (N, 3, H, W) -> squared distances (N,).

images -> the backbone's features, and the means of some of its feature maps, each normalised to
length 1 -> embedding (N, D) -> one matrix product -> squared Mahalanobis distance to the nearest
class mean (Lee et al. 2018, "A Simple Unified Framework for Detecting Out-of-Distribution Samples";
normalised by Mueller and Hein 2025, "Mahalanobis++"). train/evaluate/familiarity.py fits it.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from train.networks.transfer import Network, stages

# Names the embedding in caches: raise the number when it changes.
EMBEDDING = "embedding 1"
_EPSILON = 1e-12  # a dead feature map has length 0


class Embedding(nn.Module):
    """A network's features and embedding, computed in one pass through its backbone."""

    def __init__(self, network: Network, input_px: int) -> None:
        super().__init__()
        self.network = network
        # A plain list, so that the state dict has each weight once.
        self._middle = middle_stages(network.backbone, input_px)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, D) float32."""
        return self.features(images)[1]

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) -> the backbone's features (N, F), and the embedding (N, D)."""
        means: list[Tensor] = []

        def note(_module: nn.Module, _images: object, output: Tensor) -> None:
            means.append(output.mean(dim=(2, 3)))  # now: what follows may write into the map

        hooks = [stage.register_forward_hook(note) for stage in self._middle]
        try:
            features: Tensor = self.network.backbone(images)
        finally:
            for hook in hooks:
                hook.remove()
        return features, torch.cat([_normalized(part) for part in (*means, features)], dim=1)


def _normalized(vectors: Tensor) -> Tensor:
    """(N, D) -> (N, D), each row of length 1. torch's own becomes five more ONNX nodes."""
    lengths: Tensor = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)  # (N, 1)
    return vectors / (lengths + _EPSILON)


def middle_stages(backbone: nn.Module, input_px: int) -> list[nn.Module]:
    """The stages whose feature maps go into the embedding; none if there are no such maps.

    They are the two around the last downsampling: the last stage before it, and the last of the
    first width after it (for MobileNetV2, blocks 13 and 16). What training draws together at the
    end of a network is still apart there. The very last stage is left out, since the features are
    its mean. Only maps of shape (N, channels, side, side) count, which transformers do not have.
    """
    shapes: list[tuple[nn.Module, torch.Size]] = []

    def note(module: nn.Module, _images: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] == output.shape[3]:
            shapes.append((module, output.shape))

    hooks = [stage.register_forward_hook(note) for stage in stages(backbone)]
    try:
        with torch.no_grad():
            backbone.eval()(torch.zeros(1, 3, input_px, input_px))
    finally:
        for hook in hooks:
            hook.remove()
    maps = [(module, shape) for module, shape in shapes if shape[2] > 1]
    ends = [(stage, shape) for (stage, shape), (_, after) in pairwise(maps) if shape != after]
    last_side = maps[-1][1][2] if maps else 0
    before = [stage for stage, shape in ends if shape[2] > last_side]
    after = [stage for stage, shape in ends if shape[2] == last_side]
    return before[-1:] + after[:1]


class Distance(nn.Module):
    """Embeddings (N, D) -> squared distances (N,), by one matrix product.

    With the embedding whitened and projected onto K directions, z, and the class means there, m,
    the squared distance is |z|^2 - 2 z m + |m|^2: z and -2 z m are columns of one product.
    """

    def __init__(self, weight: Tensor, bias: Tensor, classes: int) -> None:
        """`weight` (K + C, D) and `bias` (K + C,), float32; the last C rows are the classes'."""
        super().__init__()
        self.product = nn.Linear(weight.shape[1], weight.shape[0])
        self.product.load_state_dict({"weight": weight, "bias": bias})
        self.requires_grad_(False)
        self._directions = weight.shape[0] - classes

    def forward(self, embedding: Tensor) -> Tensor:
        """(N, D) -> (N,)."""
        product = self.product(embedding)  # (N, K + C)
        projected, to_classes = product[:, : self._directions], product[:, self._directions :]
        squared: Tensor = (projected * projected).sum(dim=1) + to_classes.amin(dim=1)
        return squared


class FamiliarNetwork(nn.Module):
    """A network with its distances: images (N, 3, H, W) -> logits (N, C), distances (N,)."""

    def __init__(self, embedding: Embedding, distance: Distance) -> None:
        super().__init__()
        self.embedding, self.distance = embedding, distance

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) float32 -> (N, C) logits and (N,) distances."""
        features, embedding = self.embedding.features(images)
        logits: Tensor = self.embedding.network.head(features)
        return logits, self.distance(embedding)
