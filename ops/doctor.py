"""`make doctor`: finds, before a deployment, what would fail or mislead after it.

Prints one line for each finding, with what to do. Exit 0: nothing found; 1: findings; 2: wrong
usage.
"""

import argparse
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from ops import image_checks, model_checks, parameters
from ops.finding import Finding
from serving.errors import SettingsError
from serving.settings import Settings

_ROOT = Path(__file__).resolve().parent.parent
IMAGE = "classifierfunction:latest"  # what `sam build` calls it


def diagnose(root: Path, values: dict[str, str], image: str) -> tuple[list[Finding], list[str]]:
    """All findings about a checkout, and sentences about what could not be checked."""
    model, report = root / "model" / "classifier.onnx", root / "model" / "report.json"
    template = root / "template.yaml"
    found = parameters.contradictions(values)
    try:
        settings = parameters.settings(template, values["MemorySizeMb"])
    except SettingsError as error:
        found.append(Finding(template.name, str(error), "correct it under Variables"))
        settings = Settings()
    found += parameters.stack_name(_stack_name(root / "samconfig.toml"))
    of_model, contract = model_checks.check(model)
    found += of_model
    if contract is not None:
        found += model_checks.report_is_of(model, report)
        found += parameters.drift(values, contract, report)
        found += parameters.memory(values, settings)
        found += (refused := parameters.top_k(settings, contract))
        if not refused:  # otherwise the golden pictures would report it a second time
            found += model_checks.goldens(model, root / "ops" / "hook" / "golden", settings)
    requirements = root / "requirements.txt"
    found += image_checks.unpinned(requirements)
    if (glibc := image_checks.base_glibc(root / "Dockerfile")) is not None:
        found += image_checks.too_new_wheels(requirements, glibc)
    facts = image_checks.inspected(image)
    if facts is None:
        return found, [f"The image was not checked: no engine answers, or {image} is not built."]
    found += image_checks.manifest(image, facts, values["Architecture"])
    found += image_checks.runs_read_only(image)
    return found, []


def _stack_name(samconfig: Path) -> str:
    """The stack's name for `sam deploy`, whose own table takes precedence over the global one."""
    try:
        default = tomllib.loads(samconfig.read_text(encoding="utf-8")).get("default", {})
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{samconfig.name} is not valid TOML: {error}") from error
    tables = [default.get(name, {}).get("parameters", {}) for name in ("global", "deploy")]
    merged: dict[str, object] = tables[0] | tables[1]
    return str(merged.get("stack_name", ""))


def main(words: Sequence[str] | None = None, root: Path = _ROOT) -> int:
    """Check, print the findings, and return the exit status."""
    parser = argparse.ArgumentParser("ops.doctor", description=__doc__)
    parser.add_argument("parameters", nargs="*", metavar="NAME=VALUE", help="as for sam deploy")
    parser.add_argument("--image", default=IMAGE, help="the built image (default: %(default)s)")
    arguments = parser.parse_args(words)
    overrides = dict(word.partition("=")[::2] for word in arguments.parameters)
    try:
        values = parameters.read(root / "template.yaml", overrides)
        found, unseen = diagnose(root, values, arguments.image)
    except (OSError, ValueError) as error:
        print(f"doctor: {error}", file=sys.stderr)
        return 2
    print("\n".join([*map(str, found), *unseen]) or "Nothing found.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
