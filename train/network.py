"""A torchvision backbone and a new head: what is loaded, what is frozen, what comes out.

images (N, 3, H, W) -> backbone -> features (N, F) -> head -> logits (N, C)
"""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision import models

from train import efficientnet_lite
from train.config import FitConfig, NetworkConfig
from train.errors import UsageError


class Network(nn.Module):
    """A backbone that yields pooled features, and the head trained on them.

    Of a trained backbone the first `frozen_stages` stages keep their starting weights.
    """

    def __init__(
        self, backbone: nn.Module, head: nn.Module, *, train_backbone: bool, frozen_stages: int = 0
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        # A list of modules is no module of its own: the state dict has each weight once.
        self.frozen = stages(backbone)[:frozen_stages] if train_backbone else [backbone]
        for module in self.frozen:
            module.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) float32 -> (N, C) logits."""
        logits: Tensor = self.head(self.backbone(images))
        return logits

    def train(self, mode: bool = True) -> "Network":
        """As nn.Module.train, but what is frozen stays in eval mode.

        Frozen weights do not keep batch-norm from moving its running statistics: only eval mode
        does, and without it the features drift under the head that is learning them.
        """
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self


def load_weights(network: Network, weights: Mapping[str, Tensor]) -> None:
    """Put weights of a file into a network.

    torch keeps a version of each module beside a state dict's tensors, and MNASNet refuses weights
    without: it is the version of this network's modules, which such weights were taken from.

    Raises:
        RuntimeError: they are not this network's, by name or shape.
    """
    state: Any = OrderedDict(weights)
    state._metadata = network.state_dict()._metadata  # type: ignore[attr-defined]
    network.load_state_dict(state)


def stages(backbone: nn.Module) -> list[nn.Module]:
    """The backbone's parts with weights, from its input on; of an nn.Sequential its own parts."""
    parts: list[nn.Module] = []
    for child in backbone.children():
        parts += child.children() if isinstance(child, nn.Sequential) else [child]
    return [part for part in parts if list(part.parameters())]


def build(config: NetworkConfig, classes: int) -> Network:
    """Make the network with its starting weights; the head's come from torch's random state.

    Raises:
        UsageError: an unknown backbone or weights, or weights that cannot be had or do not fit.
    """
    backbone, features = pretrained_backbone(config)
    head = make_head(features, classes, inner=config.inner, dropout=config.dropout)
    _require_stages(config, backbone)
    network = Network(
        backbone,
        head,
        train_backbone=config.train_backbone,
        frozen_stages=config.frozen_stages,
    )
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def require_trainable(network: Network, config: FitConfig, batch: int) -> None:
    """Raise UsageError if a step of `batch` photos at one of the training's sizes cannot be."""
    norms = (m for m in network.modules() if isinstance(m, _BatchNorm) and m.weight.requires_grad)
    if batch == 1 and any(norms):
        raise UsageError(
            "--batch 1 a process is too few for this backbone, whose batch-norm is trained on the "
            "photos of a step: give each two or more."
        )
    name = config.network.backbone
    require_size(network, name, config.network.input_px, f"--input-px {config.network.input_px}")
    for size in config.progressive_px:
        require_size(network, name, size, f"--progressive-px {size}")


def require_size(network: nn.Module, backbone: str, input_px: int, given: str) -> None:
    """Send a grey image through the network, as it was before and after.

    Raises:
        UsageError: it does not take images of this size; the message begins with `given`.
    """
    before = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, input_px, input_px))
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).strip().splitlines()[-1:]
        raise UsageError(
            f"{given} is no size that {backbone} takes: {''.join(reason)} Try the size that its "
            "weights were trained at, often 224."
        ) from error
    finally:
        network.train(before)


def _require_stages(config: NetworkConfig, backbone: nn.Module) -> None:
    if config.frozen_stages and not config.train_backbone:
        raise UsageError("--frozen-stages goes with --train-backbone: without it all are frozen.")
    found = len(stages(backbone))
    if not 0 <= config.frozen_stages < found:
        raise UsageError(
            f"--frozen-stages {config.frozen_stages}: {config.backbone} has {found} stages, "
            "of which one at least is trained."
        )


def make_head(features: int, classes: int, *, inner: int, dropout: float) -> nn.Sequential:
    """(N, features) -> (N, classes); with `inner` units between, and dropout, where above 0."""
    layers: list[nn.Module] = []
    if inner:
        layers += [nn.Linear(features, inner), nn.ReLU()]
    if dropout:
        layers.append(nn.Dropout(dropout))
    layers.append(nn.Linear(inner or features, classes))
    return nn.Sequential(*layers)


def pretrained_backbone(config: NetworkConfig) -> tuple[nn.Module, int]:
    """The backbone without its ImageNet classifier, and the width F of its features."""
    model = load_pretrained(config.backbone, config.weights)
    linears = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not linears:
        raise UsageError(f"--backbone {config.backbone} does not end in a linear layer.")
    parent_name, _, name = linears[-1].rpartition(".")
    parent = model.get_submodule(parent_name)
    features = int(model.get_submodule(linears[-1]).in_features)  # type: ignore[arg-type]
    setattr(parent, name, nn.Identity())
    for sibling, module in parent.named_children():  # the new head brings its own dropout
        if isinstance(module, nn.Dropout):
            setattr(parent, sibling, nn.Identity())
    return model, features


def require_backbone(name: str) -> None:
    """Raise UsageError unless the name is of a classification model; torchvision has others too."""
    known = [*models.list_models(module=models), *efficientnet_lite.NAMES]
    if name.lower() not in known:  # torchvision takes capitals as well
        raise UsageError(
            f"--backbone {name} is not one of torchvision's classification models, nor of ours: "
            f"{', '.join(known)}."
        )


def load_pretrained(backbone: str, weights: str) -> nn.Module:
    """A whole classification model with weights by name, from a file, or `none`."""
    require_backbone(backbone)
    builder = models.get_model_builder(backbone)
    names = [entry.name for entry in models.get_model_weights(backbone)]
    has_side_heads = backbone in ("googlenet", "inception_v3")
    model: nn.Module = builder(weights=None, **({"init_weights": False} if has_side_heads else {}))
    if weights == "none":
        return _without_side_heads(model)
    if weights in names:
        state = _download(backbone, weights)
    elif Path(weights).is_file():
        state = _read_state_dict(Path(weights))
    else:
        raise UsageError(
            f"--weights {weights} is neither a file, nor `none`, nor one of {backbone}'s weights: "
            f"{', '.join(names) or 'it has none to download'}."
        )
    try:
        if isinstance(model, efficientnet_lite.EfficientNetLite):
            state = efficientnet_lite.as_ours(state, model)
        model.load_state_dict(state)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise UsageError(f"--weights {weights} does not fit {backbone}: {reason}") from error
    return _without_side_heads(model)


def _without_side_heads(model: nn.Module) -> nn.Module:
    """GoogLeNet and Inception answer with a tuple in training mode while they have side heads."""
    for name in ("aux1", "aux2", "AuxLogits"):
        if hasattr(model, name):
            setattr(model, name, None)
            model.aux_logits = False  # type: ignore[assignment]
    return model


def _download(backbone: str, weights: str) -> dict[str, Tensor]:
    entry = models.get_model_weights(backbone)[weights]
    try:
        state: dict[str, Tensor] = entry.get_state_dict(progress=True)
    except (URLError, OSError) as error:
        raise UsageError(
            f"The weights {weights} of {backbone} cannot be downloaded ({error}). "
            "Without a network, give a state-dict file: --weights FILE."
        ) from error
    return state


def _read_state_dict(file: Path) -> dict[str, Tensor]:
    import pickle

    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise UsageError(f"--weights {file} is not a state-dict file that torch reads.") from error
    if not isinstance(state, dict):
        raise UsageError(f"--weights {file} holds a {type(state).__name__}, not a state dict.")
    return state
