"""`make rollback [ENV=…]`: sends all requests to the version before the present one."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from ops import aws, environments
from ops.doctor import ROOT
from ops.release import versions

_NEXT = (
    "CloudFormation still takes version {now} for the present one: deploying the same again "
    "changes nothing, and the next release moves requests from version {before} to its own."
)


def rollback(functions: Any, function: str) -> Iterator[str]:
    """Point the alias at the version before; lines that say what was done and what comes next.

    Raises:
        ValueError: there is none, or a release is going on.
        ClientError, WaiterError: Lambda refuses, or the version before does not become active.
    """
    now = versions.traffic(functions, function)
    if now.other is not None:
        raise ValueError(
            f"A release is moving requests from version {now.version} to {now.other}. Cancel it, "
            "which moves them back: aws cloudformation cancel-update-stack --stack-name STACK"
        )
    earlier = [v for v in versions.published(functions, function) if v < now.version]
    if not earlier:
        raise ValueError(
            f"There is no version before {now.version} to go back to. Deploy the code that "
            "worked: git checkout COMMIT, then make deploy"
        )
    before = earlier[0]
    _wake(functions, function, before)
    functions.update_alias(
        FunctionName=function,
        Name=versions.ALIAS,
        FunctionVersion=str(before),
        RoutingConfig={"AdditionalVersionWeights": {}},
        RevisionId=now.revision,
    )
    yield f"Requests go to version {before} now; before, they went to version {now.version}."
    yield _NEXT.format(now=now.version, before=before)


def _wake(functions: Any, function: str, version: int) -> None:
    """Have Lambda make a version ready that was not used for weeks and is Inactive."""
    which = {"FunctionName": function, "Qualifier": str(version)}
    state = functions.get_function_configuration(**which).get("State", "Active")
    if state == "Active":
        return
    if state == "Inactive":
        functions.invoke(**which, Payload=b"{}", InvocationType="Event")
    functions.get_waiter("published_version_active").wait(**which)


def main(words: Sequence[str] | None = None) -> int:
    """Go back, print, and return the exit status."""
    parser = argparse.ArgumentParser("ops.release.rollback", description=__doc__)
    parser.add_argument("--env", default=environments.DEFAULT, help="of samconfig.toml")
    arguments = parser.parse_args(words)

    def tool() -> int:
        environment = environments.chosen(ROOT, arguments.env)
        outputs = aws.outputs(aws.client("cloudformation", environment), environment.stack)
        for line in rollback(aws.client("lambda", environment), outputs["FunctionName"]):
            print(line)
        return 0

    return aws.run(tool)


if __name__ == "__main__":
    sys.exit(main())
