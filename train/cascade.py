"""Two runs in, one run out that asks the second only where the first is not sure.

A second network that errs elsewhere than the first makes their mean better than either, at the
price of both. Most photos do not need it: where the first is sure, it answers alone. From which
probability on is chosen on photos that both runs held out: the lowest at which no photo more is
wrong than if both were always asked, and the loss is within one standard error of theirs.

Networks that a cascade taught have seen every photo that it has, and their siblings may be gone.
Then its answers to the photos of validation stand in for labels: what is right is what it holds
for likely. The labels of validation are not looked at.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray
from scipy.special import log_softmax

from train import checkpoints, runs
from train.calibration import (
    answers_of,
    faultless_note,
    fit_temperature,
)
from train.config import require_px, to_json
from train.data import Manifest
from train.errors import UsageError
from train.inference import TorchModel, contract_of, labelled_split, split_logits
from train.metrics import Targets, photo_losses, share_right
from train.run_photos import held_out_photos
from train.saved import (
    CascadeRule,
    TrainedCascade,
    TrainedModel,
    load_model,
    load_single,
    require_alike,
)


@dataclass(frozen=True, slots=True)
class CascadeConfig:
    """Write a run that asks a second network where the first is not sure."""

    first: tyro.conf.Positional[Path]
    """Folder of the run that answers alone where it is sure: the faster one."""
    second: tyro.conf.Positional[Path]
    """Folder of the run that is asked where the first is not."""
    out: Path
    """Folder of the new run."""
    first_px: int | None = None
    """Height and width of the first's input; the run's own if not given. A smaller one answers the
    sure photos sooner."""
    second_px: int | None = None
    """Height and width of the second's input; the run's own if not given."""
    tuned_on: Path | None = None
    """Cascade of siblings of both, which held photos out: its sizes, temperatures and threshold are
    taken. Both runs must have held out the same photos if neither this nor --like is given."""
    like: Path | None = None
    """ONNX file of the calibrated model that taught the first: its answers to the photos of
    validation stand in for labels, which are not used."""
    data: Path | None = None
    """Folder of the photos that the runs were trained on, if they were moved."""
    cache: Path = Path(".cache/photos")
    """Folder of decoded photos; safe to delete."""

    def __post_init__(self) -> None:
        require_px("--first-px", self.first_px)
        require_px("--second-px", self.second_px)


@dataclass(frozen=True, slots=True)
class Tuned:
    """The rule, and what it came to on the photos that it was chosen on.

    Attributes:
        alone: of the photos, how many the first answers alone.
        first_correct, second_correct, both_correct, correct: whole numbers, or what is expected
            where a model's answers stood in for labels.
        loss, both_loss: mean cross-entropy of the cascade, and of both always asked.
        like: the version of that model, if there was one.
    """

    rule: CascadeRule
    photos: int
    alone: int
    first_correct: float
    second_correct: float
    both_correct: float
    correct: float
    loss: float
    both_loss: float
    like: str = ""


def cascade(config: CascadeConfig) -> None:
    """Choose the rule, or take it, and leave the two networks with it in `config.out`.

    Raises:
        UsageError: the runs differ in classes, photos or held-out share, a run is a cascade
            itself, sizes or --like are given where a sibling's rule is taken, --like has other
            classes, or --out holds a run.
        ContractError: --like is no file that serving can honour.
    """
    runs.require_free(config.out)
    if config.tuned_on is not None and (config.first_px or config.second_px):
        raise UsageError("--first-px and --second-px are the sibling's: leave out --tuned-on.")
    if config.tuned_on is not None and config.like is not None:
        raise UsageError("--tuned-on and --like both give the rule: leave one out.")
    folders = (config.first, config.second)
    parts = [load_single(run) for run in folders]
    require_alike(folders, parts, "a cascade takes two runs on the same photos")
    if config.tuned_on is None:
        tuned = _tune(config, parts)
        rule, figures = tuned.rule, asdict(tuned)
        print(summary(tuned))
    else:
        rule, figures = _rule_of(config.tuned_on, parts), {"tuned_on": config.tuned_on.name}
    _save(config, parts, rule, figures)
    print(f"The cascade is {config.out / runs.MODEL}")


def _rule_of(run: Path, parts: Sequence[TrainedModel]) -> CascadeRule:
    sibling = load_model(run)
    if not isinstance(sibling, TrainedCascade):
        raise UsageError(f"--tuned-on {run} is no cascade: make one of siblings first.")
    backbones = [[p.config.network.backbone for p in made] for made in (sibling.parts, parts)]
    if sibling.classes != parts[0].classes or backbones[0] != backbones[1]:
        raise UsageError(f"--tuned-on {run} has other classes or backbones than the two runs.")
    return sibling.rule


def _tune(config: CascadeConfig, parts: Sequence[TrainedModel]) -> Tuned:
    photos, targets, like = _targets(config, parts[0])
    given = (config.first_px, config.second_px)
    sizes = [px or part.config.network.input_px for px, part in zip(given, parts, strict=True)]
    logits = [
        split_logits(TorchModel(part, contract_of(part, px)), photos, config.cache)
        for part, px in zip(parts, sizes, strict=True)
    ]
    return replace(tune(logits[0], logits[1], targets, (sizes[0], sizes[1])), like=like)


def _targets(config: CascadeConfig, first: TrainedModel) -> tuple[Manifest, Targets, str]:
    """Photos that neither network has seen, what is right of them, and by which model if any."""
    if config.like is None:
        photos = held_out_photos(first, config.first, config.cache, config.data)
        return photos, photos.labels(), ""
    root = config.data or first.config.data.data
    photos = labelled_split(root, "validation", config.cache, first.classes)
    return photos, *answers_of(config.like, photos, config.cache)


def tune(
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    targets: Targets,
    sizes_px: tuple[int, int],
) -> Tuned:
    """Choose the rule on both networks' (N, C) logits of photos that neither was trained on."""
    temperatures = [fit_temperature(one.astype(np.float64), targets) for one in (first, second)]
    # Logarithms of probabilities, (N, C).
    alone = log_softmax(first.astype(np.float64) / temperatures[0], axis=1)
    other = log_softmax(second.astype(np.float64) / temperatures[1], axis=1)
    both = np.logaddexp(alone, other) - np.log(2)
    confidence = np.exp(alone.max(axis=1))  # (N,)
    sure_above = _threshold(alone, both, confidence, targets)
    sure = confidence >= sure_above
    answered = np.where(sure[:, None], alone, both)
    return Tuned(
        CascadeRule(*sizes_px, temperatures[0], temperatures[1], sure_above),
        photos=len(targets),
        alone=int(sure.sum()),
        first_correct=_correct(alone, targets),
        second_correct=_correct(other, targets),
        both_correct=_correct(both, targets),
        correct=_correct(answered, targets),
        loss=float(photo_losses(answered, targets).mean()),
        both_loss=float(photo_losses(both, targets).mean()),
    )


def _threshold(
    alone: NDArray[np.float64],
    both: NDArray[np.float64],
    confidence: NDArray[np.float64],
    targets: Targets,
) -> float:
    """The lowest that keeps to the rule at the top of this file; 2 if the first may never answer.

    It lies half way between two confidences, so that no photo's answer hangs on the last bit.
    """
    order = np.argsort(-confidence, kind="stable")  # at each place, the photos up to it are sure
    behind = (photo_losses(alone, targets) - photo_losses(both, targets))[order]
    more_right = (share_right(alone, targets) - share_right(both, targets))[order]
    count = len(targets)
    mean = behind.cumsum() / count
    variance = ((behind**2).cumsum() - count * mean**2) / max(count - 1, 1)
    error = np.sqrt(np.maximum(variance, 0) / count)
    falling = np.append(confidence[order], 0.0)
    fits = (more_right.cumsum() >= 0) & (mean <= error) & (falling[1:] < falling[:-1])
    places = np.flatnonzero(fits)
    return float(falling[places[-1] : places[-1] + 2].mean()) if len(places) else 2.0


def _correct(logs: NDArray[np.float64], targets: Targets) -> float:
    return float(share_right(logs, targets).sum())


def _save(
    config: CascadeConfig, parts: Sequence[TrainedModel], rule: CascadeRule, figures: dict[str, Any]
) -> None:
    saved = [runs.load_checkpoint(run / runs.MODEL) for run in (config.first, config.second)]
    runs.save_checkpoint(
        config.out / runs.MODEL,
        {
            "format": checkpoints.FORMAT,
            "cascade": saved,
            "rule": asdict(rule),
            "like": figures.get("like", ""),
        },
    )
    runs.write_json(config.out / runs.CONFIG, to_json(config))
    runs.write_json(
        config.out / runs.RECORD,
        {
            "classes": list(parts[0].classes),
            "manifest_sha256": parts[0].manifest_sha256,
            "versions": checkpoints.versions(),
            "rule": asdict(rule),
            "tuned": figures,
            "epochs": [],
        },
    )


def summary(tuned: Tuned) -> str:
    """What the rule comes to, for people."""
    photos = f"photos, as {tuned.like} answers them" if tuned.like else "held-out photos"
    faultless = [
        f"\n{faultless_note(f'by the {name} network all photos')}"
        for name, correct in (("first", tuned.first_correct), ("second", tuned.second_correct))
        if correct == tuned.photos
    ]
    return (
        f"{tuned.photos} {photos}: the first has {_count(tuned.first_correct)} right, the second "
        f"{_count(tuned.second_correct)}, both together {_count(tuned.both_correct)} "
        f"(loss {tuned.both_loss:.4f}). "
        f"From {tuned.rule.sure_above:.3f} on the first answers alone, "
        f"{tuned.alone / tuned.photos:.0%} of them: {_count(tuned.correct)} right, "
        f"loss {tuned.loss:.4f}.{''.join(faultless)}"
    )


def _count(correct: float) -> str:
    return f"{correct:.0f}" if correct.is_integer() else f"{correct:.1f}"
