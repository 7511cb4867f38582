"""`make doctor`: what would fail or mislead after a deployment, found before it.

One line a finding and what to do. Exit 0: nothing found; 1: findings; 2: wrong usage.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from ops import image_checks, model_checks, parameters
from ops.finding import Finding

_ROOT = Path(__file__).resolve().parent.parent
IMAGE = "classifierfunction:latest"  # what `sam build` calls it


def diagnose(root: Path, values: dict[str, str], image: str) -> tuple[list[Finding], list[str]]:
    """Every finding on a checkout, and what could not be looked at, as sentences."""
    model, report = root / "model" / "classifier.onnx", root / "model" / "report.json"
    found = parameters.contradictions(values)
    found += parameters.stack_name(_stack_name(root / "samconfig.toml"))
    of_model, contract = model_checks.check(model)
    found += of_model
    if contract is not None:
        found += model_checks.report_is_of(model, report)
        found += parameters.drift(values, contract, report)
        found += model_checks.goldens(model, root / "ops" / "hook" / "golden")
    requirements = root / "requirements.txt"
    found += image_checks.unpinned(requirements)
    if (glibc := image_checks.base_glibc(root / "Dockerfile")) is not None:
        found += image_checks.too_new_wheels(requirements, glibc)
    facts = image_checks.inspected(image)
    if facts is None:
        return found, [f"The image was not looked at: no engine answers, or {image} is not built."]
    found += image_checks.manifest(image, facts, values["Architecture"])
    found += image_checks.runs_read_only(image)
    return found, []


def _stack_name(samconfig: Path) -> str:
    match = re.search(r'^stack_name = "(.*)"', samconfig.read_text(), re.MULTILINE)
    return match[1] if match else ""


def main(words: Sequence[str] | None = None, root: Path = _ROOT) -> int:
    """Diagnose, print, and return the exit status."""
    parser = argparse.ArgumentParser("ops.doctor", description=__doc__)
    parser.add_argument("parameters", nargs="*", metavar="NAME=VALUE", help="as sam deploy's")
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
