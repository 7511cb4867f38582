"""Which photos are trained on or measured, and how they are read: frozen settings, and flags."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from train.errors import UsageError, require

ChooseOn = Literal["validation", "holdout", "nothing"]

# What serving decodes by default, IMAGE_MAX_PIXELS; a test holds the two equal.
MAX_PIXELS = 51_000_000

FULL_RANGE, OWN_RANGE = "full", "data"


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Which photos, and how they are read."""

    data: Path
    """Folder of the photos: CLASS/*.jpg, or {train,validation,test}/CLASS/*.jpg. Splits that are
    missing are made, and recorded beside the cache."""
    table: Path | None = None
    """CSV or TSV file with the columns path, label and, if you like, split and group; paths are
    relative to --data or absolute. Photos of one group are never in two splits."""
    group_by: str = ""
    """Regular expression for a photo's path in --data; what its parentheses match (else all that
    it matches) is the photo's group."""
    value_range: str = FULL_RANGE
    """Which pixel values become black and white: `full`, those of the file's bits; `data`, the
    smallest and largest of the training photos; LOW:HIGH, as shares of the full range. It goes
    into the model's contract, so serving does the same."""
    max_pixels: int = MAX_PIXELS
    """Photos with more pixels are not read. Serving has its own limit, IMAGE_MAX_PIXELS."""
    choose_on: ChooseOn = "validation"
    """Photos to compare epochs or settings on: `validation`, the split; `holdout`, a share of train
    that is kept out of training; `nothing`, which trains on all of train and keeps the last
    epoch."""
    holdout: float = 0.1
    """With `--choose-on holdout`, the share of each class of train that is kept out of training."""
    holdout_seed: int = 0
    """Seed of the held-out share. Runs with different `--seed` hold out the same photos."""
    strict: bool = False
    """Stop if anything in the folder or table is passed over, such as a photo that cannot be
    read."""
    cache: Path = Path(".cache/photos")
    """Folder of decoded photos and features; safe to delete."""
    cache_gb: float = -1.0
    """Most gigabytes that the cache may take; the least used goes first, and photos that do not fit
    are decoded whenever they are read. -1 keeps what was set before, at first half of the disk's
    free space."""
    rehash: bool = False
    """Read every photo again, also those of unchanged size and time."""
    workers: int = -1
    """Processes that augment photos; -1 is one per core, at most 8 if all photos are cached."""

    def __post_init__(self) -> None:
        require(0 < self.holdout < 1, "--holdout", "a number between 0 and 1", self.holdout)
        require(self.holdout_seed >= 0, "--holdout-seed", "a number 0 or more", self.holdout_seed)
        is_limit = self.cache_gb == -1 or 0 <= self.cache_gb < math.inf
        require(is_limit, "--cache-gb", "a number 0 or more, or -1", self.cache_gb)
        require(self.max_pixels >= 1, "--max-pixels", "a number 1 or more", self.max_pixels)
        try:
            re.compile(self.group_by)
        except re.error as error:
            raise UsageError(
                f"--group-by {self.group_by} is not a regular expression: {error}."
            ) from error
        if self.value_range not in (FULL_RANGE, OWN_RANGE):
            _low_and_high(self.value_range)

    @property
    def held_out(self) -> tuple[float, int] | None:
        """Share and seed of the photos kept out of training; None if none were."""
        return (self.holdout, self.holdout_seed) if self.choose_on == "holdout" else None

    @property
    def levels(self) -> tuple[float, float] | None:
        """The values that become black and white, as shares of the full range; None if all do.

        A range of `data` has no levels before the training photos are measured.
        """
        known = self.value_range not in (FULL_RANGE, OWN_RANGE)
        return _low_and_high(self.value_range) if known else None


def _low_and_high(text: str) -> tuple[float, float]:
    takes = "full, data, or LOW:HIGH with 0 <= LOW < HIGH <= 1"
    first, _, second = text.partition(":")
    try:
        low, high = float(first), float(second)
    except ValueError:
        low = high = math.nan
    require(0 <= low < high <= 1, "--value-range", takes, text)
    return low, high
