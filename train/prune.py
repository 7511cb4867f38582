"""A run of one network in, a run of a faster one out, whose blocks have fewer channels.

A network that was made for ImageNet's thousand classes has channels that ten kinds of clothes do
not need. Which, is found layer by layer on training photos (train/elimination.py), without
training; what they cost in the loss is weighed against the time that they take. The layers that
read the others are fitted anew (train/reconstruction.py). The run that is left answers nearly as
before, and `fit --start` goes on from it.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from serving.preprocess import PreprocessSpec, normalize
from train import channels, checkpoints, data, runs
from train.channels import Hidden
from train.config import FitConfig
from train.data import Pixels
from train.elimination import Layer, eliminate, made_up
from train.errors import UsageError, require
from train.lineage import Training
from train.network import Network
from train.reconstruction import drawn_places, reconstruct, rows_at, with_constant
from train.run_photos import training_photos
from train.saved import TrainedModel, load_single

_PHOTOS, _BATCH = 512, 16
# Channels go by so many at once, as processors multiply them.
_GROUP = 16
# What a multiply-add takes, in those of a pointwise convolution in int8, and what a pointwise
# convolution takes for an output besides its multiply-adds: docs/performance.md. How the first
# convolution's, in float32, was measured is not written down: there it is timed with the next one.
_DEPTHWISE_COST, _FIRST_COST, _OUTPUT_COST = 12.0, 4.0, 24.0
# Places of a photo at which the features are made, which the head reads once: 7 x 7 at 224 pixels.
# At other sizes the features weigh too much or too little against the other channels.
_FEATURE_PLACES = 49


@dataclass(frozen=True, slots=True)
class PruneConfig:
    """Write a run with fewer channels, which is faster and answers nearly as before."""

    run: tyro.conf.Positional[Path]
    """Folder of the run, of one network: MobileNetV2 or EfficientNet-Lite."""
    out: Path
    """Folder of the new run."""
    share: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.7
    """How much of the network's time is to be left, as estimated from its multiply-adds."""
    data: Path | None = None
    """Folder of the photos that the run was trained on; the run's own if not given."""
    cache: Path = Path(".cache/photos")
    """Folder of decoded photos; safe to delete."""


@dataclass(slots=True)
class _Measured:
    """What the passes over the photos have seen of the channels that one layer reads."""

    moment: Tensor
    importance: Tensor
    seen: int = 0
    places: int = 1
    """Places of a photo that the layer is applied to."""


def prune(config: PruneConfig) -> None:
    """Choose the channels, leave the others out, and write the result into `config.out`.

    Raises:
        UsageError: a run of another backbone or of two networks, a share that is not between 0 and
            1 or cannot be had, other photos than the run's, or an --out that holds a run.
    """
    trained = _opened(config)
    pixels, spec = _training_pixels(config, trained)
    network = trained.network
    hidden = channels.hidden_channels(network)
    before = channels.counts(network, hidden)
    some = pixels[_some(len(pixels))]
    layers, places = measure(network, hidden, some, spec)
    gone = choose(network, hidden, layers, places, share=config.share)
    whole = copy.deepcopy(network)
    for each, layer, numbers in zip(hidden, layers, gone, strict=True):
        leave_out(network, each, layer, numbers)
    reconstruct(
        whole, network, hidden, partial(_batches, some, spec), partial(_batches, pixels, spec)
    )
    after = channels.counts(network, hidden)
    _save(config, trained, after)
    print(
        f"Channels: {' '.join(map(str, before))}\n"
        f"now:      {' '.join(map(str, after))}\n"
        f"The pruned run is {config.out / runs.MODEL}; go on training it: "
        f"python -m train fit --start {config.out}"
    )


def _opened(config: PruneConfig) -> TrainedModel:
    require(0 < config.share < 1, "--share", "a number between 0 and 1", config.share)
    runs.require_free(config.out)
    trained = load_single(config.run)
    name, known = trained.config.network.backbone, channels.BACKBONES
    if name not in known:
        raise UsageError(f"{config.run} is a {name}; prune takes one of {', '.join(known)}.")
    return trained


def _training_pixels(config: PruneConfig, trained: TrainedModel) -> tuple[Pixels, PreprocessSpec]:
    """The photos that the run was trained on, at its input's size."""
    root = config.data or trained.config.data.data
    reading = replace(trained.config.data, data=root, cache=config.cache)
    training = training_photos(reading, trained, config.run)
    px = trained.config.network.input_px
    spec = PreprocessSpec.square(px)
    return data.pixels(training, spec, config.cache), spec


def _some(count: int) -> NDArray[np.int64]:
    """The numbers of some photos, the same ones each time."""
    return np.sort(np.random.default_rng(0).permutation(count)[:_PHOTOS])


def measure(
    network: Network, hidden: list[Hidden], pixels: Pixels, spec: PreprocessSpec
) -> tuple[list[Layer], list[int]]:
    """What each layer reads, on (N, H, W, 3) uint8, and to how many places of a photo it does.

    The loss is that of labels drawn from the network's own answers: Fisher's information.
    """
    random = torch.Generator().manual_seed(0)
    found = [_empty(network, each) for each in hidden]
    hooks = []
    for each, measured in zip(hidden, found, strict=True):
        reader = network.get_submodule(each.reader)
        hooks.append(reader.register_forward_pre_hook(_adds_moment(measured, random)))
        hooks.append(reader.register_full_backward_hook(_adds_importance(measured)))
    network.eval().requires_grad_(True)
    for images in tqdm(_batches(pixels, spec), "measuring channels", leave=False, unit="batch"):
        logits = network(images)  # (B, C)
        labels = torch.multinomial(logits.detach().softmax(dim=1), 1, generator=random)[:, 0]
        network.zero_grad()
        cross_entropy(logits, labels, reduction="sum").backward()  # type: ignore[no-untyped-call]
    for hook in hooks:
        hook.remove()
    return [
        Layer(
            each.moment / each.seen,
            _reader_weights(network, layer),
            each.importance / (len(pixels) * each.places),
        )
        for each, layer in zip(found, hidden, strict=True)
    ], [each.places for each in found]


def _batches(pixels: Pixels, spec: PreprocessSpec) -> Iterator[Tensor]:
    for start in range(0, len(pixels), _BATCH):
        yield torch.from_numpy(normalize(pixels[start : start + _BATCH], spec))  # (B, 3, H, W)


def _empty(network: Network, hidden: Hidden) -> _Measured:
    inputs, outputs = _reader_weights(network, hidden).shape
    return _Measured(
        moment=torch.zeros(inputs + 1, inputs + 1, dtype=torch.float64),
        importance=torch.zeros(outputs, dtype=torch.float64),
    )


def _reader_weights(network: Network, hidden: Hidden) -> Tensor:
    """(N, O) float64 of the layer that reads N channels."""
    weight: Tensor = network.get_submodule(hidden.reader).weight  # type: ignore[assignment]
    return weight.detach().double().flatten(1).T.clone()


def _adds_moment(measured: _Measured, random: torch.Generator) -> Any:
    def hook(_: nn.Module, inputs: tuple[Tensor]) -> None:
        read = _with_places(inputs[0].detach())
        measured.places = read.shape[2:].numel()
        rows = with_constant(rows_at(read, drawn_places(read, random)))
        measured.moment += rows.T @ rows
        measured.seen += len(rows)

    return hook


def _adds_importance(measured: _Measured) -> Any:
    def hook(_: nn.Module, __: Any, outputs: tuple[Tensor]) -> None:
        measured.importance += (_with_places(outputs[0]).double() ** 2).sum(dim=(0, 2, 3))

    return hook


def _with_places(values: Tensor) -> Tensor:
    """(B, N, H, W) as it is, and (B, N) -> (B, N, 1, 1)."""
    return values if values.ndim == 4 else values[:, :, None, None]


def choose(
    network: Network, hidden: list[Hidden], layers: list[Layer], places: list[int], *, share: float
) -> list[list[int]]:
    """For each layer the numbers of the channels that go.

    Group by group those go that raise the loss least for the time that they take, until `share` of
    it is left.

    Raises:
        UsageError: so little cannot be left.
    """
    times = [_time(network, each, its) for each, its in zip(hidden, places, strict=True)]
    ranked = [eliminate(layer, leave=min(_GROUP, len(layer.weights))) for layer in layers]
    total = sum(t * len(layer.weights) for t, layer in zip(times, layers, strict=True))
    gone, left = [0] * len(layers), total
    while left > share * total:
        offers = [
            (sum(costs[at : at + _GROUP]) * place / time, number)
            for number, ((_, costs), at, place, time) in enumerate(
                zip(ranked, gone, places, times, strict=True)
            )
            if at + _GROUP <= len(costs)
        ]
        if not offers:
            raise UsageError(f"--share {share}: the narrowest has {left / total:.2f} of the time.")
        _, number = min(offers)
        gone[number] += _GROUP
        left -= _GROUP * times[number]
    return [order[:number] for (order, _), number in zip(ranked, gone, strict=True)]


def _time(network: Network, hidden: Hidden, places: int) -> float:
    """What one channel takes for a photo, in multiply-adds of a pointwise convolution."""
    reader: Any = network.get_submodule(hidden.reader)
    time = float(reader.weight.shape[0] * places)
    behind = 1 if hidden.reader_norm else _FEATURE_PLACES
    for name, _ in reversed(hidden.makers):
        made: Any = network.get_submodule(name)
        depthwise, area = made.groups > 1, made.kernel_size[0] ** 2
        if depthwise:
            work = _DEPTHWISE_COST * area
        elif area > 1:
            work = _FIRST_COST * area * made.in_channels
        else:
            work = made.in_channels + _OUTPUT_COST
        time += work * places * behind
        behind *= made.stride[0] ** 2
    return time


def leave_out(network: Network, hidden: Hidden, layer: Layer, gone: list[int]) -> None:
    """Leave channels out, and give the layer that reads the others the weights that make up."""
    if not gone:
        return
    kept = torch.tensor(sorted(set(range(len(layer.weights))) - set(gone)))
    weights, shift = made_up(layer, kept)  # (K, O), (O,)
    channels.keep(network, hidden, kept)
    reader: Any = network.get_submodule(hidden.reader)
    with torch.no_grad():
        reader.weight.copy_(weights.T.reshape(reader.weight.shape))
        channels.shift_output(network, hidden, shift)


def _save(config: PruneConfig, trained: TrainedModel, widths: tuple[int, ...]) -> None:
    shape = replace(trained.config.network, hidden=widths)
    fitted: FitConfig = replace(trained.config, out=config.out, network=shape)
    training = Training(fitted, started_from=trained.members, pruned_to=config.share)
    weights = trained.network.state_dict()
    made_of = {"pruned_to": config.share}
    checkpoints.save_derived(training, trained.classes, trained.manifest_sha256, weights, made_of)
