"""For the tools that talk to AWS: a client, a stack's outputs, and AWS's errors as one line."""

import sys
from collections.abc import Callable
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from ops.environments import Environment


def session(environment: Environment | None = None) -> Any:
    """The region and credentials of an environment, else of the environment variables."""
    return boto3.Session(
        region_name=environment and environment.region,
        profile_name=environment and environment.profile,
    )


def client(service: str, environment: Environment | None = None) -> Any:
    """A client for one of AWS's services."""
    config = Config(read_timeout=60, retries={"total_max_attempts": 3})
    return session(environment).client(service, config=config)


def outputs(stacks: Any, stack: str) -> dict[str, str]:
    """A deployed stack's outputs by name; raises ClientError when there is no such stack."""
    (described,) = stacks.describe_stacks(StackName=stack)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", ())}


def run(tool: Callable[[], int]) -> int:
    """The tool's exit status; 1 and the error's message if AWS or the network fails."""
    try:
        return tool()
    except (BotoCoreError, ClientError, OSError, ValueError) as error:
        print(f"ops: {error}", file=sys.stderr)
        return 1
