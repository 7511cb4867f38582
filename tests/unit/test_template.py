"""The stack with every combination of switches that matters, after SAM's own translation."""

import json
from itertools import product

import cfnlint.api
import pytest
from cfnlint.config import ManualArgs

from local.backends import ROOT
from ops.hook import pretraffic
from serving import telemetry
from tests.deployment import broken_rules, decided, dumped, source, translated

JWT = {"ApiAuth": "JWT", "JwtIssuer": "https://issuer.example/pool", "JwtAudience": "app-1,app-2"}
AUTHORISATIONS = {"NONE": {"ApiAuth": "NONE"}, "IAM": {"ApiAuth": "IAM"}, "JWT": JWT}
COLD_STARTS = {
    "cold": {},
    "snapstart": {"SnapStart": "true"},
    "provisioned": {"ProvisionedConcurrency": "2"},
}
SWITCHES = {
    "arm64": {"Architecture": "arm64"},
    "unreserved": {"ReservedConcurrency": "-1"},
    "cors": {"CorsOrigins": "https://one.example,https://two.example"},
    "photos": {"PhotoArns": "arn:aws:s3:::photos/*,arn:aws:s3:::more-photos/in/*"},
    "email": {"AlarmEmail": "someone@example.com"},
    "at-once": {"Deployment": "AllAtOnce"},
    "linear": {"Deployment": "Linear10PercentEvery1Minute"},
}
EVERYTHING = {k: v for switch in SWITCHES.values() for k, v in switch.items()}
COMBINATIONS = {
    **{
        f"{auth}-{cold}": AUTHORISATIONS[auth] | COLD_STARTS[cold]
        for auth, cold in product(AUTHORISATIONS, COLD_STARTS)
    },
    **SWITCHES,
    **{f"{auth}-everything": AUTHORISATIONS[auth] | EVERYTHING for auth in AUTHORISATIONS},
}


# SAM looks this parameter up while it translates, so the result no longer refers to it.
_USED_BY_SAM = "W2001 Parameter Deployment not used."


@pytest.mark.slow
@pytest.mark.parametrize("name", COMBINATIONS)
def test_the_translated_template_is_clean_under_cfn_lint(name):
    text = dumped(translated(**COMBINATIONS[name]))
    found = cfnlint.api.lint(text, config=ManualArgs(regions=["eu-west-1"]))
    assert {f"{match.rule.id} {match.message}" for match in found} - {_USED_BY_SAM} == set()


def test_cfn_lint_would_tell_of_a_mistake_in_the_translated_template():
    template = translated()
    template["Resources"]["ClassifierRole"]["Properties"]["Polices"] = []
    found = cfnlint.api.lint(dumped(template), config=ManualArgs(regions=["eu-west-1"]))
    assert "E3002" in {match.rule.id for match in found}


def test_the_template_is_shorter_than_250_lines():
    assert len((ROOT / "template.yaml").read_text().splitlines()) < 250


def test_the_readme_and_the_page_on_deploying_name_every_parameter():
    for page in ("README.md", "docs/deploy.md"):
        text = (ROOT / page).read_text()
        assert [name for name in source()["Parameters"] if f"`{name}`" not in text] == [], page


def test_every_parameter_has_a_default_so_that_deploying_asks_for_none():
    assert [n for n, p in source()["Parameters"].items() if "Default" not in p] == []


def properties(name, **parameters):
    return decided(**parameters)[name]["Properties"]


@pytest.mark.parametrize("architecture", ["x86_64", "arm64"])
def test_the_architecture_is_the_parameters(architecture):
    function = properties("ClassifierFunction", Architecture=architecture)
    assert function["Architectures"] == [architecture]


def test_the_function_is_traced_capped_and_logs_into_its_own_group():
    function = properties("ClassifierFunction")
    assert function["TracingConfig"] == {"Mode": "Active"}
    assert function["ReservedConcurrentExecutions"] == "5"
    assert function["LoggingConfig"] == {"LogGroup": {"Ref": "ClassifierLogGroup"}}
    assert (function["MemorySize"], function["Timeout"]) == ("1769", "29")
    unreserved = properties("ClassifierFunction", ReservedConcurrency="-1")
    assert "ReservedConcurrentExecutions" not in unreserved


def test_every_log_group_has_a_retention():
    groups = {n: r for n, r in decided().items() if r["Type"] == "AWS::Logs::LogGroup"}
    assert len(groups) == 3
    assert {g["Properties"]["RetentionInDays"] for g in groups.values()} == {"30"}


def test_the_access_log_has_no_personal_data():
    stage = properties("ClassifierApiApiGatewayDefaultStage")
    fields = json.loads(stage["AccessLogSettings"]["Format"])
    assert "$context.status" in fields.values()
    personal = ("identity", "authorizer", "path", "domain", "query", "userAgent", "sourceIp")
    assert [v for v in fields.values() if any(word in v for word in personal)] == []


def test_the_stage_is_throttled():
    stage = properties("ClassifierApiApiGatewayDefaultStage", ThrottleBurst="7")
    assert stage["DefaultRouteSettings"] == {
        "ThrottlingRateLimit": "10",
        "ThrottlingBurstLimit": "7",
    }


@pytest.mark.parametrize("auth", AUTHORISATIONS)
def test_the_api_has_one_default_route_with_the_chosen_authorisation(auth):
    body = properties("ClassifierApi", **AUTHORISATIONS[auth])["Body"]
    assert list(body["paths"]) == ["$default"]
    (route,) = body["paths"]["$default"].values()
    wanted: dict[str, object] = {"NONE": [], "IAM": [{"Iam": []}], "JWT": [{"Jwt": []}]}
    assert route["security"] == wanted[auth]
    for requirement in route["security"]:
        assert requirement.keys() <= body["components"]["securitySchemes"].keys()
    assert route["x-amazon-apigateway-integration"]["payloadFormatVersion"] == "2.0"


def test_a_jwt_is_checked_for_issuer_and_audience():
    scheme = properties("ClassifierApi", **JWT)["Body"]["components"]["securitySchemes"]["Jwt"]
    authorizer = scheme["x-amazon-apigateway-authorizer"]
    assert authorizer["jwtConfiguration"] == {
        "issuer": "https://issuer.example/pool",
        "audience": ["app-1", "app-2"],
    }


def test_iam_is_signed_requests():
    body = properties("ClassifierApi", ApiAuth="IAM")["Body"]
    scheme = body["components"]["securitySchemes"]["Iam"]
    assert scheme["x-amazon-apigateway-authtype"] == "awsSigv4"


def test_no_origin_may_call_unless_it_is_named():
    assert "x-amazon-apigateway-cors" not in properties("ClassifierApi")["Body"]
    cors = properties("ClassifierApi", **SWITCHES["cors"])["Body"]["x-amazon-apigateway-cors"]
    assert cors["allowOrigins"] == ["https://one.example", "https://two.example"]


@pytest.mark.parametrize("auth", AUTHORISATIONS)
def test_a_browsers_preflight_needs_no_authorisation(auth):
    body = properties("ClassifierApi", **AUTHORISATIONS[auth], **SWITCHES["cors"])["Body"]
    if auth == "NONE":
        assert list(body["paths"]) == ["$default"]
    else:
        assert body["paths"]["/{proxy+}"]["options"]["security"] == []


@pytest.mark.parametrize("cold", COLD_STARTS)
def test_the_answer_to_cold_starts_is_the_chosen_one(cold):
    resources = decided(**COLD_STARTS[cold])
    function, alias = resources["ClassifierFunction"], resources["ClassifierFunctionAliaslive"]
    applied = function["Properties"]["SnapStart"]["ApplyOn"]
    assert applied == ("PublishedVersions" if cold == "snapstart" else "None")
    provisioned = alias["Properties"].get("ProvisionedConcurrencyConfig")
    wanted = {"ProvisionedConcurrentExecutions": "2"} if cold == "provisioned" else None
    assert provisioned == wanted


def test_snapstart_needs_no_more_than_the_default_storage_and_no_file_system():
    function = properties("ClassifierFunction", SnapStart="true")
    assert "EphemeralStorage" not in function
    assert "FileSystemConfigs" not in function


CONTRADICTIONS = {
    "both answers to cold starts": {"SnapStart": "true", "ProvisionedConcurrency": "1"},
    "a JWT without issuer": {**JWT, "JwtIssuer": ""},
    "a JWT without audience": {**JWT, "JwtAudience": ""},
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_rule_refuses(name):
    assert len(broken_rules(**CONTRADICTIONS[name])) == 1


@pytest.mark.parametrize("name", COMBINATIONS)
def test_no_rule_refuses(name):
    assert broken_rules(**COMBINATIONS[name]) == []


def statements(resources):
    for name, resource in resources.items():
        for policy in resource["Properties"].get("Policies", []):
            for statement in policy["PolicyDocument"]["Statement"]:
                yield name, statement


def test_no_statement_has_a_wildcard_but_for_the_ones_that_iam_offers_nothing_narrower_for():
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


def test_photos_are_read_from_the_named_buckets_alone():
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


@pytest.mark.parametrize("deployment", source()["Parameters"]["Deployment"]["AllowedValues"])
def test_three_alarms_roll_a_deployment_back_and_the_hook_comes_before_traffic(deployment):
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
