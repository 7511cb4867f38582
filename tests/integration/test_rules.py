"""The template's Rules as an emulated CloudFormation enforces them, on loopback."""

import os
import subprocess
import sys

import boto3
import pytest
from botocore.exceptions import ClientError

from local.backends import ROOT
from local.runtime_interface import free_ports, port_answers
from tests.deployment import JWT, SWITCHES, dumped, translated

MINISTACK = ROOT / ".venv" / "ministack"
pytestmark = pytest.mark.skipif(
    not MINISTACK.is_dir(), reason="ministack is not installed; `make .venv/.ministack` does it"
)


@pytest.fixture(scope="module")
def stacks():
    (port,) = free_ports(1)
    environ = {
        **os.environ,
        "PYTHONPATH": str(MINISTACK),
        "BIND_HOST": "127.0.0.1",  # it would listen on every interface
        "GATEWAY_PORT": str(port),
    }
    command = [sys.executable, "-m", "ministack"]
    with subprocess.Popen(
        command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            assert port_answers(port, timeout_s=60)
            session = boto3.Session("none", "none", region_name="eu-west-1")
            yield session.client("cloudformation", endpoint_url=f"http://127.0.0.1:{port}")
        finally:
            process.terminate()
            process.wait(60)


def asked(stacks, name, **parameters):
    """What CloudFormation says of a change set with these parameters; empty if it takes it."""
    made = translated()
    # It knows no resources of CodeDeploy; the Rules look at none.
    template = {part: made[part] for part in ("Parameters", "Rules")}
    template["Resources"] = {"Logs": made["Resources"]["HookLogGroup"]}
    pairs = [{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()]
    try:
        stacks.create_change_set(
            StackName=name,
            ChangeSetName="first",
            ChangeSetType="CREATE",
            TemplateBody=dumped(template),
            Parameters=pairs,
            Capabilities=["CAPABILITY_IAM"],
        )
    except ClientError as error:
        return error.response["Error"]["Message"]
    return ""


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"SnapStart": "true", "ProvisionedConcurrency": "1"}, "not both"),
        ({**JWT, "JwtIssuer": ""}, "needs JwtIssuer"),
        ({"MonthlyBudgetUsd": "20"}, "needs AlarmEmail"),
    ],
)
def test_what_contradicts_is_refused(parameters, told, stacks):
    assert told in asked(stacks, "refused", **parameters)


@pytest.mark.parametrize("parameters", [{}, JWT, SWITCHES["budget"]])
def test_what_does_not_is_taken(parameters, stacks):
    assert asked(stacks, f"taken-{len(parameters)}", **parameters) == ""
