"""A backbone's name in, a network that yields pooled features out, and the preprocessing of its
pre-training.

    mobilenet_v2                 torchvision's classification models, by their names
    timm/tf_efficientnet_lite0   timm's models, by timm/NAME

Weights are `default`, which downloads the library's own, a state-dict file, or `none`.
"""

import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.transforms import InterpolationMode

from serving.model.preprocess import BICUBIC_RESAMPLE, DRAFT_RESAMPLE, PreprocessSpec
from train.errors import UsageError

TIMM = "timm/"
DEFAULT, NONE = "default", "none"

# Both were trained on (pixel - 0.5) / 0.5. With `transform_input`, which is not set here, they
# convert from ImageNet's normalisation themselves (torchvision/models/inception.py).
_HALVES = (0.5, 0.5, 0.5)
_TRAINED_ON_HALVES = ("googlenet", "inception_v3")


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

    Raises:
        UsageError: no library has the backbone.
    """
    own = pretraining(backbone).spec
    return replace(own, height_px=input_px, width_px=input_px, levels=levels)


def pretraining(backbone: str) -> Pretraining:
    """What the library says of the backbone's default weights, without loading them.

    Raises:
        UsageError: no library has the backbone.
    """
    require_backbone(backbone)
    if backbone.startswith(TIMM):
        from timm.data.config import resolve_data_config

        rules = resolve_data_config({}, pretrained_cfg=_timm_config(backbone))
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


def _timm_config(backbone: str) -> Any:
    import timm

    config = timm.models.get_pretrained_cfg(backbone.removeprefix(TIMM), allow_unregistered=False)
    return config.to_dict() if config else {}


def _spec(px: int, mean: Any, std: Any, *, bicubic: bool) -> PreprocessSpec:
    resample = BICUBIC_RESAMPLE if bicubic else DRAFT_RESAMPLE
    return PreprocessSpec(px, px, tuple(mean), tuple(std), resample)


def require_backbone(name: str) -> None:
    """Raise UsageError unless a library has a classification model of this name."""
    if name.startswith(TIMM):
        import timm

        if not timm.is_model(name.removeprefix(TIMM).partition(".")[0]):
            raise UsageError(f"--backbone {name}: timm has no such model{_nearest_in_timm(name)}")
        return
    known = models.list_models(module=models)
    if name not in known:
        raise UsageError(
            f"--backbone {name} is not one of torchvision's classification models: "
            f"{', '.join(known)}. Of timm's, write timm/NAME."
        )


def _nearest_in_timm(name: str) -> str:
    import difflib

    import timm

    near = difflib.get_close_matches(name.removeprefix(TIMM), timm.list_models(), n=3)
    return f"; the nearest are {', '.join(TIMM + n for n in near)}." if near else "."


def open_backbone(name: str, weights: str, input_px: int) -> tuple[nn.Module, int]:
    """The network without its classifier, and the width F of its features: images -> (N, F).

    Raises:
        UsageError: the backbone is unknown, its weights cannot be downloaded or do not fit, its
            features are not a vector, or it does not support this input size.
    """
    if name.startswith(TIMM):
        model = _timm_model(name, weights)
        given = f"--input-px {input_px}"
        features = require_size(model, f"--backbone {name}", input_px, given)  # (1, F)
        if features.ndim != 2:
            raise UsageError(
                f"--backbone {name} does not give a vector of features for each photo."
            )
        return model, features.shape[1]
    return _without_classifier(whole_model(name, weights), name)


def whole_model(name: str, weights: str) -> nn.Module:
    """A torchvision classification model with its own classifier.

    Raises:
        UsageError: as `open_backbone`.
    """
    require_backbone(name)
    side_heads = {"init_weights": False} if name in _TRAINED_ON_HALVES else {}
    model: nn.Module = models.get_model_builder(name)(weights=None, **side_heads)
    if weights == NONE:
        return _without_side_heads(model)
    state = _downloaded(name) if weights == DEFAULT else read_state_dict(Path(weights))
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise _does_not_fit(weights, name, error) from error
    return _without_side_heads(model)


def _timm_model(name: str, weights: str) -> nn.Module:
    import timm

    require_backbone(name)
    try:
        model: nn.Module = timm.create_model(
            name.removeprefix(TIMM), pretrained=weights == DEFAULT, num_classes=0
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"--backbone {name} cannot be loaded: {_last_line(error)} "
            "Without internet access, give a state-dict file: --weights FILE."
        ) from error
    if weights in (DEFAULT, NONE):
        return model
    state = read_state_dict(Path(weights))
    names = model.pretrained_cfg["classifier"]  # type: ignore[index]
    own = (names,) if isinstance(names, str) else tuple(names)
    kept = {k: v for k, v in state.items() if not k.startswith(tuple(f"{n}." for n in own))}
    try:
        model.load_state_dict(kept)
    except RuntimeError as error:
        raise _does_not_fit(weights, name, error) from error
    return model


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
        raise UsageError(
            f"{backbone} does not support {given}: {_last_line(error)} Try the size of its "
            "pre-training, often 224."
        ) from error
    finally:
        network.train(before)
    return output


def _without_classifier(model: nn.Module, name: str) -> tuple[nn.Module, int]:
    """The last linear layer, and the dropout beside it, become the identity."""
    linears = [part for part, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not linears:
        raise UsageError(f"--backbone {name} does not end in a linear layer.")
    parent_name, _, last = linears[-1].rpartition(".")
    parent = model.get_submodule(parent_name)
    features = int(model.get_submodule(linears[-1]).in_features)  # type: ignore[arg-type]
    setattr(parent, last, nn.Identity())
    for sibling, module in parent.named_children():  # the new head brings its own dropout
        if isinstance(module, nn.Dropout):
            setattr(parent, sibling, nn.Identity())
    return model, features


def _without_side_heads(model: nn.Module) -> nn.Module:
    """Remove the side heads of GoogLeNet and Inception, which return a tuple in training mode."""
    for name in ("aux1", "aux2", "AuxLogits"):
        if hasattr(model, name):
            setattr(model, name, None)
            model.aux_logits = False  # type: ignore[assignment]
    return model


def _downloaded(name: str) -> dict[str, Tensor]:
    entry = models.get_model_weights(name).DEFAULT
    try:
        state: dict[str, Tensor] = entry.get_state_dict(progress=True, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise UsageError(
            f"The weights of {name} cannot be downloaded ({_last_line(error)}). "
            "Without internet access, give a state-dict file: --weights FILE."
        ) from error
    return state


def read_state_dict(file: Path) -> Mapping[str, Tensor]:
    """The tensors of a file that `torch.save` wrote.

    Raises:
        UsageError: it is missing, or not such a file.
    """
    if not file.is_file():
        raise UsageError(f"--weights {file} is neither a file, nor `default`, nor `none`.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old files and their pickle protocol
            state = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise UsageError(
            f"--weights {file} is not a state-dict file that torch can read."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UsageError(f"--weights {file} does not contain a state dict (tensors by name).")
    return state


def _does_not_fit(weights: str, name: str, error: Exception) -> UsageError:
    return UsageError(f"--weights {weights} does not fit {name}: {_last_line(error)}")


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].strip() if str(error).strip() else repr(error)
