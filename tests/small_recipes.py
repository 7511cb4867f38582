"""The recipes that ship, with networks, sizes and epochs that a test has the time for."""

import json
import tomllib
from pathlib import Path
from typing import Any

from train.recipes.recipe import SHIPPED

Tables = dict[str, dict[str, Any]]

_FIT = {"backbone": "resnet18", "input_px": 32, "epochs": 2, "batch": 10, "workers": 0}
_SMALL: Tables = {
    "fit": _FIT | {"threads": 1, "precision": "no", "compile": False},
    "frontier": {"sizes": [32, 48]},
    "export": {},
    # The time of a network as small as this one is chance.
    "quantize": {
        "photos": 6,
        "methods": ["minmax"],
        "weights": ["paired"],
        "float_first": [1],
        "min_agreement": 0.5,
        "max_accuracy_loss": 0.5,
        "max_time_ratio": 1000,
    },
    "bundle": {"golden_tolerance": 1},
}


def small_steps(name: str) -> Tables:
    """The steps of a recipe that ships, made small."""
    steps: Tables = tomllib.loads((SHIPPED / f"{name}.toml").read_text())["steps"]
    for step in steps.values():
        step.update(_SMALL[step["verb"]])
        step.pop("notes", None)
        if "teacher_px" in step:
            step["teacher_px"] = 48
    return steps


def write_recipe(file: Path, steps: Tables, about: str = "small") -> Path:
    """Write steps as a recipe."""
    lines = [f"about = {json.dumps(about)}"]
    for name, step in steps.items():
        lines += ["", f"[steps.{name}]"]
        lines += [f"{flag} = {json.dumps(value)}" for flag, value in step.items()]
    file.write_text("\n".join(lines) + "\n")
    return file
