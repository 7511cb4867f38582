"""For the tools that talk to AWS: a client, and AWS's errors as one line."""

import sys
from collections.abc import Callable
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError


def client(service: str) -> Any:
    """A client with the region and credentials of the environment."""
    return boto3.client(service, config=Config(read_timeout=60, retries={"total_max_attempts": 3}))


def run(tool: Callable[[], int]) -> int:
    """The tool's exit status; 1 and the error's message if AWS or the network fails."""
    try:
        return tool()
    except (BotoCoreError, ClientError, OSError, ValueError) as error:
        print(f"ops: {error}", file=sys.stderr)
        return 1
