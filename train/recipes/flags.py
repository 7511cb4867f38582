"""A verb's config class in; the flags that a recipe may give it, and their checked values, out.

Flags have the names of the config's fields, as on the command line: those of a nested config stand
beside the verb's own.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

_TAKES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


@dataclass(frozen=True, slots=True)
class Flag:
    """A field of a config: its type, and the name of the nested config that has it, if any."""

    hint: Any
    inside: str


def flags_of(config_class: type[Any]) -> dict[str, Flag]:
    """Every flag of a verb, by name."""
    hints = get_type_hints(config_class)
    found: dict[str, Flag] = {}
    for field in fields(config_class):
        hint = hints[field.name]
        if is_dataclass(hint):
            inner = get_type_hints(hint)
            found |= {each.name: Flag(inner[each.name], field.name) for each in fields(hint)}
        else:
            found[field.name] = Flag(hint, "")
    return found


def make_config(config_class: type[Any], values: Mapping[str, Any]) -> Any:
    """Build the config from these flags, including its nested configs.

    Raises:
        UsageError: the config refuses a value.
    """
    known, hints = flags_of(config_class), get_type_hints(config_class)
    grouped: dict[str, dict[str, Any]] = {"": {}, **{each.inside: {} for each in known.values()}}
    for name, value in values.items():
        grouped[known[name].inside][name] = value
    own = grouped.pop("")
    return config_class(**own, **{name: hints[name](**part) for name, part in grouped.items()})


def typed(hint: Any, value: Any) -> Any:
    """Convert a TOML value to a field's type; raises ValueError with what the field takes.

    Lists become tuples, and if the field needs it, whole numbers become floats and text paths.
    """
    origin = get_origin(hint)
    if origin in (Union, UnionType):  # a type or None, which TOML does not have
        return typed(next(each for each in get_args(hint) if each is not type(None)), value)
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError("a list")
        return tuple(typed(get_args(hint)[0], item) for item in value)
    if origin is Literal:
        if value in get_args(hint):
            return value
        raise ValueError(f"one of {', '.join(map(str, get_args(hint)))}")
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and type(value) in (int, float):
        return float(value)
    if type(value) is hint:
        return value
    raise ValueError(_TAKES.get(hint, "a path"))


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message: the nearest known name, or all known names."""
    names = list(known)
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"nearest: {close[0]}"
    return f"there are: {', '.join(names)}" if names else "there are none"
