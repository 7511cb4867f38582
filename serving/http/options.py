"""What a request may choose of its answer: how many classes it lists, and when it is `unsure`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.errors import InvalidRequestError
from serving.http import sources
from serving.http.events import Request
from serving.model.contract import Contract

TOP_K_DEFAULT = 5


@dataclass(frozen=True, slots=True)
class Options:
    """How many classes an answer lists, and below which probability it is `unsure`."""

    top_k: int
    unsure_below: float

    @classmethod
    def of(
        cls, request: Request, in_body: Mapping[str, Any], contract: Contract, top_k_max: int
    ) -> "Options":
        """Options of the query string; where it has none, those of the body. Both must be right.

        Raises:
            InvalidRequestError: one is no number, or out of range.
        """
        top_k, unsure_below = TOP_K_DEFAULT, contract.unsure_below
        in_query = {n: request.query[n][-1] for n in sources.OPTIONS if request.query.get(n)}
        for given in (in_body, in_query):
            if "top_k" in given:
                top_k = _top_k(given["top_k"], top_k_max)
            if "threshold" in given:
                unsure_below = _threshold(given["threshold"])
        return cls(min(top_k, len(contract.classes)), unsure_below)


def _top_k(value: Any, largest: int) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 9:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= largest:
        raise InvalidRequestError(
            f"'top_k' is {_shown(value)}; it must be a whole number between 1 and {largest}."
        )
    return value


def _threshold(value: Any) -> float:
    number = value
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            number = None
    is_number = isinstance(number, int | float) and not isinstance(number, bool)
    if not is_number or not 0 <= number <= 1:
        raise InvalidRequestError(
            f"'threshold' is {_shown(value)}; it must be a number between 0 and 1."
        )
    return float(number)


def _shown(value: Any) -> str:
    return json.dumps(value)[:40]
