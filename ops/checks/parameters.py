"""The template's parameters, as a deployment would set them, in; findings about them out."""

import json
import math
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from ops.bill import PRICES
from ops.checks.finding import Finding
from ops.hook import pretraffic
from serving.images.formats import FORMATS
from serving.model.contract import Contract
from serving.settings import Settings

_DRIFT_TOLERANCE = 0.005 + 1e-9  # the template's figures are rounded
_MAX_FUNCTION_NAME = 64  # characters (AWS Lambda API reference, CreateFunction)
# Parameters that may be fractions, though their defaults are whole numbers.
_FRACTIONS = frozenset(
    {
        *("AlarmP99Ms", "ThrottleRatePerSecond", "MonthlyBudgetUsd"),
        *("ReportConfidence", "ReportUnfamiliarShare", "KeepShare"),
    }
)
_MANY_DOLLARS = 20  # a month, for metrics that few look at
_HOOK_PREFIX = "CodeDeployHook_"
# The memory of a process that has classified a small photo, of the child process that decodes some
# formats, and what decoding needs for each pixel, measured on the largest ones taken.
# A JPEG's 7 bytes are the most that is allowed (serving/images/limits.py).
_MEMORY_MB, _CHILD_MB = 90, 30
_BYTES_PER_PIXEL = {"JPEG": 7, "WEBP": 16}
_BYTES_PER_OTHER_PIXEL = 12


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # untyped
    """Reads CloudFormation's short forms as None; their meaning is not needed here."""


_Loader.add_multi_constructor("!", lambda loader, suffix, node: None)


def read(template: Path, overrides: Mapping[str, str]) -> dict[str, str]:
    """Name -> value of every parameter: the template's default, or the one in `overrides`.

    Raises:
        ValueError: `overrides` has a parameter that the template does not have, or a value that
            CloudFormation would refuse.
    """
    defined = _document(template)["Parameters"]
    values = {name: str(p.get("Default", "")) for name, p in defined.items()}
    strangers = overrides.keys() - values.keys()
    if strangers:
        raise ValueError(f"{template.name} has no parameter {', '.join(sorted(strangers))}.")
    for name, value in overrides.items():
        _check(name, value, defined[name])
    return values | dict(overrides)


def settings(template: Path, memory_mb: str) -> Settings:
    """The service's settings, from the template's environment variables and the memory.

    A variable whose value CloudFormation computes has its default here.

    Raises:
        SettingsError: the function would not start with them.
    """
    function = _document(template)["Resources"]["ClassifierFunction"]["Properties"]
    variables = function["Environment"]["Variables"]
    plain = {name: str(value) for name, value in variables.items() if value is not None}
    return Settings.from_env(plain | {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": memory_mb})


def _document(template: Path) -> dict[str, Any]:
    return _parsed(template.read_text(encoding="utf-8"))


@lru_cache(maxsize=2)  # it is asked for each environment
def _parsed(text: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    return document


def _members(value: str) -> list[str]:
    """A list's members as CloudFormation reads them: without spaces around them."""
    return [member.strip() for member in value.split(",")]


def _check(name: str, value: str, defined: Mapping[str, Any]) -> None:
    """Check a value against its parameter's definition; raises ValueError naming it."""
    allowed = [str(one) for one in defined.get("AllowedValues", ())]
    if allowed and value not in allowed:
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}.")
    # CloudFormation checks each member of a list against the pattern.
    parts = _members(value) if defined["Type"] == "CommaDelimitedList" else [value]
    if not all(re.search(defined.get("AllowedPattern", ""), part) for part in parts):
        raise ValueError(f"{name} is {value!r}; it must match {defined['AllowedPattern']}")
    if defined["Type"] == "Number":
        _check_number(name, value, defined)


def _check_number(name: str, value: str, defined: Mapping[str, Any]) -> None:
    low, high = defined.get("MinValue", -math.inf), defined.get("MaxValue", math.inf)
    is_whole = isinstance(defined["Default"], int) and name not in _FRACTIONS
    is_number = re.fullmatch(r"-?\d+" if is_whole else r"-?\d+(\.\d+)?", value, re.ASCII)
    if not (is_number and low <= float(value) <= high):
        wanted = "a whole number" if is_whole else "a number"
        limits = f"from {low:g} to {high:g}" if math.isfinite(high) else f"of at least {low:g}"
        raise ValueError(f"{name} is {value!r}; it must be {wanted} {limits}.")


def contradictions(p: Mapping[str, str]) -> list[Finding]:
    """Parameters that CloudFormation or Lambda would refuse, or that contradict each other."""
    reserved, provisioned = int(p["ReservedConcurrency"]), int(p["ProvisionedConcurrency"])
    is_limited = reserved >= 0
    cases = [
        (
            p["SnapStart"] == "true" and provisioned > 0,
            "SnapStart and ProvisionedConcurrency exclude each other",
            "set SnapStart=false or ProvisionedConcurrency=0",
        ),
        (
            is_limited and 0 < provisioned >= reserved,
            f"ProvisionedConcurrency {provisioned} uses up ReservedConcurrency {reserved}: the "
            "hook could not call a new version",
            f"set ReservedConcurrency={provisioned + 1} or more",
        ),
        (
            reserved == 0,
            "ReservedConcurrency 0 refuses every request",
            "set 1 or more, or -1 to reserve none",
        ),
        (
            p["ApiAuth"] == "JWT" and not (p["JwtIssuer"] and all(_members(p["JwtAudience"]))),
            "ApiAuth JWT needs JwtIssuer and JwtAudience",
            "set both of them",
        ),
        (
            p["ApiAuth"] != "JWT" and bool(p["JwtIssuer"] or p["JwtAudience"]),
            f"JwtIssuer or JwtAudience is set, but ApiAuth {p['ApiAuth']} ignores it",
            "set ApiAuth=JWT, or leave them empty",
        ),
        (
            provisioned > 0 and p["Deployment"] != "AllAtOnce",
            f"while Deployment {p['Deployment']} moves traffic, two versions share the "
            f"{provisioned} provisioned instances, and requests beyond a version's part start cold",
            "set Deployment=AllAtOnce, or provision for both versions",
        ),
        (
            float(p["MonthlyBudgetUsd"]) > 0 and not p["AlarmEmail"],
            "MonthlyBudgetUsd needs AlarmEmail: a budget writes to an address",
            "set AlarmEmail",
        ),
        (
            float(p["AlarmP99Ms"]) >= float(p["TimeoutSeconds"]) * 1000,
            "AlarmP99Ms is not below TimeoutSeconds: requests time out before the alarm goes off",
            "lower AlarmP99Ms",
        ),
    ]
    return [Finding("template.yaml", problem, remedy) for holds, problem, remedy in cases if holds]


def top_k(chosen: Settings, contract: Contract) -> list[Finding]:
    """Whether the service lists as many classes as the hook asks for."""
    asked = pretraffic.top_k(len(contract.classes))
    if chosen.top_k_max >= asked:
        return []
    problem = (
        f"TOP_K_MAX is {chosen.top_k_max}, but the hook asks for {asked} classes: every release "
        "would be rolled back"
    )
    return [Finding("template.yaml", problem, f"set TOP_K_MAX to {asked} or more")]


def label_metrics(chosen: Settings, contract: Contract) -> list[Finding]:
    """Whether a metric for each class costs more than most would pay for it."""
    dollars = len(contract.classes) * PRICES["cloudwatch"]["metric_month"]
    if not chosen.label_metrics or dollars <= _MANY_DOLLARS:
        return []
    problem = (
        f"each of the {len(contract.classes):,} classes is a CloudWatch metric, about "
        f"${dollars:,.0f} a month"
    )
    return [Finding("template.yaml", problem, "set LABEL_METRICS to false; the log keeps labels")]


def memory(p: Mapping[str, str], chosen: Settings) -> list[Finding]:
    """Whether the function has memory for as many of the largest images as it decodes at once."""
    at_once = min(chosen.inference_threads, chosen.batch_max_items)
    largest_bytes = max(
        known.most_pixels(chosen.image_max_pixels)
        * _BYTES_PER_PIXEL.get(known.name, _BYTES_PER_OTHER_PIXEL)
        for known in FORMATS
    )
    needed_mb = _MEMORY_MB + at_once * (_CHILD_MB + largest_bytes / 2**20)
    if float(p["MemorySizeMb"]) >= needed_mb:
        return []
    what = "an image" if at_once == 1 else f"{at_once} images at once"
    problem = (
        f"MemorySizeMb is {p['MemorySizeMb']}, and {what} of IMAGE_MAX_PIXELS "
        f"({chosen.image_max_pixels:,}) may need {needed_mb:.0f} MB"
    )
    remedy = "raise MemorySizeMb, or lower IMAGE_MAX_PIXELS or INFERENCE_THREADS"
    return [Finding("template.yaml", problem, remedy)]


def stack_name(name: str) -> list[Finding]:
    """Whether the hook's function name, which contains the stack's, is short enough for Lambda."""
    longest = _MAX_FUNCTION_NAME - len(_HOOK_PREFIX)
    if len(name) <= longest:
        return []
    problem = f"the stack's name has {len(name)} characters; the hook's function allows {longest}"
    return [Finding("samconfig.toml", problem, "shorten stack_name")]


def drift(p: Mapping[str, str], contract: Contract, report: Path) -> list[Finding]:
    """Whether the drift alarms compare with this model's report."""
    found = []
    if p["ModelName"] != contract.name:
        problem = f"ModelName is {p['ModelName']}, but the model's name is {contract.name}"
        found.append(Finding("template.yaml", problem, f"set ModelName={contract.name}"))
    try:
        answers = json.loads(report.read_text())["answers"]
        figures = {
            "ReportConfidence": float(answers["mean_confidence"]),
            "ReportUnfamiliarShare": float(answers["unfamiliar_share"]),
        }
    except (OSError, ValueError, LookupError, TypeError):
        remedy = "write it together with the model: python -m train bundle"
        return [*found, Finding(str(report), "it has no figures for the drift alarms", remedy)]
    for name, figure in figures.items():
        if abs(float(p[name]) - figure) > _DRIFT_TOLERANCE:
            problem = f"{name} is {p[name]}, but {report.name} says {figure:.3f}"
            found.append(Finding("template.yaml", problem, f"set {name}={figure:.2f}"))
    return found
