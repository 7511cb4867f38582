"""The earlier runs that a training builds on: the one that it starts from, and its teachers."""

from pathlib import Path

from train.config import FitConfig
from train.errors import UsageError
from train.networks.backbones import require_size
from train.networks.transfer import Network, load_weights
from train.photos.manifest import Manifest
from train.runs.model import SavedModel, TrainedModel, load_model, read_model


def open_teachers(config: FitConfig, manifest: Manifest) -> tuple[TrainedModel, ...]:
    """Load the runs of `config.teacher`.

    Raises:
        UsageError: a run has no model or a damaged one, knows other classes, was trained on
            photos that this training holds out, or does not take photos of the training's size.
    """
    teachers = []
    for run in config.teacher:
        teachers.append(load_model(Path(run)))
        _require_fitting("--teacher", run, teachers[-1], config, manifest)
    for size in {max(size, config.teacher_px) for size in config.training_px}:
        for run, teacher in zip(config.teacher, teachers, strict=True):
            backbone = f"the {teacher.config.network.backbone} of --teacher {run}"
            require_size(teacher.network, backbone, size, f"--teacher-px {size}")
    return tuple(teachers)


def take_start(config: FitConfig, manifest: Manifest, network: Network) -> None:
    """Put the weights of the run in `config.start` into the network.

    Raises:
        UsageError: as `open_teachers`, or that run's network has another shape.
    """
    start = read_model(Path(config.start))
    _require_fitting("--start", config.start, start, config, manifest)
    heads = [
        [name for name in state if name.startswith("head.")]
        for state in (start.weights, network.state_dict())
    ]
    # Dropout has no weights but takes a number, so the layers after it are numbered differently.
    renamed = dict(zip(*heads, strict=False))
    weights = {renamed.get(name, name): value for name, value in start.weights.items()}
    try:
        load_weights(network, weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        shape = start.config.network
        raise UsageError(
            f"--start {config.start} has --backbone {shape.backbone} --inner {shape.inner}, which "
            f"does not fit the network asked for: {reason}"
        ) from error


def _require_fitting(
    flag: str,
    run: str,
    earlier: SavedModel | TrainedModel,
    config: FitConfig,
    manifest: Manifest,
) -> None:
    if earlier.classes != manifest.classes:
        raise UsageError(
            f"{flag} {run} knows the classes {', '.join(earlier.classes)}, but the photos' are "
            f"{', '.join(manifest.classes)}: give a run with the same classes."
        )
    its = (earlier.config.data.held_out, earlier.manifest_sha256)
    if config.data.held_out and its != (config.data.held_out, manifest.sha256()):
        raise UsageError(
            f"{flag} {run} has trained on photos that --choose-on holdout would keep out: "
            "give a run that held out the same ones."
        )
