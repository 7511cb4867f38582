"""The stack after SAM's translation: permissions, releases and alarms."""

import json

import pytest

from local.backends import ROOT
from ops.hook import pretraffic
from serving import telemetry
from tests.deployment import EVERYTHING, SWITCHES, decided, properties, source, translated


def statements(resources):
    for name, resource in resources.items():
        for policy in resource["Properties"].get("Policies", []):
            for statement in policy["PolicyDocument"]["Statement"]:
                yield name, statement


def test_only_statements_that_iam_cannot_narrow_have_a_wildcard():
    wildcards = {}
    for _, statement in statements(decided(**EVERYTHING)):
        actions = statement["Action"]
        for action in [actions] if isinstance(actions, str) else actions:
            assert "*" not in action
            if "*" in json.dumps(statement["Resource"]):
                wildcards[action] = json.dumps(statement["Resource"])
    assert wildcards.keys() == {
        *("xray:PutTraceSegments", "xray:PutTelemetryRecords"),
        *("lambda:InvokeFunction", "codedeploy:PutLifecycleEventHookExecutionStatus"),
        "s3:GetObject",
    }
    assert [a for a, resource in wildcards.items() if resource == '"*"'] == [
        *("xray:PutTraceSegments", "xray:PutTelemetryRecords"),
    ]


def test_photos_are_read_only_from_the_named_buckets():
    reads = [
        s for _, s in statements(decided(**SWITCHES["photos"])) if s["Action"] == "s3:GetObject"
    ]
    assert [s["Resource"] for s in reads] == [SWITCHES["photos"]["PhotoArns"].split(",")]
    assert all("s3" not in json.dumps(s) for _, s in statements(decided()))


def test_neither_function_has_a_managed_policy():
    resources = decided()
    roles = {n for n, r in resources.items() if r["Type"] == "AWS::IAM::Role"}
    assert roles == {"ClassifierRole", "HookRole", "CodeDeployServiceRole"}
    managed = {n for n in roles if resources[n]["Properties"].get("ManagedPolicyArns")}
    assert managed == {"CodeDeployServiceRole"}


def test_traffic_reaches_the_alias_and_never_an_unpublished_version():
    resources = decided()
    body = json.dumps(resources["ClassifierApi"]["Properties"]["Body"])
    assert "ClassifierFunctionAliaslive" in body
    permission = resources["ClassifierFunctionAnyRequestPermission"]["Properties"]
    assert permission["FunctionName"] == {"Ref": "ClassifierFunctionAliaslive"}


def version_id(template):
    return next(n for n, r in template["Resources"].items() if r["Type"] == "AWS::Lambda::Version")


def test_a_raised_release_is_a_new_version_for_the_alias():
    """Another parameter alone is none: SAM hashes the properties before it knows parameters."""
    before = version_id(translated())
    assert version_id(translated(MemorySizeMb="2048")) == before
    assert version_id(translated(release="Release 2")) != before


def test_a_version_is_deleted_once_another_replaced_it():
    """A version's snapshot, which SnapStart takes, costs as long as the version is there."""
    for template in (translated(), translated(SnapStart="true")):
        assert template["Resources"][version_id(template)]["DeletionPolicy"] == "Delete"


@pytest.mark.parametrize("deployment", source()["Parameters"]["Deployment"]["AllowedValues"])
def test_three_alarms_roll_back_and_the_hook_runs_before_traffic(deployment):
    resources = decided(Deployment=deployment)
    group = resources["ClassifierFunctionDeploymentGroup"]["Properties"]
    alarms = [alarm["Name"]["Ref"] for alarm in group["AlarmConfiguration"]["Alarms"]]
    assert alarms == ["ErrorsAlarm", "DurationAlarm", "ThrottlesAlarm"]
    assert "DEPLOYMENT_STOP_ON_ALARM" in group["AutoRollbackConfiguration"]["Events"]
    assert deployment in json.dumps(group["DeploymentConfigName"])
    update = resources["ClassifierFunctionAliaslive"]["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]
    assert update["BeforeAllowTrafficHook"] == {"Ref": "GoldenHook"}


def test_codedeploys_role_may_invoke_the_hook_by_its_name():
    name = properties("GoldenHook")["FunctionName"]["Fn::Sub"]
    assert name.startswith("CodeDeployHook_")


def test_the_hook_checks_the_new_version_with_what_lies_beside_it():
    hook = properties("GoldenHook")
    variables = hook["Environment"]["Variables"]
    assert list(variables) == [pretraffic.NEW_VERSION]
    assert "ClassifierFunctionVersion" in variables[pretraffic.NEW_VERSION]["Ref"]
    module, function = hook["Handler"].split(".")
    assert (ROOT / source()["Resources"]["GoldenHook"]["Properties"]["CodeUri"]).resolve() == (
        ROOT / "ops" / "hook"
    )
    assert module == pretraffic.__name__.rpartition(".")[2]
    assert callable(getattr(pretraffic, function))


def test_alarms_tell_an_address_if_there_is_one():
    resources = decided(**SWITCHES["email"])
    (subscription,) = resources["AlarmTopic"]["Properties"]["Subscription"]
    assert subscription == {"Protocol": "email", "Endpoint": "someone@example.com"}
    alarms = [r for r in resources.values() if r["Type"] == "AWS::CloudWatch::Alarm"]
    assert len(alarms) == 5
    assert all(a["Properties"]["AlarmActions"] == [{"Ref": "AlarmTopic"}] for a in alarms)
    silent = decided()
    assert "AlarmTopic" not in silent
    assert "AlarmActions" not in silent["ErrorsAlarm"]["Properties"]


def stats(resources):
    for name, resource in resources.items():
        if resource["Type"] == "AWS::CloudWatch::Alarm":
            for metric in resource["Properties"]["Metrics"]:
                if "MetricStat" in metric:
                    yield name, metric["MetricStat"]


def test_the_alarms_watch_metrics_that_the_service_writes():
    ours = [
        s["Metric"] for _, s in stats(decided()) if not s["Metric"]["Namespace"].startswith("AWS")
    ]
    written = (ROOT / "serving" / "telemetry.py").read_text()
    assert {m["Namespace"] for m in ours} == {telemetry.NAMESPACE}
    assert {m["MetricName"] for m in ours} == {"errors", "confidence", "unsure"}
    assert all(f'"{m["MetricName"]}"' in written for m in ours)
    # By the function as well: another stack may serve the same model.
    for metric in ours:
        by = {d["Name"]: d["Value"] for d in metric["Dimensions"]}
        assert by["function"] == {"Ref": "ClassifierFunction"}
        assert by["model"] == source()["Parameters"]["ModelName"]["Default"]


def test_lambdas_own_metrics_are_watched_at_the_alias():
    watched = {
        s["Metric"]["MetricName"]: s
        for _, s in stats(decided())
        if s["Metric"]["Namespace"] == "AWS/Lambda"
    }
    assert watched.keys() == {"Errors", "Duration", "Throttles"}
    assert watched["Duration"]["Stat"] == "p99"
    for stat in watched.values():
        names = [d["Name"] for d in stat["Metric"]["Dimensions"]]
        assert names == ["FunctionName", "Resource"]
