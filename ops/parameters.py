"""The template's parameters, as a deployment would set them, in; those that contradict out."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ops.finding import Finding
from serving.contract import Contract

_DRIFT_TOLERANCE = 0.005  # figures are rounded in the template
_MAX_FUNCTION_NAME = 64  # characters (AWS Lambda API reference, CreateFunction)
_HOOK_PREFIX = "CodeDeployHook_"


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # it comes without types
    """Takes CloudFormation's short forms; what they mean is not needed here."""


_Loader.add_multi_constructor("!", lambda loader, suffix, node: None)


def read(template: Path, overrides: Mapping[str, str]) -> dict[str, str]:
    """Name -> value of every parameter: the template's default, or what `overrides` says.

    Raises:
        ValueError: `overrides` names a parameter that the template does not have.
    """
    document: dict[str, Any] = yaml.load(template.read_text(), _Loader)  # noqa: S506 - a SafeLoader
    values = {name: str(p.get("Default", "")) for name, p in document["Parameters"].items()}
    strangers = overrides.keys() - values.keys()
    if strangers:
        raise ValueError(f"{template.name} has no parameter {', '.join(sorted(strangers))}.")
    return values | dict(overrides)


def contradictions(p: Mapping[str, str]) -> list[Finding]:
    """Parameters that CloudFormation or Lambda would refuse, or that undo each other."""
    reserved, provisioned = int(p["ReservedConcurrency"]), int(p["ProvisionedConcurrency"])
    is_limited = reserved >= 0
    cases = [
        (
            p["SnapStart"] == "true" and provisioned > 0,
            "SnapStart and ProvisionedConcurrency exclude each other",
            "set SnapStart=false or ProvisionedConcurrency=0",
        ),
        (
            is_limited and provisioned > reserved,
            f"ProvisionedConcurrency {provisioned} exceeds ReservedConcurrency {reserved}",
            f"set ReservedConcurrency={provisioned} or more",
        ),
        (
            reserved == 0,
            "ReservedConcurrency 0 lets no request through",
            "set 1 or more, or -1 to reserve none",
        ),
        (
            p["ApiAuth"] == "JWT" and not (p["JwtIssuer"] and p["JwtAudience"]),
            "ApiAuth JWT lacks JwtIssuer or JwtAudience",
            "set both of them",
        ),
        (
            p["ApiAuth"] != "JWT" and bool(p["JwtIssuer"] or p["JwtAudience"]),
            f"JwtIssuer or JwtAudience is set, and ApiAuth {p['ApiAuth']} does not look at it",
            "set ApiAuth=JWT, or leave them empty",
        ),
        (
            p["ApiAuth"] == "NONE" and not is_limited,
            "everyone may call and no concurrency caps the bill",
            "set ReservedConcurrency, or ApiAuth=IAM or JWT",
        ),
        (
            float(p["AlarmP99Ms"]) >= float(p["TimeoutSeconds"]) * 1000,
            "AlarmP99Ms is not below TimeoutSeconds: a request is ended before it is called slow",
            "lower AlarmP99Ms",
        ),
    ]
    return [Finding("template.yaml", problem, remedy) for holds, problem, remedy in cases if holds]


def stack_name(name: str) -> list[Finding]:
    """Whether the hook's function name, which holds the stack's, is short enough for Lambda."""
    longest = _MAX_FUNCTION_NAME - len(_HOOK_PREFIX)
    if len(name) <= longest:
        return []
    problem = f"the stack's name has {len(name)} characters, the hook's function takes {longest}"
    return [Finding("samconfig.toml", problem, "shorten stack_name")]


def drift(p: Mapping[str, str], contract: Contract, report: Path) -> list[Finding]:
    """Whether the alarms on drift compare with this model's report."""
    found = []
    if p["ModelName"] != contract.name:
        problem = f"ModelName is {p['ModelName']}, the model calls itself {contract.name}"
        found.append(Finding("template.yaml", problem, f"set ModelName={contract.name}"))
    try:
        answers = json.loads(report.read_text())["answers"]
    except (OSError, ValueError, KeyError):
        remedy = "write it with the model: python -m train bundle"
        return [*found, Finding(str(report), "it has no figures for the alarms on drift", remedy)]
    for name, figure in (
        ("ReportConfidence", answers["mean_confidence"]),
        ("ReportUnsureShare", answers["unsure_share"]),
    ):
        if abs(float(p[name]) - figure) > _DRIFT_TOLERANCE:
            problem = f"{name} is {p[name]}, {report.name} says {figure:.3f}"
            found.append(Finding("template.yaml", problem, f"set {name}={figure:.2f}"))
    return found
