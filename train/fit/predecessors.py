"""The trained runs that a training is built on: the one that it starts from, and its teachers."""

from pathlib import Path

from train.config import FitConfig
from train.errors import UsageError
from train.networks.transfer import Network, load_weights, require_size
from train.photos.manifest import Manifest
from train.runs.model import TrainedModel, load_model


def open_teachers(config: FitConfig, manifest: Manifest) -> tuple[TrainedModel, ...]:
    """The runs of `config.teacher`.

    Raises:
        UsageError: a run has no model or a damaged one, knows other classes, has trained on
            photos that this training holds out, or does not take photos of the training's size.
    """
    teachers = tuple(_open("--teacher", Path(run), config, manifest) for run in config.teacher)
    for size in {max(size, config.teacher_px) for size in config.training_px}:
        for run, teacher in zip(config.teacher, teachers, strict=True):
            backbone = f"the {teacher.config.network.backbone} of --teacher {run}"
            require_size(teacher.network, backbone, size, f"--teacher-px {size}")
    return teachers


def take_start(config: FitConfig, manifest: Manifest, network: Network) -> None:
    """Put the weights of the run in `config.start` into the network.

    Raises:
        UsageError: as `open_teachers`, and where that run has another shape of network.
    """
    run = Path(config.start)
    start = _open("--start", run, config, manifest)
    theirs, ours = start.network.state_dict(), network.state_dict()
    heads = [[name for name in state if name.startswith("head.")] for state in (theirs, ours)]
    # Dropout has no weights, but the layers behind it are numbered on.
    renamed = dict(zip(*heads, strict=False))
    try:
        load_weights(network, {renamed.get(name, name): theirs[name] for name in theirs})
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        shape = start.config.network
        raise UsageError(
            f"--start {run} has --backbone {shape.backbone} --inner {shape.inner}, which does not "
            f"fit the network asked for: {reason}"
        ) from error


def _open(flag: str, run: Path, config: FitConfig, manifest: Manifest) -> TrainedModel:
    earlier = load_model(run)
    if earlier.classes != manifest.classes:
        raise UsageError(
            f"{flag} {run} knows the classes {', '.join(earlier.classes)}, "
            f"but the photos' are {', '.join(manifest.classes)}: give a run of the same."
        )
    its = (earlier.config.data.held_out, earlier.manifest_sha256)
    if config.data.held_out and its != (config.data.held_out, manifest.sha256()):
        raise UsageError(
            f"{flag} {run} has trained on photos that --choose-on holdout would keep out: "
            "give a run that held out the same ones."
        )
    return earlier
