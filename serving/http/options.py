"""What a request may choose about its answer: `top_k`, `threshold` and `explain`.

Their names, what they accept and how OpenAPI describes them stand here only. They come as query
parameters, as fields of the JSON or as fields of the form.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.errors import InvalidRequestError, UnexplainableError
from serving.model.contract import Contract
from serving.settings import Settings

TOP_K, THRESHOLD, EXPLAIN = "top_k", "threshold", "explain"
NAMES = (TOP_K, THRESHOLD, EXPLAIN)
_TOP_K_DEFAULT = 5
_SWITCHES = {"1": True, "true": True, "on": True, "0": False, "false": False, "off": False}


@dataclass(frozen=True, slots=True)
class Options:
    """How many classes an answer lists, below which top probability it is `unsure`, and whether it
    has an explanation.
    """

    top_k: int
    unsure_below: float
    explain: bool = False

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
            InvalidRequestError: an option is of another kind, or out of range.
            UnexplainableError: an explanation is asked for, and the model cannot give one.
        """
        top_k, unsure_below, explain = _TOP_K_DEFAULT, contract.unsure_below, False
        in_query = {name: query[name][-1] for name in NAMES if query.get(name)}
        for given in (in_body, in_query):
            if TOP_K in given:
                top_k = _top_k(given[TOP_K], settings.top_k_max)
            if THRESHOLD in given:
                unsure_below = _threshold(given[THRESHOLD])
            if EXPLAIN in given:
                explain = _explain(given[EXPLAIN])
        if explain and contract.unexplained_because:
            raise UnexplainableError(
                f"The model {contract.name} cannot explain its answers exactly: "
                f"{contract.unexplained_because}. Ask without '{EXPLAIN}', or serve a model with a "
                "head of one linear layer after a mean, exported by this version."
            )
        return cls(min(top_k, len(contract.classes)), unsure_below, explain)


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
        EXPLAIN: {
            "enum": [True, False, 1, 0],
            "default": False,
            "description": "Whether to add a map of the parts that speak for the label; 422 "
            "`unexplainable` if the model cannot give an exact one",
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


def _explain(value: Any) -> bool:
    text = json.dumps(value) if isinstance(value, bool | int) else value
    if not isinstance(text, str) or text.lower() not in _SWITCHES:
        raise InvalidRequestError(
            f"'{EXPLAIN}' is {_shown(value)}; it must be true or false, 1 or 0."
        )
    return _SWITCHES[text.lower()]


def _shown(value: Any) -> str:
    return json.dumps(value)[:40]
