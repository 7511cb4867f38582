"""timm's models, by timm/NAME: without a classifier, with given weights, for an input size."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from torch import nn

from train.networks.weights import (
    DEFAULT,
    NONE,
    does_not_fit,
    downloading,
    forget_damaged,
    read_state_dict,
    require_intact,
    unsupported,
)

TIMM = "timm/"


def config_of(backbone: str) -> dict[str, Any]:
    """What timm says of the backbone's weights; empty if it has none."""
    import timm

    config = timm.models.get_pretrained_cfg(backbone.removeprefix(TIMM), allow_unregistered=False)
    found: dict[str, Any] = config.to_dict() if config else {}
    return found


def nearest(name: str) -> str:
    """The end of a message: the nearest names, if any are near."""
    import timm

    near = get_close_matches(name.removeprefix(TIMM), timm.list_models(), n=3)
    return f"; the nearest are {', '.join(TIMM + n for n in near)}." if near else "."


def build(name: str, weights: str, input_px: int, own_px: int) -> nn.Module:
    """The model without its classifier; `own_px` is the size of its pre-training.

    Raises:
        UsageError: the weights cannot be downloaded or do not fit, or the model does not support
            the size.
    """
    config = config_of(name)
    # Only such models take a size; for them timm interpolates position embeddings.
    size = {"img_size": input_px} if config.get("fixed_input_size") and input_px != own_px else {}
    try:
        if weights == NONE:
            return _built(name, **size)
        if weights == DEFAULT:
            return _downloaded(name, config, size)
        model = _built(name)
        _load_without_classifier(model, weights, name)
        if size:
            given = {"state_dict": model.state_dict()}
            model = _built(name, pretrained=True, pretrained_cfg_overlay=given, **size)
    except (AssertionError, TypeError, RuntimeError, ValueError) as error:
        raise unsupported(f"--backbone {name}", f"--input-px {input_px}", error) from error
    return model


def _built(name: str, **options: Any) -> nn.Module:
    import timm

    model: nn.Module = timm.create_model(name.removeprefix(TIMM), num_classes=0, **options)
    return model


def _downloaded(name: str, config: dict[str, Any], size: dict[str, int]) -> nn.Module:
    """The model with timm's own weights; their hash is checked."""
    import timm
    from huggingface_hub.constants import HF_HUB_CACHE

    timm.models.set_pretrained_check_hash()
    forget_damaged(config.get("url") or "")
    with downloading(name):
        try:
            return _built(name, pretrained=True, **size)
        finally:
            require_intact(config.get("hf_hub_id") or "", Path(HF_HUB_CACHE))


def _load_without_classifier(model: nn.Module, weights: str, name: str) -> None:
    names = model.pretrained_cfg["classifier"]  # type: ignore[index]
    own = (names,) if isinstance(names, str) else tuple(names)
    state = read_state_dict(Path(weights))
    kept = {k: v for k, v in state.items() if not k.startswith(tuple(f"{n}." for n in own))}
    try:
        model.load_state_dict(kept)
    except RuntimeError as error:
        raise does_not_fit(weights, name, error) from error
