"""Runs of one network in, one run out whose weights are their mean.

The mean of networks that started from the same pretrained weights is often better than each, and
costs no more to serve (Wortsman et al. 2022, "Model soups"). Its batch-norm statistics are of none
of them, so they are measured anew on the training photos. A run that is itself a mean counts as
many times as it has members. Runs that differ in network, classes, photos, held-out share or in
weights that all kept frozen are refused; how many stages they froze may differ.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch
import tyro
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm import tqdm

from serving.preprocess import PreprocessSpec, scale_and_offset
from train import checkpoints, data, loaders, runs
from train.config import FitConfig
from train.data import Manifest
from train.errors import UsageError
from train.lineage import Training
from train.loaders import EpochOrder
from train.network import Network, load_weights
from train.run_photos import training_photos
from train.saved import TrainedModel, load_single, require_alike
from train.transforms import base_spec, normalize_on_device

# A channel's mean and variance over so many photos, each with its thousands of positions, do not
# move any more.
_BATCHNORM_PHOTOS = 1_024

_TAKES = "only runs of one network on the same photos can be averaged"


@dataclass(frozen=True, slots=True)
class AverageConfig:
    """Write a run whose weights are the mean of other runs'."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of the runs, two or more."""
    out: Path
    """Folder of the new run."""
    data: Path | None = None
    """Folder of the photos that batch-norm is measured on; the first run's own if not given."""
    cache: Path = Path(".cache/photos")
    """Folder of decoded photos; safe to delete."""


def average(config: AverageConfig) -> None:
    """Average, measure batch-norm anew, and leave the result in `config.out`.

    Raises:
        UsageError: fewer than two runs, runs that differ in more than how they were trained, or an
            --out that holds a run.
    """
    if len(config.runs) < 2:
        raise UsageError("An average takes two runs or more: train average RUN RUN --out RUN.")
    runs.require_free(config.out)
    members = [load_single(run) for run in config.runs]
    networks = [member.network for member in members]
    _require_one_network(config.runs, members)
    _require_same_frozen(config.runs, members)
    counts = [len(member.members) for member in members]
    # What any of them trained has statistics to measure: the fewest frozen stages.
    freest = min(members, key=lambda member: member.config.network.frozen_stages)
    network, first = networks[members.index(freest)], freest.config
    load_weights(network, mean_weights(networks, counts))
    root = config.data or first.data.data
    fitted = replace(first, out=config.out, data=replace(first.data, data=root, cache=config.cache))
    if first.network.train_backbone:
        training = training_photos(fitted.data, members[0], config.runs[0])
        _measure_batchnorm(network, fitted, training)
    _save(fitted, network, members)
    _warn_of_heads(members)
    print(f"The mean of {sum(counts)} runs is {config.out / runs.MODEL}")


def _warn_of_heads(members: Sequence[TrainedModel]) -> None:
    if len({_head(run) for member in members for run in member.members}) > 1:
        print(
            "The runs started from several heads, which average less well (fit --head-seed): "
            "compare the mean with its members."
        )


def _save(config: FitConfig, network: Network, members: Sequence[TrainedModel]) -> None:
    """Write a run whose weights are the mean of other runs', and the record of which these were."""
    first, weights = members[0], network.state_dict()
    made_of = {"averaged": [run.as_json() for member in members for run in member.members]}
    checkpoints.save_derived(
        Training(config), first.classes, first.manifest_sha256, weights, made_of
    )


def mean_weights(networks: Sequence[Network], counts: Sequence[int]) -> dict[str, Tensor]:
    """The mean of each weight, in which a network counts `counts` times.

    What is not a floating-point number is the first network's.
    """
    states = [network.state_dict() for network in networks]
    shares = [count / sum(counts) for count in counts]
    return {
        name: torch.stack([s * state[name] for s, state in zip(shares, states, strict=True)]).sum(0)
        if value.is_floating_point()
        else value
        for name, value in states[0].items()
    }


def _require_one_network(folders: Sequence[Path], members: Sequence[TrainedModel]) -> None:
    require_alike(folders, members, _TAKES)
    for folder, member in zip(folders, members, strict=True):
        if _shape(member.config) != _shape(members[0].config):
            raise UsageError(f"{folder} has another network than {folders[0]}: {_TAKES}.")


def _require_same_frozen(folders: Sequence[Path], members: Sequence[TrainedModel]) -> None:
    """Raises UsageError where a head, or stages, learned on frozen weights that the others lack."""
    networks = [member.network for member in members]
    common = min(len(network.frozen) for network in networks)  # a frozen backbone counts as one
    first, *others = (network.frozen[:common] for network in networks)
    for folder, member, frozen in zip(folders[1:], members[1:], others, strict=True):
        if not all(map(_has_same_weights, first, frozen)):
            trained = member.config.network.train_backbone
            what = f"{common} frozen stages" if trained else "frozen backbone"
            raise UsageError(
                f"{folder} has other weights in its {what} than {folders[0]} "
                f"({_weights_of(member)}; {_weights_of(members[0])}), so that no head fits their "
                "mean: train both from the same weights."
            )


def _has_same_weights(one: nn.Module, other: nn.Module) -> bool:
    """Up to rounding: a mean of equal weights, which may be averaged again, loses the last bits."""
    state = other.state_dict()
    return all(
        torch.allclose(value, state[name], rtol=1e-5, atol=1e-30, equal_nan=True)
        for name, value in one.state_dict().items()
        if value.is_floating_point()
    )


def _weights_of(member: TrainedModel) -> str:
    """What the backbone started from, as options of `fit`; of a mean each of its members' once."""
    found = []
    for config in (run.config for run in member.members):
        weights = config.network.weights
        drawn = f" --seed {_seed_of_start(config)}" if weights == "none" else ""
        found.append(f"--start {config.start}" if config.start else f"--weights {weights}{drawn}")
    return " and ".join(dict.fromkeys(found))


def _seed_of_start(config: FitConfig) -> int:
    own = config.network.head_seed
    return config.seed if own is None else own


def _head(run: Training) -> object:
    """What the head's starting weights were: those of an earlier run, or drawn by a seed."""
    return run.started_from or _seed_of_start(run.config)


def _shape(config: FitConfig) -> tuple[object, ...]:
    network = config.network
    return (
        network.backbone,
        network.inner,
        network.dropout > 0,
        network.train_backbone,
        network.hidden,
    )


def _measure_batchnorm(network: Network, config: FitConfig, training: Manifest) -> None:
    """Replace batch-norm's running statistics by their mean over augmented training photos."""
    spec = PreprocessSpec.square(config.network.input_px)
    labels = training.labels()
    pixels = data.pixels(training, base_spec(spec), config.data.cache)
    loader = loaders.photo_loader(
        config, pixels, labels, config.training_px[-1], EpochOrder(len(labels), config.seed)
    )
    scale, offset = (torch.from_numpy(c).view(3, 1, 1) for c in scale_and_offset(spec))

    def batches() -> Iterator[Tensor]:
        enough = islice(loader, -(-_BATCHNORM_PHOTOS // config.batch))
        for pixels, _ in tqdm(enough, "measuring batch-norm", leave=False, unit="batch"):
            yield normalize_on_device(pixels, scale, offset)  # (B, 3, S, S) float32

    trained = [
        module
        for module in network.modules()
        if isinstance(module, _BatchNorm) and module.weight.requires_grad
    ]
    for module in trained:
        module.reset_running_stats()
        module.momentum = None  # the mean over all batches
    network.train()
    with torch.no_grad():
        for batch in batches():
            network(batch)
    network.eval()
