"""A float32 file and an int8 one in, what tells them apart out, and the gate's verdict."""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.classifier import Classifier
from serving.preprocess import normalize
from train import data
from train.candidates import SAFE_PAIR, largest_pair
from train.data import Manifest
from train.inference import split_logits
from train.metrics import wilson_interval
from train.turns import Clock, medians_in_turns


@dataclass(frozen=True, slots=True)
class Limits:
    """What an int8 file must keep to."""

    min_agreement: float
    max_accuracy_loss: float
    max_time_ratio: float


@dataclass(frozen=True, slots=True)
class Judged:
    """An int8 file against its float32 file, on the same photos.

    Attributes:
        agreed: photos with the same label from both.
        correct_float32, correct_int8: photos that each names rightly.
        unsure_changed: photos that only one of them calls `unsure`.
        mean_difference, largest_difference: of calibrated probabilities, over photos and classes.
        time_ratio: int8's processor time over float32's, one photo, one thread, median.
        largest_pair: see train.candidates.largest_pair.
    """

    photos: int
    agreed: int
    correct_float32: int
    correct_int8: int
    unsure_changed: int
    mean_difference: float
    largest_difference: float
    time_ratio: float
    largest_pair: int

    @property
    def agreement(self) -> float:
        """Share of the photos with the same label from both."""
        return self.agreed / self.photos

    @property
    def accuracy_loss(self) -> float:
        """What int8 loses of accuracy, 0..1; negative where it gains."""
        return (self.correct_float32 - self.correct_int8) / self.photos

    def figures(self) -> dict[str, Any]:
        """The figures as JSON values, with 95 % intervals of the shares."""
        return {
            **asdict(self),
            "agreement": self.agreement,
            "agreement_interval_95": list(wilson_interval(self.agreed, self.photos)),
            "accuracy_float32": self.correct_float32 / self.photos,
            "accuracy_float32_interval_95": list(
                wilson_interval(self.correct_float32, self.photos)
            ),
            "accuracy_int8": self.correct_int8 / self.photos,
            "accuracy_int8_interval_95": list(wilson_interval(self.correct_int8, self.photos)),
        }


@dataclass(frozen=True, slots=True)
class Reference:
    """A float32 file, and its (N, C) logits on the photos that judge what was made of it."""

    classifier: Classifier
    photos: Manifest
    logits: NDArray[np.float32]
    cache: Path

    @classmethod
    def on(cls, classifier: Classifier, photos: Manifest, cache: Path) -> "Reference":
        """Run the file on every photo."""
        return cls(classifier, photos, split_logits(classifier, photos, cache), cache)


def judge(reference: Reference, candidate: Path, clock: Clock) -> Judged:
    """Compare a candidate with the float32 file that it was made of.

    Raises:
        ContractError: serving would refuse the candidate.
    """
    int8, float32 = Classifier.load(candidate), reference.classifier
    labels, before = reference.photos.labels(), reference.logits
    after = split_logits(int8, reference.photos, reference.cache)
    wanted, actual = float32.probabilities(before), int8.probabilities(after)  # (N, C)
    differences = np.abs(wanted - actual)
    below = float32.contract.unsure_below
    return Judged(
        photos=len(labels),
        agreed=int((before.argmax(axis=1) == after.argmax(axis=1)).sum()),
        correct_float32=int((before.argmax(axis=1) == labels).sum()),
        correct_int8=int((after.argmax(axis=1) == labels).sum()),
        unsure_changed=int(((wanted.max(axis=1) < below) != (actual.max(axis=1) < below)).sum()),
        mean_difference=float(differences.mean()),
        largest_difference=float(differences.max()),
        time_ratio=time_ratio(reference, int8, clock),
        largest_pair=largest_pair(candidate),
    )


def time_ratio(reference: Reference, int8: Classifier, clock: Clock) -> float:
    """Median time of int8 over float32's for one photo, one thread each, the two taking turns."""
    spec = int8.contract.preprocess
    batch = normalize(data.pixels(reference.photos, spec, reference.cache)[:1], spec)
    models = (reference.classifier, int8)
    before, after = medians_in_turns([partial(m.logits, batch) for m in models], clock)
    return after / before


def refusals(judged: Judged, limits: Limits) -> list[str]:
    """Why a file does not pass, one line each with by how much; empty when it passes."""
    found = []
    if not judged.agreement >= limits.min_agreement:
        found.append(
            f"another label than float32's on {judged.photos - judged.agreed} of {judged.photos} "
            f"photos: agreement {judged.agreement:.4f}, at least {limits.min_agreement:g} is needed"
        )
    if not judged.accuracy_loss <= limits.max_accuracy_loss:
        found.append(
            f"accuracy {judged.correct_int8} of {judged.photos} against float32's "
            f"{judged.correct_float32}: {judged.accuracy_loss:.4f} lost, at most "
            f"{limits.max_accuracy_loss:g} is allowed"
        )
    if not judged.time_ratio < limits.max_time_ratio:
        found.append(
            f"{judged.time_ratio:.2f} times float32's time, below {limits.max_time_ratio:g} is "
            "needed"
        )
    if judged.largest_pair > SAFE_PAIR:
        found.append(
            f"two weights add up to {judged.largest_pair}, at most {SAFE_PAIR} is right on "
            "processors without VNNI"
        )
    return found
