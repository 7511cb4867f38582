"""A run's settings in, the command that trains with them out: every flag not at its default.

It goes into run.json and onto the model card.
"""

import shlex
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from train.config import DataConfig, FitConfig, NetworkConfig

# How a run is gone on with is no part of what it is.
_NOT_SAID = frozenset({"resume"})


def fit_command(config: FitConfig) -> str:
    """The command, for a shell; places that were given as absolute paths by their names alone.

    A record and a card are passed on, and say nothing of the machine that they were written on.
    """
    words = ["python", "-m", "train", "fit"]
    for part, defaults in (
        (config.data, DataConfig(data=Path())),
        (config.network, NetworkConfig()),
        (config, FitConfig(out=Path(), data=DataConfig(data=Path()))),
    ):
        for setting in fields(part):
            value = getattr(part, setting.name)
            is_default = value == getattr(defaults, setting.name)
            if not (is_dataclass(value) or is_default or setting.name in _NOT_SAID):
                words += _flag(setting.name, value)
    return shlex.join(words)


def _flag(name: str, value: Any) -> Iterator[str]:
    flag = "--" + name.replace("_", "-")
    if isinstance(value, bool):
        yield flag if value else flag.replace("--", "--no-", 1)
        return
    yield flag
    for item in value if isinstance(value, tuple) else (value,):
        place = Path(str(item))
        yield place.name if place.is_absolute() else str(item)
