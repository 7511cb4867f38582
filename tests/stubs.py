"""AWS's clients with answers that botocore's own models of the services have checked."""

from functools import cache
from typing import Any

import boto3
from botocore.stub import Stubber


def stubbed(service: str) -> tuple[Any, Stubber]:
    """A client without credentials, and what answers it, in the order of the answers added."""
    client = _session().client(service)
    return client, Stubber(client)


@cache  # it reads the models, once
def _session() -> boto3.Session:
    return boto3.Session("none", "none", region_name="eu-west-1")


def stack(status: str = "UPDATE_COMPLETE", **outputs: str) -> dict[str, Any]:
    """CloudFormation's description of a stack."""
    pairs = [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()]
    described = {
        "StackName": "photos",
        "CreationTime": 0,
        "StackStatus": status,
        "Outputs": pairs,
    }
    return {"Stacks": [described]}
