"""samconfig.toml in; its environments out, with stack and parameters as SAM reads them.

A command's own table takes precedence over the environment's global one; nothing is inherited from
another environment (AWS SAM developer guide, "AWS SAM CLI configuration file").
"""

import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SAMCONFIG = "samconfig.toml"
DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Environment:
    """What `sam deploy --config-env NAME` would use.

    Attributes:
        overrides: the template's parameters that are set, by name.
        region, profile: of AWS; None where the environment variables or AWS's own files decide.
    """

    name: str
    stack: str
    overrides: Mapping[str, str]
    region: str | None = None
    profile: str | None = None


def read(root: Path) -> dict[str, Environment]:
    """The environments of a checkout, by name.

    Raises:
        OSError: samconfig.toml, or a file that it names, is missing.
        ValueError: one of them cannot be read.
    """
    text = (root / SAMCONFIG).read_text(encoding="utf-8")
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{SAMCONFIG} is not valid TOML: {error}") from error
    return {
        name: _environment(root, name, table)
        for name, table in tables.items()
        if isinstance(table, dict)
    }


def chosen(root: Path, name: str) -> Environment:
    """One environment of a checkout; raises ValueError when samconfig.toml does not have it."""
    environments = read(root)
    if name not in environments:
        there = ", ".join(environments)
        raise ValueError(f"{SAMCONFIG} has no environment {name!r}; it has {there}.")
    return environments[name]


def _environment(root: Path, name: str, table: Mapping[str, Any]) -> Environment:
    both = [table.get(command, {}).get("parameters", {}) for command in ("global", "deploy")]
    merged: dict[str, Any] = both[0] | both[1]
    return Environment(
        name=name,
        stack=str(merged.get("stack_name", "")),
        overrides=_overrides(merged.get("parameter_overrides", []), root),
        region=merged.get("region"),
        profile=merged.get("profile"),
    )


def _overrides(value: Any, root: Path) -> dict[str, str]:
    """`parameter_overrides` in each form that SAM takes: text, a list, a table, file://NAME.yaml."""
    if isinstance(value, list):
        return {k: v for item in value for k, v in _overrides(item, root).items()}
    if isinstance(value, dict):
        return {str(name): "" if one is None else str(one) for name, one in value.items()}
    if not isinstance(value, str):
        raise ValueError(f"{SAMCONFIG}: parameter_overrides has {value!r}; write NAME=VALUE.")
    if value.startswith("file://"):
        return _overrides(_file(root, value.removeprefix("file://")), root)
    pairs = [word.partition("=") for word in shlex.split(value)]
    if not all(equals for _, equals, _ in pairs):
        raise ValueError(f"{SAMCONFIG}: parameter_overrides has {value!r}; write NAME=VALUE.")
    return {name: text for name, _, text in pairs}


def _file(root: Path, name: str) -> Any:
    path = root / name
    if not path.is_file():
        raise ValueError(f"{SAMCONFIG} names {name}, which is missing: python -m train bundle")
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{name} is not valid YAML: {error}") from error
