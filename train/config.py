"""The settings of a training run: frozen dataclasses that become the command line's flags and are
saved beside every output.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import tyro

from train.errors import UsageError, require
from train.reading import DataConfig as DataConfig

Augment = Literal["none", "light", "strong", "whole", "crops", "trivial"]
Flip = Literal["horizontal", "none"]
Sampling = Literal["all", "balanced"]
ChooseBy = Literal["accuracy", "loss", "f1"]
Tracker = Literal["none", "tensorboard", "wandb", "mlflow"]
Optimizer = Literal["adam", "adamw", "sgd"]
Schedule = Literal["constant", "onecycle", "cosine", "step"]
Precision = Literal["auto", "no", "bf16", "fp16"]

# Networks that halve the image five times are left with one position at this size.
SMALLEST_PX = 32


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Which network, its starting weights, and which part of it is trained."""

    backbone: str = "mobilenet_v2"
    """Name of a torchvision classification model, or timm/NAME for one of timm's."""
    weights: str = "default"
    """Starting weights: `default` downloads the library's, `none` draws random ones, or a file of
    torch or safetensors."""
    train_backbone: bool = False
    """Train the whole network, not only the head."""
    frozen_stages: int = 0
    """With `--train-backbone`, the number of first stages that keep their starting weights. They
    see the largest feature maps, so freezing them makes an epoch faster."""
    inner: int = 0
    """Units of a hidden layer between features and logits; 0 for none."""
    dropout: float = 0.0
    """Dropout before the last layer, as a share."""
    input_px: int = 0
    """Height and width of the network's input; 0 is the size of the backbone's pre-training."""


@dataclass(frozen=True, slots=True)
class FitConfig:
    """Train a network on a folder of photos."""

    out: Path
    """Folder of the run; everything is written there."""
    data: Annotated[DataConfig, tyro.conf.arg(name="")]
    network: Annotated[NetworkConfig, tyro.conf.arg(name="")] = field(default_factory=NetworkConfig)
    epochs: int = 10
    """Passes over the training photos."""
    batch: int = 32
    """Photos per step, over all processes together."""
    accumulate: int = 1
    """Add the gradients of this many batches before each step of the optimizer, as if `--batch`
    were so many times larger."""
    lr: float = 1e-3
    """Peak learning rate of the head, or with `--train-backbone` of the backbone."""
    head_lr_factor: float = 5.0
    """With `--train-backbone`, the head's learning rate is this many times `--lr`."""
    optimizer: Optimizer = "adam"
    """`sgd` uses Nesterov momentum 0.9."""
    weight_decay: float = 0.0
    """Weight decay; biases and normalisation layers have none."""
    schedule: Schedule = "constant"
    """Learning-rate schedule. `onecycle`: up, then down to nearly 0, both along a cosine;
    `cosine`: linear warm-up, then down to 0 along a cosine; `step`: divided by 10 after each third
    of the steps."""
    warmup: float = 0.2
    """Share of the steps in which `onecycle` and `cosine` raise the learning rate."""
    label_smoothing: float = 0.0
    """Share of each label that is spread evenly over all classes."""
    class_weights: bool = False
    """Weight each class in the loss by the inverse of its share of the training photos."""
    sampling: Sampling = "all"
    """`all`: every photo once per epoch; `balanced`: every class equally often, so that photos of
    small classes repeat."""
    augment: Augment = "none"
    """`light`: small rotations, crops of 90 to 100 % of the area, flips; `strong`: crops of 50 to
    100 %, flips, colour jitter, random erasing; `whole`: rotation, shift, shear and scale without
    crops, stronger colour jitter, random erasing; `crops`: crops of 40 to 100 %, flips, colour
    jitter, meant for training with a teacher; `trivial`: crops of 50 to 100 %, flips, and one
    random operation of TrivialAugment."""
    flip: Flip = "horizontal"
    """Whether `--augment` mirrors photos; `none` if left and right matter (arrows, text)."""
    progressive_px: tuple[int, ...] = ()
    """Sizes to train at, each for an equal part of the epochs; `--input-px` if not given."""
    mixup: float = 0.0
    """Alpha of mixup; 0 turns it off."""
    cutmix: float = 0.0
    """Alpha of cutmix; 0 turns it off."""
    mix_share: float = 1.0
    """Share of the batches that mixup or cutmix is applied to."""
    start: str = ""
    """Folder of a trained run to start from; all its weights are loaded, the head's too."""
    teacher: tuple[str, ...] = ()
    """Folders of trained runs to distil from, of any backbone; the target is the mean of their
    probabilities."""
    teacher_weight: float = 0.5
    """Share of the loss that comes from the teacher; the rest comes from the labels."""
    teacher_px: int = 0
    """Input size of the teacher if larger than the training size; 0 is the training size."""
    ema: float = 0.0
    """Decay of an exponential moving average of the weights, which becomes the model; 0 turns it
    off."""
    batchnorm_momentum: float = 0.1
    """Momentum of batch-norm's running statistics."""
    clip_norm: float = 0.0
    """Largest gradient norm; 0 turns clipping off."""
    patience: int = 0
    """Stop after this many epochs without improvement; 0 turns it off."""
    keep: Literal["best", "last"] = "best"
    """Which epoch's weights become the model."""
    choose_by: ChooseBy = "accuracy"
    """What the best epoch is best by; `f1` is the mean over classes, each counting the same."""
    seed: int = 0
    """Seed of starting weights, photo order, augmentation and dropout."""
    deterministic: bool = False
    """Use only algorithms that give the same bits each time, also on a GPU."""
    precision: Precision = "auto"
    """Mixed precision; `auto` is bf16 where the hardware supports it."""
    threads: int = 0
    """CPU threads of torch; 0 is torch's default."""
    compile: bool = False
    """Compile the training step with torch.compile, once per training size. On the CPU this needs a
    C++ compiler and takes a minute or two, which pays off after a few epochs."""
    resume: bool = False
    """Continue an interrupted run in the same folder."""
    tracker: Tracker = "none"
    """Send each epoch's figures to a tracker, too; its package must be installed."""

    def __post_init__(self) -> None:
        dropout = self.network.dropout
        require(0 <= dropout < 1, "--dropout", "a number from 0 to below 1", dropout)
        require_px("--input-px", self.network.input_px or None)
        require(self.network.inner >= 0, "--inner", "a number 0 or more", self.network.inner)
        require(self.epochs >= 1, "--epochs", "a number 1 or more", self.epochs)
        require(self.batch >= 1, "--batch", "a number 1 or more", self.batch)
        require(self.accumulate >= 1, "--accumulate", "a number 1 or more", self.accumulate)
        require(0 < self.lr < math.inf, "--lr", "a number above 0 and finite", self.lr)
        require(0 <= self.ema < 1, "--ema", "a number from 0 to below 1", self.ema)
        weight = self.teacher_weight
        require(0 <= weight <= 1, "--teacher-weight", "a number from 0 to 1", weight)
        require(self.teacher_px >= 0, "--teacher-px", "a number 0 or more", self.teacher_px)
        if self.teacher_px and not self.teacher:
            raise UsageError("--teacher-px needs a teacher: add --teacher RUN.")
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
        """The sizes that the network trains at, in order."""
        return self.progressive_px or (self.network.input_px,)

    @property
    def on_features(self) -> bool:
        """Whether only the head is trained, on features computed once."""
        return not self.network.train_backbone and self.augment == "none"


def require_px(flag: str, input_px: int | None) -> None:
    """Raise UsageError for an input size that is too small for a network; None is no size."""
    takes = f"a number {SMALLEST_PX} or more"
    require(input_px is None or input_px >= SMALLEST_PX, flag, takes, input_px)


def to_json(config: Any) -> dict[str, Any]:
    """Convert a config to JSON values; paths become strings."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(config), default=str))
    return values


# Settings that no longer exist and never changed a result; older runs have them saved.
_GONE = frozenset({"tensorboard"})


def from_json(cls: type[Any], values: Any) -> Any:
    """Read a config that `to_json` wrote.

    Raises:
        UsageError: a field is unknown, missing or of another type; the message names it.
    """
    if not isinstance(values, Mapping):
        raise UsageError("The saved config is not an object with fields.")
    values = {name: value for name, value in values.items() if name not in _GONE}
    hints = get_type_hints(cls)
    known = {f.name for f in fields(cls)}
    unknown = set(values) - known
    if unknown:
        raise UsageError(f"The saved config has unknown fields: {', '.join(sorted(unknown))}.")
    read = {}
    try:
        for name, value in values.items():
            hint = hints[name]
            if is_dataclass(hint):
                read[name] = from_json(hint, value)  # type: ignore[arg-type]
            elif hint is Path or (hint == Path | None and value is not None):
                read[name] = Path(value)
            else:
                read[name] = tuple(value) if isinstance(value, list) else value
        return cls(**read)
    except TypeError as error:
        raise UsageError(f"The saved config is incomplete or damaged: {error}.") from error
