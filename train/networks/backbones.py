"""A backbone's name in, a network that yields pooled features out, and the preprocessing of its
pre-training.

    mobilenet_v2                 torchvision's classification models, by their names
    timm/tf_efficientnet_lite0   timm's models, by timm/NAME

Weights are `default`, which downloads the library's own, a state-dict file, or `none`. Backbones
that must know their input size when they are built, such as ViT, are built for it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.vision_transformer import interpolate_embeddings
from torchvision.transforms import InterpolationMode

from serving.model.preprocess import BICUBIC_RESAMPLE, DRAFT_RESAMPLE, PreprocessSpec
from train.config import NetworkConfig
from train.errors import UsageError
from train.networks import timm_models
from train.networks.timm_models import TIMM
from train.networks.weights import (
    DEFAULT,
    NONE,
    State,
    does_not_fit,
    downloaded,
    read_state_dict,
    unsupported,
)

# Both were trained on (pixel - 0.5) / 0.5. With `transform_input`, which is not set here, they
# convert from ImageNet's normalisation themselves (torchvision/models/inception.py).
_HALVES = (0.5, 0.5, 0.5)
_TRAINED_ON_HALVES = ("googlenet", "inception_v3")

# The builders of torchvision that take an input size, by the beginning of their names.
_BUILT_FOR_SIZE: dict[str, Callable[[int], dict[str, Any]]] = {
    "vit_": lambda px: {"image_size": px},
    "maxvit_": lambda px: {"input_size": (px, px)},
}


@dataclass(frozen=True, slots=True)
class Pretraining:
    """The preprocessing and input size of a backbone's pre-training."""

    spec: PreprocessSpec
    classes: tuple[str, ...] = ()
    """Class names of its own classifier; empty if the library does not give them."""


def preprocessing(
    backbone: str, input_px: int, levels: tuple[float, float] | None = None
) -> PreprocessSpec:
    """The backbone's own mean, std and resampling, for a square input of photos with these levels.

    A size of 0 is the backbone's own.

    Raises:
        UsageError: no library has the backbone.
    """
    own = pretraining(backbone).spec
    own = replace(own, levels=levels)
    return replace(own, height_px=input_px, width_px=input_px) if input_px else own


def with_own_size(config: NetworkConfig) -> NetworkConfig:
    """The settings with the size of the backbone's pre-training, if none is given.

    Raises:
        UsageError: no library has the backbone.
    """
    return replace(config, input_px=preprocessing(config.backbone, config.input_px).height_px)


def pretraining(backbone: str) -> Pretraining:
    """What the library says of the backbone's default weights, without loading them.

    Raises:
        UsageError: no library has the backbone.
    """
    require_backbone(backbone)
    if backbone.startswith(TIMM):
        from timm.data.config import resolve_data_config

        rules = resolve_data_config({}, pretrained_cfg=timm_models.config_of(backbone))
        px = int(rules["input_size"][-1])
        bicubic = rules["interpolation"] == "bicubic"
        mean, std = rules["mean"], rules["std"]
        return Pretraining(_spec(px, mean, std, bicubic=bicubic))
    entry = models.get_model_weights(backbone).DEFAULT
    presets = entry.transforms()
    mean, std = presets.mean, presets.std
    if backbone in _TRAINED_ON_HALVES:
        mean, std = _HALVES, _HALVES
    bicubic = presets.interpolation == InterpolationMode.BICUBIC
    spec = _spec(presets.crop_size[0], mean, std, bicubic=bicubic)
    return Pretraining(spec, tuple(entry.meta["categories"]))


def _spec(px: int, mean: Any, std: Any, *, bicubic: bool) -> PreprocessSpec:
    resample = BICUBIC_RESAMPLE if bicubic else DRAFT_RESAMPLE
    return PreprocessSpec(px, px, tuple(mean), tuple(std), resample)


def require_backbone(name: str) -> None:
    """Raise UsageError unless a library has a classification model of this name."""
    if name.startswith(TIMM):
        import timm

        if not timm.is_model(name.removeprefix(TIMM).partition(".")[0]):
            raise UsageError(
                f"--backbone {name}: timm has no such model{timm_models.nearest(name)}"
            )
        return
    known = models.list_models(module=models)
    if name not in known:
        raise UsageError(
            f"--backbone {name} is not one of torchvision's classification models: "
            f"{', '.join(known)}. Of timm's, write timm/NAME."
        )


def open_backbone(name: str, weights: str, input_px: int) -> tuple[nn.Module, int]:
    """The network without its classifier, and the width F of its features: images -> (N, F).

    Raises:
        UsageError: the backbone is unknown, its weights cannot be downloaded or do not fit, its
            features are not a vector, or it does not support this input size.
    """
    if name.startswith(TIMM):
        require_backbone(name)
        own_px = pretraining(name).spec.height_px
        model = timm_models.build(name, weights, input_px, own_px)
        given = f"--input-px {input_px}"
        features = require_size(model, f"--backbone {name}", input_px, given)  # (1, F)
        if features.ndim != 2:
            raise UsageError(
                f"--backbone {name} does not give a vector of features for each photo."
            )
        return model, features.shape[1]
    return _without_classifier(_torchvision_model(name, weights, input_px, headless=True), name)


def whole_model(name: str, weights: str) -> nn.Module:
    """A torchvision classification model with its own classifier, for its own input size.

    Raises:
        UsageError: as `open_backbone`.
    """
    require_backbone(name)
    own_px = pretraining(name).spec.height_px
    return _torchvision_model(name, weights, own_px, headless=False)


def _torchvision_model(name: str, weights: str, input_px: int, *, headless: bool) -> nn.Module:
    """`headless`: the classifier is not used, so that of the weights need not fit."""
    require_backbone(name)
    model = _built(name, input_px)
    if weights != NONE:
        state = dict(downloaded(name) if weights == DEFAULT else read_state_dict(Path(weights)))
        if headless:
            own = model.state_dict()
            unused = tuple(f"{_last_linear(model, name)}.{each}" for each in ("weight", "bias"))
            state |= {each: own[each] for each in unused if each in own}
        try:
            model.load_state_dict(_for_size(state, model))
        except (RuntimeError, ValueError) as error:
            raise does_not_fit(weights, name, error) from error
    return _without_side_heads(model)


def _built(name: str, input_px: int) -> nn.Module:
    options: dict[str, Any] = {"init_weights": False} if name in _TRAINED_ON_HALVES else {}
    for start, sized in _BUILT_FOR_SIZE.items():
        options |= sized(input_px) if name.startswith(start) else {}
    try:
        model: nn.Module = models.get_model_builder(name)(weights=None, **options)
    except (AssertionError, ValueError) as error:
        raise unsupported(name, f"--input-px {input_px}", error) from error
    return model


def _for_size(state: State, model: nn.Module) -> State:
    """The weights with ViT's position embeddings interpolated to the model's size."""
    if isinstance(model, models.VisionTransformer) and "encoder.pos_embedding" in state:
        fitted: State = interpolate_embeddings(model.image_size, model.patch_size, dict(state))
        return fitted
    return state


def require_size(network: nn.Module, backbone: str, input_px: int, given: str) -> Tensor:
    """Send a black image of this size through the network, and leave its mode as it was.

    Raises:
        UsageError: the network does not support the size; the message names `backbone` and the
            `given` flag.
    """
    before = network.training
    try:
        with torch.no_grad():
            output: Tensor = network.eval()(torch.zeros(1, 3, input_px, input_px))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise unsupported(backbone, given, error) from error
    finally:
        network.train(before)
    return output


def _without_classifier(model: nn.Module, name: str) -> tuple[nn.Module, int]:
    """The last linear layer, and the dropout beside it, become the identity."""
    classifier = _last_linear(model, name)
    parent_name, _, last = classifier.rpartition(".")
    parent = model.get_submodule(parent_name)
    features = int(model.get_submodule(classifier).in_features)  # type: ignore[arg-type]
    setattr(parent, last, nn.Identity())
    for sibling, module in parent.named_children():  # the new head brings its own dropout
        if isinstance(module, nn.Dropout):
            setattr(parent, sibling, nn.Identity())
    return model, features


def _last_linear(model: nn.Module, name: str) -> str:
    linears: list[str] = [
        part for part, module in model.named_modules() if isinstance(module, nn.Linear)
    ]
    if not linears:
        raise UsageError(f"--backbone {name} does not end in a linear layer.")
    return linears[-1]


def _without_side_heads(model: nn.Module) -> nn.Module:
    """Remove the side heads of GoogLeNet and Inception, which return a tuple in training mode."""
    for name in ("aux1", "aux2", "AuxLogits"):
        if hasattr(model, name):
            setattr(model, name, None)
            model.aux_logits = False  # type: ignore[assignment]
    return model
