"""Options that would have no effect on a training are refused, instead of ignored in silence."""

from train.config import DataConfig, FitConfig, NetworkConfig
from train.errors import UsageError


def require_used(config: FitConfig) -> None:
    """Raise UsageError for an option that would have no effect on this training.

    Separate from the config's own checks, because older runs may have such options saved.
    """
    for name in ("mixup", "cutmix", "progressive_px") if config.on_features else ():
        if getattr(config, name):
            raise UsageError(
                f"--{name.replace('_', '-')} changes photos, but this run trains only a head on "
                "cached features: add --augment or --train-backbone."
            )
    usual = FitConfig(out=config.out, data=config.data)
    if config.teacher_weight != usual.teacher_weight and not config.teacher:
        raise UsageError("--teacher-weight needs a teacher: add --teacher RUN.")
    if config.mix_share != usual.mix_share and not (config.mixup or config.cutmix):
        raise UsageError("--mix-share needs something to mix with: add --mixup or --cutmix.")
    if config.teacher and config.on_features:
        raise UsageError(
            "--teacher needs photos, not cached features: add --train-backbone or --augment."
        )
    if config.patience and config.data.choose_on == "nothing":
        raise UsageError(
            "--patience needs photos to compare epochs on: it does not go with --choose-on nothing."
        )
    _require_used_choices(config)
    _require_used_sources(config)
    sizes = len(config.progressive_px)
    if sizes > config.epochs:
        raise UsageError(
            f"--progressive-px has {sizes} sizes for {config.epochs} epochs: give at most one per "
            "epoch."
        )


def _require_used_choices(config: FitConfig) -> None:
    """Raise UsageError for a way to draw or compare that would have no effect, or act twice."""
    if config.flip == "none" and config.augment == "none":
        raise UsageError("--flip none has no effect: without --augment, no photo is mirrored.")
    if config.class_weights and config.sampling == "balanced":
        raise UsageError(
            "--class-weights and --sampling balanced both make small classes count more: leave one "
            "of them out."
        )
    compares = config.keep == "best" or config.patience
    if config.choose_by != "accuracy" and (config.data.choose_on == "nothing" or not compares):
        raise UsageError(
            f"--choose-by {config.choose_by} has no effect: no epochs are compared with "
            "--choose-on nothing, or with --keep last and no --patience."
        )


def _require_used_sources(config: FitConfig) -> None:
    """Raise UsageError for a held-out share or weights that would not be used."""
    choose_on, usual = config.data.choose_on, DataConfig(config.data.data)
    for name in ("holdout", "holdout_seed") if choose_on != "holdout" else ():
        if getattr(config.data, name) != getattr(usual, name):
            raise UsageError(
                f"--{name.replace('_', '-')} has no effect with --choose-on {choose_on}: add "
                "--choose-on holdout, or leave it out."
            )
    weights = config.network.weights
    if config.start and weights not in (NetworkConfig().weights, "none"):
        raise UsageError(
            f"--weights {weights} has no effect, because all weights come from --start "
            f"{config.start}: leave one of them out."
        )
