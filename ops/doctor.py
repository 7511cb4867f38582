"""`make doctor`: finds, before a deployment, what would fail or mislead after it.

Prints one line for each finding, with what to do; those of an environment of samconfig.toml name
it. Exit 0: nothing found; 1: findings; 2: wrong usage.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from ops import aws, environments
from ops.checks import account, image, model, parameters
from ops.checks.account import Account
from ops.checks.finding import Finding
from ops.environments import Environment
from serving.errors import SettingsError
from serving.model.contract import Contract
from serving.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
IMAGE = "classifierfunction:latest"  # what `sam build` calls it
TEMPLATE = "template.yaml"

Ask = Callable[[Environment], Account]


def ask_account(environment: Environment) -> Account:
    """The account's limits where an environment is deployed.

    Raises:
        BotoCoreError, ClientError: there are no credentials, or AWS refuses.
    """
    stacks, functions = (aws.client(name, environment) for name in ("cloudformation", "lambda"))
    return account_of(stacks, functions, environment)


def account_of(stacks: Any, functions: Any, environment: Environment) -> Account:
    """The same, with clients that are there."""
    return account.read(functions, account.deployed_function(stacks, environment.stack))


def settled(
    root: Path, environment: Environment, given: Mapping[str, str], limits: Account | None
) -> dict[str, str]:
    """Each parameter's value as `make deploy` passes it; `given` replaces samconfig.toml's.

    Raises:
        ValueError: a parameter is unknown, or CloudFormation would refuse its value.
    """
    overrides = {**environment.overrides, **given}
    values = parameters.read(root / TEMPLATE, overrides)
    if limits is not None and "ReservedConcurrency" not in overrides:
        values["ReservedConcurrency"] = account.reservation(values, limits)
    return values


def of_environment(
    root: Path,
    environment: Environment,
    values: Mapping[str, str],
    limits: Account | None,
    contract: Contract | None,
) -> list[Finding]:
    """Findings about one environment's parameters; those about the model need its contract."""
    found = parameters.contradictions(values) + parameters.stack_name(environment.stack)
    found += account.findings(values, limits)
    if contract is not None:
        found += parameters.drift(values, contract, root / "model" / "report.json")
        found += parameters.memory(values, _settings(root, values["MemorySizeMb"])[0])
    return [finding.within(environment.name) for finding in found]


def of_checkout(root: Path) -> tuple[list[Finding], Contract | None]:
    """Findings about the files that every environment deploys, and the model's contract."""
    settings, found = _settings(root, "")
    file = root / "model" / "classifier.onnx"
    of_model, contract = model.check(file)
    found += of_model
    if contract is not None:
        found += model.report_is_of(file, root / "model" / "report.json")
        found += parameters.label_metrics(settings, contract)
        found += (refused := parameters.top_k(settings, contract))
        if not refused:  # otherwise the golden pictures would report it a second time
            found += model.goldens(file, root / "ops" / "hook" / "golden", settings)
    requirements = root / "requirements.txt"
    found += image.unpinned(requirements)
    if (glibc := image.base_glibc(root / "Dockerfile")) is not None:
        found += image.too_new_wheels(requirements, glibc)
    return found, contract


def of_image(name: str, architecture: str) -> list[Finding] | None:
    """Findings about a built image; None where there is no engine or no such image."""
    facts = image.inspected(name)
    if facts is None:
        return None
    return image.manifest(name, facts, architecture) + image.runs_read_only(name)


def _settings(root: Path, memory_mb: str) -> tuple[Settings, list[Finding]]:
    try:
        return parameters.settings(root / TEMPLATE, memory_mb), []
    except SettingsError as error:
        return Settings(), [Finding(TEMPLATE, str(error), "correct it under Variables")]


def _diagnose(
    root: Path, chosen: Sequence[Environment], given: Mapping[str, str], name: str, ask: Ask
) -> tuple[list[Finding], list[str]]:
    """All findings, and sentences about what could not be checked."""
    found, contract = of_checkout(root)
    unseen, architecture = [], ""
    for environment in chosen:
        limits = None
        try:
            limits = ask(environment)
        except (BotoCoreError, ClientError) as error:
            unseen.append(f"The account of {environment.name} was not looked at: {error}")
        values = settled(root, environment, given, limits)
        architecture = architecture or values["Architecture"]
        found += of_environment(root, environment, values, limits, contract)
    of_built = of_image(name, architecture)
    if of_built is None:
        unseen.append(f"The image was not checked: no engine answers, or {name} is not built.")
    return found + (of_built or []), unseen


def main(words: Sequence[str] | None = None, root: Path = ROOT, ask: Ask = ask_account) -> int:
    """Check, print the findings, and return the exit status."""
    parser = argparse.ArgumentParser("ops.doctor", description=__doc__)
    parser.add_argument("parameters", nargs="*", metavar="NAME=VALUE", help="as for sam deploy")
    parser.add_argument("--env", help="one environment of samconfig.toml (default: all)")
    parser.add_argument("--image", default=IMAGE, help="the built image (default: %(default)s)")
    arguments = parser.parse_args(words)
    given = dict(word.partition("=")[::2] for word in arguments.parameters)
    try:
        if arguments.env:
            chosen = [environments.chosen(root, arguments.env)]
        else:
            chosen = list(environments.read(root).values())
        found, unseen = _diagnose(root, chosen, given, arguments.image, ask)
    except (OSError, ValueError) as error:
        print(f"doctor: {error}", file=sys.stderr)
        return 2
    print("\n".join([*map(str, found), *unseen]) or "Nothing found.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
