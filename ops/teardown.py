"""`make teardown STACK=…`: lists what deleting a stack removes and keeps; YES=1 deletes it."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from ops import aws

_STAYS = (
    "what SAM uploaded: images in the ECR repository of the stack NAME-…-CompanionStack, and files "
    "in the bucket of aws-sam-cli-managed-default. Use `sam delete` INSTEAD of this to remove them "
    "with the stack; after this, empty the repository and delete its stack by hand",
    "CloudWatch's metrics for up to 15 months and X-Ray's traces for 30 days, at no cost",
    "photos in S3: the stack could only read them",
)


def plan(stacks: Any, stack: str) -> Iterator[str]:
    """One line for each resource that is deleted, and then for what stays."""
    pages = stacks.get_paginator("list_stack_resources").paginate(StackName=stack)
    for page in pages:
        for resource in page["StackResourceSummaries"]:
            name = resource.get("PhysicalResourceId", resource["LogicalResourceId"])
            yield f"goes   {resource['ResourceType']} {name}"
    for what in _STAYS:
        yield f"stays  {what}"


def teardown(stacks: Any, stack: str, *, is_meant: bool) -> int:
    """Print the plan; if `is_meant`, delete the stack and wait until it is gone."""
    for line in plan(stacks, stack):
        print(line)
    if not is_meant:
        print(f"Nothing was deleted. To delete {stack}: make teardown STACK={stack} YES=1")
        return 0
    stacks.delete_stack(StackName=stack)
    stacks.get_waiter("stack_delete_complete").wait(StackName=stack)
    print(f"{stack} is deleted.")
    return 0


def main(words: Sequence[str] | None = None) -> int:
    """Print or do it, and return the exit status."""
    parser = argparse.ArgumentParser("ops.teardown", description=__doc__)
    parser.add_argument("stack")
    parser.add_argument("--yes", action="store_true", help="delete it, not only list")
    arguments = parser.parse_args(words)
    return aws.run(
        lambda: teardown(aws.client("cloudformation"), arguments.stack, is_meant=arguments.yes)
    )


if __name__ == "__main__":
    sys.exit(main())
