"""`make deploy [ENV=…]`: from a checkout to a released, checked stack, in one command.

It looks at the account, builds the image, has SAM deploy it under a release number, sends the smoke
test's requests, and deletes old versions. Exit 0: released; 1: something failed, and requests go
where they went before; 2: wrong usage; 3: released, but the smoke test failed.
"""

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from ops import aws, doctor, environments, smoke
from ops.checks import image
from ops.environments import Environment
from ops.release import versions

# A command's words -> its exit status; its output goes to the terminal.
Run = Callable[[Sequence[str]], int]
SMOKE_FAILED = 3
_FAILED_CREATIONS = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED")


@dataclass(frozen=True, slots=True)
class Clients:
    """AWS as a deployment meets it."""

    stacks: Any
    functions: Any
    registry: Any


def require_deployable(stacks: Any, stack: str) -> None:
    """Raises ValueError when CloudFormation would refuse to create or update the stack."""
    try:
        (described,) = stacks.describe_stacks(StackName=stack)["Stacks"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":  # there is none yet
            return
        raise
    status = described["StackStatus"]
    if status in _FAILED_CREATIONS:
        raise ValueError(
            f"The stack {stack} is {status}: it was never created, and only a deleted stack can be "
            f"made again: make teardown STACK={stack} YES=1"
        )
    if status.endswith("_IN_PROGRESS"):
        raise ValueError(f"The stack {stack} is {status}: wait until that is over.")


def release(image_id: str, template: bytes, values: Mapping[str, str]) -> str:
    """The hash of all that a version is made of: 16 characters, of which SAM uses ten."""
    settled = {name: value for name, value in sorted(values.items()) if name != "Release"}
    content = [image_id.encode(), template, json.dumps(settled).encode()]
    return hashlib.sha256(b"\0".join(content)).hexdigest()[:16]


def overrides(values: Mapping[str, str]) -> list[str]:
    """The words of `--parameter-overrides`; SAM takes an empty value only between quotes."""
    return ["--parameter-overrides", *(f'{name}="{value}"' for name, value in values.items())]


def build(run: Run, values: dict[str, str], name: str = doctor.IMAGE) -> str:
    """Build the image on the newest base image; returns its id and sets BaseImage to the digest.

    Raises:
        ValueError: the build fails.
    """
    if run(["docker", "pull", "--platform", f"linux/{_machine(values)}", values["BaseImage"]]):
        print(f"ops: {values['BaseImage']} cannot be pulled; the one that is here is used.")
    values["BaseImage"] = image.digest(values["BaseImage"]) or values["BaseImage"]
    print(f"The base image is {values['BaseImage']}.")
    if run(["sam", "build", *overrides(values)]):
        raise ValueError("sam build failed; its message is above.")
    facts = image.inspected(name)
    if facts is None:
        raise ValueError(f"sam build left no image {name}.")
    found = doctor.of_image(name, values["Architecture"]) or []
    if found:
        raise ValueError("\n".join(map(str, found)))
    return str(facts["Id"])


def _machine(values: Mapping[str, str]) -> str:
    return {"x86_64": "amd64"}.get(values["Architecture"], values["Architecture"])


def put_out(run: Run, environment: Environment, values: Mapping[str, str]) -> None:
    """Have SAM deploy; raises ValueError when it fails."""
    words = ["sam", "deploy", "--config-env", environment.name]
    words += ["--no-confirm-changeset", "--no-fail-on-empty-changeset"]
    if run([*words, *overrides(values)]):
        raise ValueError(
            "sam deploy failed; its message is above. If a new version was at fault, requests "
            "still go to the one before."
        )


def deploy(
    root: Path,
    environment: Environment,
    given: Mapping[str, str],
    clients: Clients,
    run: Run,
    check: Callable[[str, Mapping[str, str]], int],
) -> int:
    """The whole way, and its exit status; `check(endpoint, parameters)` returns 0 if it passes.

    Raises:
        ValueError: a step fails; its message says what to do.
        BotoCoreError, ClientError: AWS refuses.
    """
    found, contract = doctor.of_checkout(root)
    limits = doctor.account_of(clients.stacks, clients.functions, environment)
    values = doctor.settled(root, environment, given, limits)
    found += doctor.of_environment(root, environment, values, limits, contract)
    if found:
        raise ValueError("\n".join(["nothing was deployed:", *map(str, found)]))
    require_deployable(clients.stacks, environment.stack)
    image_id = build(run, values)
    values["Release"] = release(image_id, (root / doctor.TEMPLATE).read_bytes(), values)
    put_out(run, environment, values)
    outputs = aws.outputs(clients.stacks, environment.stack)
    version = versions.traffic(clients.functions, outputs["FunctionName"]).version
    print(f"Version {version} answers at {outputs['Endpoint']} (release {values['Release']}).")
    if check(outputs["Endpoint"], values):
        print(f"The smoke test failed. To go back: make rollback ENV={environment.name}")
        return SMOKE_FAILED
    for line in versions.prune(clients.functions, clients.registry, outputs["FunctionName"]):
        print(line)
    return 0


def smoke_test(environment: Environment, token: str | None) -> Callable[..., int]:
    """The smoke test for each kind of ApiAuth."""

    def check(url: str, values: Mapping[str, str]) -> int:
        if values["ApiAuth"] == "JWT" and token is None:
            print(f"Not checked for want of a token: make smoke URL={url} TOKEN=…")
            return 0
        signs = values["ApiAuth"] == "IAM"
        who = smoke.signed(aws.session(environment)) if signs else smoke.with_token(token)
        return smoke.smoke(smoke.Endpoint(url, who))

    return check


def run_here(command: Sequence[str]) -> int:
    """Run a command at the repository's root; raises ValueError when it is not installed."""
    try:
        return subprocess.run(command, cwd=doctor.ROOT, check=False).returncode
    except FileNotFoundError as error:
        raise ValueError(
            f"{command[0]} is not installed: make deploy needs docker and sam"
        ) from error


def main(words: Sequence[str] | None = None) -> int:
    """Deploy, and return the exit status."""
    parser = argparse.ArgumentParser("ops.release.deploy", description=__doc__)
    parser.add_argument("parameters", nargs="*", metavar="NAME=VALUE", help="replace samconfig's")
    parser.add_argument("--env", default=environments.DEFAULT, help="of samconfig.toml")
    parser.add_argument("--token", help="for the smoke test, with ApiAuth=JWT")
    arguments = parser.parse_args(words)
    given = dict(word.partition("=")[::2] for word in arguments.parameters)

    def tool() -> int:
        environment = environments.chosen(doctor.ROOT, arguments.env)
        names = ("cloudformation", "lambda", "ecr")
        clients = Clients(*(aws.client(name, environment) for name in names))
        check = smoke_test(environment, arguments.token)
        return deploy(doctor.ROOT, environment, given, clients, run_here, check)

    return aws.run(tool)


if __name__ == "__main__":
    sys.exit(main())
