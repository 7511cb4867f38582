"""The command line, `python -m train VERB`. Each verb's flags are made from its config.

Exit codes: 0 done, 1 a check or gate failed, 2 the command or a file is wrong.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from io import TextIOWrapper
from typing import Any

import tyro

from serving.errors import ServingError
from train.errors import TrainError, in_one_line

# Verb, which is also the name of its function -> (module, config class, what it does). A module is
# imported when its verb is run.
VERBS: dict[str, tuple[str, str, str]] = {
    "build": (
        "train.recipes.build",
        "BuildConfig",
        "Make a model from a folder of photos, by a recipe.",
    ),
    "inspect": (
        "train.evaluate.inspection",
        "InspectConfig",
        "Check a folder of photos before training, or show one photo as numbers.",
    ),
    "fit": ("train.fit.loop", "FitConfig", "Train a network on a folder of photos."),
    "sweep": (
        "train.sweep.verb",
        "SweepConfig",
        "Compare learning rates, head sizes and dropouts.",
    ),
    "evaluate": (
        "train.evaluate.verb",
        "EvaluateConfig",
        "Measure a run or an ONNX file on a split of the photos.",
    ),
    "frontier": (
        "train.export.input_size",
        "FrontierConfig",
        "Compare input sizes of a run by loss and time.",
    ),
    "predict": ("train.evaluate.predict", "PredictConfig", "Classify files or URLs."),
    "export": ("train.export.onnx", "ExportConfig", "Write a run's model as an ONNX file."),
    "quantize": (
        "train.export.quantize",
        "QuantizeConfig",
        "Write a run's ONNX file in int8, if it is as good and faster.",
    ),
    "bundle": (
        "train.export.bundle",
        "BundleConfig",
        "Put a run's ONNX file, report and model card into model/.",
    ),
}


def main(arguments: list[str]) -> int:
    """Run one verb; returns the exit code."""
    if isinstance(sys.stdout, TextIOWrapper):  # file names need not be UTF-8
        sys.stdout.reconfigure(errors="backslashreplace")
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: python -m train VERB [flags]; python -m train VERB --help lists the flags\n")
        for verb, (_, _, about) in VERBS.items():
            print(f"  {verb:<10} {about}")
        return 0 if arguments else 2
    verb, flags = arguments[0], arguments[1:]
    if verb not in VERBS:
        print(f"train: {verb} is not a verb; there are: {', '.join(VERBS)}.", file=sys.stderr)
        return 2
    module_name, config_name, about = VERBS[verb]
    try:
        module = import_module(module_name)
        config_class: Callable[..., Any] = getattr(module, config_name)
        config = tyro.cli(config_class, prog=f"train {verb}", description=about, args=flags)
        getattr(module, verb)(config)
    except TrainError as error:
        print(f"train {verb}: {error}", file=sys.stderr)
        return error.exit_code
    except ServingError as error:
        print(f"train {verb}: {error.detail}", file=sys.stderr)
        return 2
    except (OSError, RuntimeError, MemoryError) as error:
        known = in_one_line(error)
        if known is None:
            raise
        print(f"train {verb}: {known}", file=sys.stderr)
        return known.exit_code
    except KeyboardInterrupt:
        print(f"train {verb}: stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
