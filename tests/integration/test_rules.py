"""The template's Rules as an emulated CloudFormation enforces them, on loopback."""

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.deployment import JWT, SWITCHES, dumped, translated
from tests.ministack import NEEDS_MINISTACK, ministack

pytestmark = NEEDS_MINISTACK


@pytest.fixture(scope="module")
def stacks():
    with ministack() as url:
        session = boto3.Session("none", "none", region_name="eu-west-1")
        yield session.client("cloudformation", endpoint_url=url)


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
