"""A distance that the model computes in, how familiar the photo is out: an empirical p-value.

The model's second output is a photo's squared distance to the nearest class of the training photos
(train/networks/familiarity.py). The contract holds the distances of photos that the model was not
trained on, and a photo's familiarity is the share of them that lie farther out.
"""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.errors import ContractError

# The contract holds at most this many distances: more would make it longer, not more exact.
MAX_DISTANCES = 500


@dataclass(frozen=True, slots=True)
class Familiarity:
    """What a distance is compared with.

    Attributes:
        photos: how many photos' distances were measured, n.
        distances: theirs in ascending order; if n is above MAX_DISTANCES, that many quantiles.
        unsure_below: an answer about a less familiar photo is `unsure`; with 0 none is.
    """

    photos: int
    distances: tuple[float, ...]
    unsure_below: float

    def of(self, distance: float) -> float:
        """(1 + k) / (n + 1), where k of the n photos lie farther out; above 0 and at most 1.

        This is the p-value of "the photo is of the same kind" (Phipson and Smyth 2010,
        "Permutation P-values Should Never Be Zero"). NaN is as unfamiliar as infinity.
        """
        farther = len(self.distances) - bisect_right(self.distances, distance)
        if distance != distance:
            farther = 0
        return (1 + farther / len(self.distances) * self.photos) / (self.photos + 1)

    def distance_at(self, familiarity: float) -> float:
        """The smallest of the distances whose photos are less familiar than that; else infinity."""
        beyond = [each for each in self.distances if self.of(each) < familiarity]
        return beyond[0] if beyond else float("inf")

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "photos": self.photos,
            "distances": list(self.distances),
            "unsure_below": self.unsure_below,
        }

    @classmethod
    def from_json(cls, value: Any) -> "Familiarity":
        """Read the contract's field `familiarity`; raises ContractError naming what is wrong."""
        if not isinstance(value, Mapping):
            raise ContractError("The contract's field 'familiarity' must be an object.")
        photos, below = value.get("photos"), value.get("unsure_below")
        if not isinstance(photos, int) or isinstance(photos, bool) or photos < 1:
            raise _wrong("photos", photos, "a whole number of 1 or more")
        is_share = isinstance(below, int | float) and not isinstance(below, bool)
        if below is None or not is_share or not 0 <= below <= 1:
            raise _wrong("unsure_below", below, "a number between 0 and 1")
        return cls(photos, _distances(value.get("distances"), photos), float(below))


def _distances(value: Any, photos: int) -> tuple[float, ...]:
    count = min(photos, MAX_DISTANCES)
    if not isinstance(value, list) or len(value) != count:
        found = len(value) if isinstance(value, list) else value
        raise _wrong("distances", found, f"a list of {count} numbers, for {photos} photos")
    if not all(_is_number(each) and abs(each) < float("inf") for each in value):
        raise _wrong("distances", "not all numbers", "finite numbers")
    if value != sorted(value):
        raise _wrong("distances", "out of order", "in ascending order")
    return tuple(map(float, value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _wrong(name: str, found: object, wanted: str) -> ContractError:
    return ContractError(
        f"The contract's field 'familiarity.{name}' is {found!r}; it must be {wanted}."
    )
