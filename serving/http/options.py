"""What a request may choose about its answer: `top_k` and `threshold`.

Their names, what they accept and how OpenAPI describes them stand here only. They come as query
parameters, as fields of the JSON or as fields of the form.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.errors import InvalidRequestError
from serving.model.contract import Contract
from serving.settings import Settings

TOP_K, THRESHOLD = "top_k", "threshold"
NAMES = (TOP_K, THRESHOLD)
_TOP_K_DEFAULT = 5


@dataclass(frozen=True, slots=True)
class Options:
    """How many classes an answer lists, and below which top probability it is `unsure`."""

    top_k: int
    unsure_below: float

    @classmethod
    def of(
        cls,
        query: Mapping[str, list[str]],
        in_body: Mapping[str, Any],
        contract: Contract,
        settings: Settings,
    ) -> "Options":
        """Read the options. The query string takes precedence over the body; both must be valid.

        Raises:
            InvalidRequestError: an option is not a number, or out of range.
        """
        top_k, unsure_below = _TOP_K_DEFAULT, contract.unsure_below
        in_query = {name: query[name][-1] for name in NAMES if query.get(name)}
        for given in (in_body, in_query):
            if TOP_K in given:
                top_k = _top_k(given[TOP_K], settings.top_k_max)
            if THRESHOLD in given:
                unsure_below = _threshold(given[THRESHOLD])
        return cls(min(top_k, len(contract.classes)), unsure_below)


def schemas(settings: Settings) -> dict[str, dict[str, Any]]:
    """The JSON schema of each option by its name, for /openapi.json."""
    return {
        TOP_K: {
            "type": "integer",
            "minimum": 1,
            "maximum": settings.top_k_max,
            "default": min(_TOP_K_DEFAULT, settings.top_k_max),
            "description": "How many classes to list",
        },
        THRESHOLD: {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "description": "Below this top probability an answer is unsure",
        },
    }


def _top_k(value: Any, largest: int) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 9:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= largest:
        raise InvalidRequestError(
            f"'{TOP_K}' is {_shown(value)}; it must be a whole number between 1 and {largest}."
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
            f"'{THRESHOLD}' is {_shown(value)}; it must be a number between 0 and 1."
        )
    return float(number)


def _shown(value: Any) -> str:
    return json.dumps(value)[:40]
