"""The stack after SAM's translation: permissions, releases and alarms."""

import json
import re

import pytest

from local.backends import ROOT
from ops.hook import pretraffic
from serving import telemetry
from serving.errors import SettingsError
from serving.settings import Settings
from tests import deployment
from tests.deployment import EVERYTHING, SWITCHES, decided, properties, source, translated

OF_THE_NEWEST = ["VersionErrorsAlarm", "InternalErrorsAlarm"]


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
        *("s3:GetObject", "s3:PutObject"),
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


@pytest.mark.parametrize("place", ["kept-photos/unsure/2026", "kept-photos"])
def test_unsure_photos_may_only_be_put_below_their_prefix(place):
    policy = statements(decided(KeepUnsure=f"s3://{place}"))
    ((action, resource),) = [(s["Action"], s["Resource"]) for _, s in policy if "s3" in str(s)]
    assert action == "s3:PutObject"
    assert resource["Fn::Sub"] == ["arn:${AWS::Partition}:s3:::${Place}/*", {"Place": place}]


@pytest.mark.parametrize(
    ("uri", "is_taken"),
    [
        *(("", True), ("s3://kept", True), ("s3://kept/a-b/c_d=1", True)),
        *(("s3://kept/", False), ("s3://kept/*", False), ("s3://kept/../x", False)),
        *(("kept/a", False), ("s3://Kept/a", False), ("s3://kept/a b", False)),
    ],
)
def test_the_template_and_the_function_take_the_same_places(uri, is_taken):
    pattern = source()["Parameters"]["KeepUnsure"]["AllowedPattern"]
    assert bool(re.search(pattern, uri)) == is_taken
    if is_taken:
        assert Settings.from_env({"KEEP_UNSURE": uri}).keep_unsure == uri
    else:
        with pytest.raises(SettingsError, match="KEEP_UNSURE"):
            Settings.from_env({"KEEP_UNSURE": uri})


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


def test_a_release_is_a_new_version_for_the_alias():
    """Another parameter alone is none: SAM hashes the properties before it knows parameters."""
    before = version_id(translated())
    assert version_id(translated(MemorySizeMb="2048")) == before
    released = translated(Release="0123456789abcdef")
    assert version_id(released) == "ClassifierFunctionVersion0123456789"
    # Lambda publishes nothing when nothing differs from the version before; the description does.
    function = released["Resources"]["ClassifierFunction"]["Properties"]
    assert function["Description"] == "Classifies photos. 0123456789abcdef"


def test_without_a_release_another_image_is_a_new_version(monkeypatch):
    before = version_id(translated())
    monkeypatch.setattr(deployment, "IMAGE_URI", deployment.IMAGE_URI.replace("latest", "next"))
    assert version_id(translated()) != before


def test_the_base_image_reaches_the_build():
    arguments = source()["Resources"]["ClassifierFunction"]["Metadata"]["DockerBuildArgs"]
    assert arguments == {"BASE_IMAGE": {"Ref": "BaseImage"}}


def test_versions_stay_to_go_back_to():
    for template in (translated(), translated(SnapStart="true")):
        assert template["Resources"][version_id(template)]["DeletionPolicy"] == "Retain"


@pytest.mark.parametrize("preference", source()["Parameters"]["Deployment"]["AllowedValues"])
def test_five_alarms_roll_back_and_the_hook_runs_before_traffic(preference):
    resources = decided(Deployment=preference)
    group = resources["ClassifierFunctionDeploymentGroup"]["Properties"]
    alarms = [alarm["Name"]["Ref"] for alarm in group["AlarmConfiguration"]["Alarms"]]
    assert alarms == ["ErrorsAlarm", *OF_THE_NEWEST, "DurationAlarm", "ThrottlesAlarm"]
    assert "DEPLOYMENT_STOP_ON_ALARM" in group["AutoRollbackConfiguration"]["Events"]
    assert preference in json.dumps(group["DeploymentConfigName"])
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
    resources = decided(**SWITCHES["email"], **SWITCHES["model"])
    (subscription,) = resources["AlarmTopic"]["Properties"]["Subscription"]
    assert subscription == {"Protocol": "email", "Endpoint": "someone@example.com"}
    alarms = [r for r in resources.values() if r["Type"] == "AWS::CloudWatch::Alarm"]
    assert len(alarms) == 7
    assert all(a["Properties"]["AlarmActions"] == [{"Ref": "AlarmTopic"}] for a in alarms)
    silent = decided()
    assert "AlarmTopic" not in silent
    assert "AlarmActions" not in silent["ErrorsAlarm"]["Properties"]


def dimensions(metric):
    return {d["Name"]: d["Value"] for d in metric["Dimensions"]}


def watched(**parameters):
    """Alarm -> the metrics that it watches."""
    found = {}
    for name, resource in decided(**parameters).items():
        if resource["Type"] == "AWS::CloudWatch::Alarm":
            alarm = resource["Properties"]
            stats = [m["MetricStat"] for m in alarm.get("Metrics", []) if "MetricStat" in m]
            found[name] = [stat["Metric"] for stat in stats] or [alarm]
    return found


def test_the_alarms_watch_metrics_that_the_service_writes():
    every = [metric for metrics in watched(**SWITCHES["model"]).values() for metric in metrics]
    ours = [metric for metric in every if not metric["Namespace"].startswith("AWS")]
    written = (ROOT / "serving" / "telemetry.py").read_text()
    assert {m["Namespace"] for m in ours} == {telemetry.NAMESPACE}
    assert {m["MetricName"] for m in ours} == {"internal_errors", "confidence", "unfamiliar"}
    assert all(f'"{m["MetricName"]}"' in written for m in ours)
    # By the function as well: another stack may serve the same model.
    for metric in ours:
        by = dimensions(metric)
        assert by["function"] == {"Ref": "ClassifierFunction"}
        assert by.keys() == {"function", "model"} or metric["MetricName"] == "internal_errors"
        assert by.get("model", "clothing") == "clothing"


def test_without_a_model_there_are_no_alarms_on_drift():
    assert watched(**SWITCHES["model"]).keys() - watched().keys() == {
        *("ConfidenceAlarm", "UnfamiliarAlarm")
    }


def test_one_failure_in_five_minutes_raises_an_alarm_and_none_ends_it():
    for name in ("ErrorsAlarm", *OF_THE_NEWEST):
        alarm = properties(name)
        assert (alarm["Statistic"], alarm["Threshold"], alarm["Period"]) == ("Sum", 0, 60)
        assert (alarm["EvaluationPeriods"], alarm["DatapointsToAlarm"]) == (5, 1)
        assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
        assert alarm["TreatMissingData"] == "notBreaching"


def test_two_alarms_watch_the_newest_version_alone():
    version = version_id(translated())
    named = {name: dimensions(properties(name)) for name in OF_THE_NEWEST}
    number = {"Fn::GetAtt": [version, "Version"]}
    assert named["VersionErrorsAlarm"]["ExecutedVersion"] == number
    assert named["InternalErrorsAlarm"] == {
        "function": {"Ref": "ClassifierFunction"},
        "version": number,
    }


def test_lambdas_own_metrics_are_watched_at_the_alias():
    of_lambda = {n: m for n, (m, *_) in watched().items() if m["Namespace"] == "AWS/Lambda"}
    assert {m["MetricName"] for m in of_lambda.values()} == {"Errors", "Duration", "Throttles"}
    assert of_lambda["DurationAlarm"]["ExtendedStatistic"] == "p99"
    for metric in of_lambda.values():
        assert [d["Name"] for d in metric["Dimensions"]][:2] == ["FunctionName", "Resource"]
