"""A run's settings in, the command that trains with them out, for run.json and the model card."""

import shlex
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from train.config import DataConfig, FitConfig, NetworkConfig

# Resuming gives the same run.
_LEFT_OUT = frozenset({"resume"})


def fit_command(config: FitConfig) -> str:
    """The command for a shell, with every flag that is not at its default.

    Of absolute paths only the last name is kept, because the card is published.
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
            if not (is_dataclass(value) or is_default or setting.name in _LEFT_OUT):
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
