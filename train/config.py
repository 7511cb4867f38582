"""The settings of a training run: frozen dataclasses from which the command line is made, and which
are saved beside every output.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import tyro

from train.errors import UsageError, require

ChooseOn = Literal["validation", "holdout", "nothing"]
Augment = Literal["none", "light", "strong", "whole", "crops"]
Optimizer = Literal["adam", "adamw", "sgd"]
Schedule = Literal["constant", "onecycle", "cosine", "step"]
Precision = Literal["auto", "no", "bf16", "fp16"]

# Networks that halve the image five times have one position left of this.
SMALLEST_PX = 32


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Which photos, and how they are read."""

    data: Path
    """Folder with {train,validation}/CLASS/*.jpg."""
    choose_on: ChooseOn = "validation"
    """What the epochs are compared on: the validation split, a share of train that is then kept
    out of training, or nothing, which trains on all of train and keeps the last epoch."""
    holdout: float = 0.1
    """Share of each class of train that `--choose-on holdout` keeps out of training."""
    holdout_seed: int = 0
    """Draws what is held out; `--seed` does not, so runs of several seeds hold out the same."""
    strict: bool = False
    """Stop at a photo that cannot be read, instead of naming it and going on."""
    cache: Path = Path(".cache/photos")
    """Folder of decoded photos and features; safe to delete."""
    workers: int = -1
    """Processes that augment photos; -1 takes one per core, 8 at most."""

    def __post_init__(self) -> None:
        require(0 < self.holdout < 1, "--holdout", "a number between 0 and 1", self.holdout)
        require(self.holdout_seed >= 0, "--holdout-seed", "a number 0 or more", self.holdout_seed)

    @property
    def held_out(self) -> tuple[float, int] | None:
        """What tells which photos of train were kept out of training; None where none were."""
        return (self.holdout, self.holdout_seed) if self.choose_on == "holdout" else None


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Which network, from which weights, and what of it is trained."""

    backbone: str = "mobilenet_v2"
    """A torchvision classification model by its name, or one of timm's as timm/NAME."""
    weights: str = "default"
    """`default` downloads the library's own, else a state-dict file, or `none`."""
    train_backbone: bool = False
    """Train the whole network rather than the head alone."""
    frozen_stages: int = 0
    """How many of a trained backbone's first stages keep their starting weights. Those look at the
    largest images, so that an epoch without them is faster, and what they see is general."""
    inner: int = 0
    """Units of an inner layer between features and logits; 0 leaves it out."""
    dropout: float = 0.0
    """Share of the head's inputs that are dropped in training."""
    input_px: int = 224
    """Height and width of the network's input."""


@dataclass(frozen=True, slots=True)
class FitConfig:
    """Train a network on a folder of photos."""

    out: Path
    """Folder of the run; everything the run leaves is in it."""
    data: Annotated[DataConfig, tyro.conf.arg(name="")]
    network: Annotated[NetworkConfig, tyro.conf.arg(name="")] = field(default_factory=NetworkConfig)
    epochs: int = 10
    """Passes over the photos of train."""
    batch: int = 32
    """Photos in a step, over all processes together."""
    lr: float = 1e-3
    """Peak learning rate of the head, or of the backbone where it is trained."""
    head_lr_factor: float = 5.0
    """Where the backbone is trained, the head learns this many times faster."""
    optimizer: Optimizer = "adam"
    """`sgd` is with Nesterov's momentum of 0.9."""
    weight_decay: float = 0.0
    """How strongly weights are drawn to 0; biases and those of normalisation never are."""
    schedule: Schedule = "constant"
    """Of the learning rate. `onecycle`: up, then down to nearly 0; `cosine`: up in a line, then
    down to 0, both along a cosine; `step`: a tenth after each third."""
    warmup: float = 0.2
    """Share of the steps over which one-cycle and cosine raise the learning rate."""
    label_smoothing: float = 0.0
    """Share of each label that is spread over all classes."""
    class_weights: bool = False
    """Weigh each class by the inverse of its share of train."""
    augment: Augment = "none"
    """`light`: small turns, crops of 0.9 to 1, flips; `strong`: crops of 0.5 to 1, flips, jittered
    colours, erasing; `whole`: turns, moves and shears but no crops, stronger jitter, erasing;
    `crops`: crops of 0.4 to 1, flips, jittered colours, for a student of a teacher."""
    progressive_px: tuple[int, ...] = ()
    """Sizes of the training photos, one after another over the epochs in equal parts; empty trains
    at the input's size throughout."""
    mixup: float = 0.0
    """Strength (alpha) of mixup; 0 is off."""
    cutmix: float = 0.0
    """Strength (alpha) of cutmix; 0 is off."""
    mix_share: float = 1.0
    """Share of the batches that mixup or cutmix mixes."""
    start: str = ""
    """Folder of a trained run whose weights, the head's among them, this one starts from."""
    teacher: tuple[str, ...] = ()
    """Folders of trained runs, of any backbone: the mean of their answers is learned beside the
    labels."""
    teacher_weight: float = 0.5
    """Share of the loss that compares with the teacher; the labels have the rest."""
    teacher_px: int = 0
    """Size at which the teacher sees a photo, where that is larger than the training size: a
    network for small photos learns what larger ones show. 0 is the training size."""
    ema: float = 0.0
    """Decay of the moving average of the weights that is kept as the model; 0 is off."""
    batchnorm_momentum: float = 0.1
    """Share that a batch's statistics take in batch-norm's running ones."""
    clip_norm: float = 0.0
    """Largest norm of the gradient; 0 is off."""
    patience: int = 0
    """Stop after this many epochs without a better checkpoint; 0 is off."""
    keep: Literal["best", "last"] = "best"
    """Which epoch's weights the run's model has."""
    seed: int = 0
    """Draws all that is random: starting weights, the photos' order and variants, dropout."""
    deterministic: bool = False
    """Use only algorithms that give the same bits each time, also on a GPU."""
    precision: Precision = "auto"
    """Mixed precision; `auto` is bf16 where the processor has units for it."""
    threads: int = 0
    """Threads of torch on the CPU; 0 leaves torch's choice."""
    compile: bool = False
    """Compile the training step with torch.compile, once for each training size: on the CPU it
    needs a C++ compiler, takes a minute or two first, and pays from a few epochs on."""
    resume: bool = False
    """Go on with an interrupted run in the same folder."""
    tensorboard: bool = False
    """Write TensorBoard events into the run's folder as well."""

    def __post_init__(self) -> None:
        dropout = self.network.dropout
        require(0 <= dropout < 1, "--dropout", "a number from 0 to below 1", dropout)
        require_px("--input-px", self.network.input_px)
        require(self.network.inner >= 0, "--inner", "a number 0 or more", self.network.inner)
        require(self.epochs >= 1, "--epochs", "a number 1 or more", self.epochs)
        require(self.batch >= 1, "--batch", "a number 1 or more", self.batch)
        require(0 < self.lr < math.inf, "--lr", "a number above 0 and finite", self.lr)
        require(0 <= self.ema < 1, "--ema", "a number from 0 to below 1", self.ema)
        weight = self.teacher_weight
        require(0 <= weight <= 1, "--teacher-weight", "a number from 0 to 1", weight)
        require(self.teacher_px >= 0, "--teacher-px", "a number 0 or more", self.teacher_px)
        if self.teacher_px and not self.teacher:
            raise UsageError("--teacher-px is the size of a teacher's photos: name one, --teacher.")
        require(0 <= self.warmup < 1, "--warmup", "a number from 0 to below 1", self.warmup)
        require(self.patience >= 0, "--patience", "a number 0 or more", self.patience)
        require(0 <= self.seed < 2**64, "--seed", "a number from 0 to below 2^64", self.seed)
        require(self.threads >= 0, "--threads", "a number 0 or more", self.threads)
        require(0 <= self.mix_share <= 1, "--mix-share", "a number from 0 to 1", self.mix_share)
        smallest_px = min(self.progressive_px, default=1)
        require(smallest_px >= 1, "--progressive-px", "a number 1 or more", smallest_px)
        smoothing, momentum = self.label_smoothing, self.batchnorm_momentum
        require(0 <= smoothing <= 1, "--label-smoothing", "a number from 0 to 1", smoothing)
        require(0 <= momentum <= 1, "--batchnorm-momentum", "a number from 0 to 1", momentum)
        for name in ("clip_norm", "weight_decay", "head_lr_factor", "mixup", "cutmix"):
            found = getattr(self, name)
            flag = "--" + name.replace("_", "-")
            require(0 <= found < math.inf, flag, "a number 0 or more and finite", found)

    @property
    def training_px(self) -> tuple[int, ...]:
        """The sizes that the network trains at, one after another."""
        return self.progressive_px or (self.network.input_px,)

    @property
    def on_features(self) -> bool:
        """Whether the head is trained on features computed once, and no photo is looked at."""
        return not self.network.train_backbone and self.augment == "none"


def require_px(flag: str, input_px: int | None) -> None:
    """Raise UsageError for an input size, where one is given, that is too small for a network."""
    takes = f"a number {SMALLEST_PX} or more"
    require(input_px is None or input_px >= SMALLEST_PX, flag, takes, input_px)


def require_used(config: FitConfig) -> None:
    """Raise UsageError for an option that would change nothing in this training, or cannot.

    Apart from the config's own checks: runs of before have such options saved, and still load.
    """
    for name in ("mixup", "cutmix", "progressive_px") if config.on_features else ():
        if getattr(config, name):
            raise UsageError(
                f"--{name.replace('_', '-')} changes photos, but a head on a frozen backbone is "
                "trained on features computed once: add --augment or --train-backbone."
            )
    usual = FitConfig(out=config.out, data=config.data)
    if config.teacher_weight != usual.teacher_weight and not config.teacher:
        raise UsageError("--teacher-weight is a teacher's share of the loss: name one, --teacher.")
    if config.teacher and config.on_features:
        raise UsageError("--teacher looks at photos: it takes --train-backbone or --augment.")
    if config.patience and config.data.choose_on == "nothing":
        raise UsageError("--patience compares epochs: leave it out with --choose-on nothing.")
    _require_used_sources(config)
    sizes = len(config.progressive_px)
    if sizes > config.epochs:
        raise UsageError(
            f"--progressive-px has {sizes} sizes for {config.epochs} epochs: give no more than one "
            "for each epoch."
        )


def _require_used_sources(config: FitConfig) -> None:
    """Raise UsageError for a share or weights that the training would never look at."""
    choose_on, usual = config.data.choose_on, DataConfig(config.data.data)
    for name in ("holdout", "holdout_seed") if choose_on != "holdout" else ():
        if getattr(config.data, name) != getattr(usual, name):
            raise UsageError(
                f"--{name.replace('_', '-')} is of the photos that are held out, but --choose-on "
                f"{choose_on} holds out none: add --choose-on holdout, or leave it out."
            )
    weights = config.network.weights
    if config.start and weights not in (NetworkConfig().weights, "none"):
        raise UsageError(
            f"--weights {weights} would change nothing, for all weights come from --start "
            f"{config.start}: leave one of them out."
        )


def to_json(config: Any) -> dict[str, Any]:
    """A config as JSON values; paths become strings."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(config), default=str))
    return values


def from_json(cls: type[Any], values: Mapping[str, Any]) -> Any:
    """Read a config that `to_json` wrote.

    Raises:
        UsageError: a field is unknown or missing; the message names it.
    """
    hints = get_type_hints(cls)
    known = {f.name for f in fields(cls)}
    unknown = set(values) - known
    if unknown:
        raise UsageError(f"The saved config has unknown fields: {', '.join(sorted(unknown))}.")
    read = {}
    for name, value in values.items():
        hint = hints[name]
        if is_dataclass(hint):
            read[name] = from_json(hint, value)  # type: ignore[arg-type]
        elif hint is Path:
            read[name] = Path(value)
        else:
            read[name] = tuple(value) if isinstance(value, list) else value
    try:
        return cls(**read)
    except TypeError as error:
        raise UsageError(f"The saved config is incomplete: {error}.") from error
