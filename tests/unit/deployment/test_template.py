"""The stack after SAM's translation, with each combination of switches that matters."""

import json
import re

import cfnlint.api
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cfnlint.config import ManualArgs

from local.backends import ROOT
from tests.deployment import (
    AUTHORISATIONS,
    COLD_STARTS,
    COMBINATIONS,
    JWT,
    SWITCHES,
    broken_rules,
    decided,
    dumped,
    properties,
    source,
    translated,
)

# SAM looks these parameters up while it translates, so the result no longer refers to them.
_USED_BY_SAM = {f"W2001 Parameter {name} not used." for name in ("Deployment", "Release")}


@pytest.mark.slow
@pytest.mark.parametrize("name", COMBINATIONS)
def test_the_translated_template_is_clean_under_cfn_lint(name):
    text = dumped(translated(**COMBINATIONS[name]))
    found = cfnlint.api.lint(text, config=ManualArgs(regions=["eu-west-1"]))
    assert {f"{match.rule.id} {match.message}" for match in found} - _USED_BY_SAM == set()


def test_cfn_lint_finds_a_mistake_in_the_translated_template():
    template = translated()
    template["Resources"]["ClassifierRole"]["Properties"]["Polices"] = []
    found = cfnlint.api.lint(dumped(template), config=ManualArgs(regions=["eu-west-1"]))
    assert "E3002" in {match.rule.id for match in found}


def test_the_template_has_at_most_350_lines():
    assert len((ROOT / "template.yaml").read_text().splitlines()) <= 350


def test_the_page_on_deploying_has_every_parameter_and_its_default():
    page = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `([A-Z]\w+)` \| ([^|]*?) ?\| ", page, re.MULTILINE))
    defaults = {name: str(given["Default"]) for name, given in source()["Parameters"].items()}
    assert told == defaults


def test_every_parameter_has_a_default():
    assert [n for n, p in source()["Parameters"].items() if "Default" not in p] == []


@pytest.mark.parametrize("architecture", ["x86_64", "arm64"])
def test_the_architecture_is_the_parameters(architecture):
    function = properties("ClassifierFunction", Architecture=architecture)
    assert function["Architectures"] == [architecture]


def test_the_function_is_traced_capped_and_logs_into_its_own_group():
    function = properties("ClassifierFunction", ReservedConcurrency="5")
    assert function["TracingConfig"] == {"Mode": "Active"}
    assert function["ReservedConcurrentExecutions"] == "5"
    assert function["LoggingConfig"] == {"LogGroup": {"Ref": "ClassifierLogGroup"}}
    assert (function["MemorySize"], function["Timeout"]) == ("1769", "29")
    # A new account may have nothing to reserve, which would fail the stack's creation.
    assert "ReservedConcurrentExecutions" not in properties("ClassifierFunction")


def test_every_log_group_has_a_retention():
    groups = {n: r for n, r in decided().items() if r["Type"] == "AWS::Logs::LogGroup"}
    assert len(groups) == 3
    assert {g["Properties"]["RetentionInDays"] for g in groups.values()} == {"30"}


def test_the_access_log_takes_none_of_cloudwatchs_resource_policy():
    name = properties("AccessLogGroup")["LogGroupName"]["Fn::Sub"]
    assert name.startswith("/aws/vendedlogs/${AWS::StackName}")


def test_a_budget_writes_to_the_alarms_address():
    assert "MonthlyBudget" not in decided(**SWITCHES["email"])
    budget = properties("MonthlyBudget", **SWITCHES["budget"])
    assert budget["Budget"]["BudgetLimit"] == {"Amount": "20", "Unit": "USD"}
    for notification in budget["NotificationsWithSubscribers"]:
        (subscriber,) = notification["Subscribers"]
        assert subscriber["Address"] == "someone@example.com"


def test_the_dashboard_is_json_and_shows_metrics_that_are_written():
    assert "ServiceDashboard" not in decided()
    body = properties("ServiceDashboard", Dashboard="true")["DashboardBody"]["Fn::Sub"]
    titles = [widget["properties"]["title"] for widget in json.loads(body)["widgets"]]
    assert titles == [
        *("Requests and refusals", "Latency, ms", "Errors"),
        *("Cold starts", "Share of unsure answers"),
    ]
    written = (ROOT / "serving" / "telemetry.py").read_text()
    for metric in re.findall(r'MetricName=\\"(\w+)\\"', body):
        assert f'"{metric}"' in written


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
def test_the_default_route_has_the_chosen_authorisation(auth):
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
    request = AWSRequest("POST", "https://api.example/predict", data=b"jpeg")
    SigV4Auth(Credentials("id", "secret", "token"), "execute-api", "eu-west-1").add_auth(request)
    assert {name.lower() for name in request.headers} <= set(cors["allowHeaders"])


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


def test_snapstart_has_default_storage_and_no_file_system():
    function = properties("ClassifierFunction", SnapStart="true")
    assert "EphemeralStorage" not in function
    assert "FileSystemConfigs" not in function


CONTRADICTIONS = {
    "both answers to cold starts": {"SnapStart": "true", "ProvisionedConcurrency": "1"},
    "a JWT without issuer": {**JWT, "JwtIssuer": ""},
    "a JWT without audience": {**JWT, "JwtAudience": ""},
    "a budget that tells nobody": {"MonthlyBudgetUsd": "20"},
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_rule_refuses(name):
    assert len(broken_rules(**CONTRADICTIONS[name])) == 1


@pytest.mark.parametrize("name", COMBINATIONS)
def test_no_rule_refuses(name):
    assert broken_rules(**COMBINATIONS[name]) == []
