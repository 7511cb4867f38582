"""`make doctor` reports each kind of mistake in parameters, settings and reports."""

import json
import re
import shutil
from dataclasses import replace

import pytest
from botocore.exceptions import NoCredentialsError

from local.backends import ROOT
from ops import doctor
from ops.checks import parameters
from serving.settings import Settings
from tests.deployment import source
from tests.findings import the_one
from tests.tiny_model import CONTRACT

VALUES = parameters.read(ROOT / "template.yaml", {})


@pytest.fixture
def checkout(tmp_path):
    """What doctor reads of a checkout, to be made wrong."""
    for name in ("template.yaml", "samconfig.toml", "Dockerfile", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    for folder in ("model", "ops/hook/golden"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


def no_account(environment):
    raise NoCredentialsError()


def run(checkout, *words):
    """Doctor without an account to ask and without an image."""
    options = ("--env", "default", "--image", "no-such-image:latest")
    return doctor.main([*words, *options], checkout, ask=no_account)


def found(checkout, capsys, *words):
    status = run(checkout, *words)
    lines = capsys.readouterr().out.splitlines()
    findings = [line for line in lines if " -> " in line]
    assert status == (1 if findings else 0)
    return findings


def test_doctor_finds_nothing_in_this_checkout(checkout, capsys):
    assert found(checkout, capsys) == []


AT_ONCE = {"Deployment": "AllAtOnce"}
PARAMETERS = {
    "both answers to cold starts": (
        {"SnapStart": "true", "ProvisionedConcurrency": "2", **AT_ONCE},
        "exclude",
    ),
    "more provisioned than reserved": (
        {"ProvisionedConcurrency": "9", "ReservedConcurrency": "5", **AT_ONCE},
        "uses up",
    ),
    "all that is reserved provisioned": (
        {"ProvisionedConcurrency": "5", "ReservedConcurrency": "5", **AT_ONCE},
        "set ReservedConcurrency=6 or more",
    ),
    "provisioned instances shared by two versions": (
        {"ProvisionedConcurrency": "2"},
        "set Deployment=AllAtOnce",
    ),
    "a budget that tells nobody": ({"MonthlyBudgetUsd": "20.5"}, "needs AlarmEmail"),
    "nothing reserved": ({"ReservedConcurrency": "0"}, "refuses every request"),
    "a JWT without issuer": ({"ApiAuth": "JWT", "JwtAudience": "app"}, "needs Jwt"),
    "a JWT without audience": (
        {"ApiAuth": "JWT", "JwtIssuer": "https://i.example"},
        "needs Jwt",
    ),
    "an audience without a name": (
        {"ApiAuth": "JWT", "JwtIssuer": "https://i.example", "JwtAudience": "app,"},
        "needs Jwt",
    ),
    "an issuer that nobody asks": ({"JwtIssuer": "https://i.example"}, "ignores it"),
    "slow beyond the timeout": ({"AlarmP99Ms": "29000"}, "AlarmP99Ms"),
    "another model's name": ({"ModelName": "other"}, "ModelName is other"),
    "another report's confidence": ({"ReportConfidence": "0.1"}, "ReportConfidence is 0.1"),
    "another share of unfamiliar photos": (
        {"ReportUnfamiliarShare": "0.9"},
        "ReportUnfamiliarShare is 0.9",
    ),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_that_contradict_are_found(name, checkout, capsys):
    changes, word = PARAMETERS[name]
    the_one(found(checkout, capsys, *(f"{k}={v}" for k, v in changes.items())), word)


@pytest.mark.parametrize(
    "word",
    [
        "ReservedConcurrency=five",
        "ReservedConcurrency=1001",
        "MemorySizeMb=64",
        "AlarmP99Ms=",
        "AlarmP99Ms=nan",
        "AlarmP99Ms=inf",
        "AlarmP99Ms=0",
        "MemorySizeMb=1769.5",
        "ReportConfidence=x",
        "SnapStart=True",
        "LogRetentionDays=2",
        "JwtIssuer=i.example",
        "MemorySizeMb=1_769",
        "PhotoArns=arn:aws:s3:::photos/*,arn:aws:s3:::*",
        "PhotoArns=arn:aws:s3:::photos/*,*",
    ],
)
def test_a_value_that_cloudformation_would_refuse_is_wrong_usage(word, checkout, capsys):
    assert run(checkout, word) == 2
    name, _, value = word.partition("=")
    assert f"doctor: {name} is {value!r}; it" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ("AlarmP99Ms=7500.5", "ThrottleRatePerSecond=2.5"),
        ("PhotoArns=arn:aws:s3:::photos/*, arn:aws:s3:::more/2026/*",),
        ("ProvisionedConcurrency=4", "Deployment=AllAtOnce", "ReservedConcurrency=5"),
        ("ProvisionedConcurrency=9", "Deployment=AllAtOnce", "ApiAuth=IAM"),
        ("MonthlyBudgetUsd=12.5", "AlarmEmail=someone@example.com"),
    ],
)
def test_values_that_cloudformation_accepts_are_accepted(words, checkout, capsys):
    assert found(checkout, capsys, *words) == []


def with_variable(checkout, name, value):
    """The template with another value of one of the function's environment variables."""
    path = checkout / "template.yaml"
    text, count = re.subn(rf"( {name}: ).*", rf"\g<1>{value}", path.read_text())
    assert count == 1
    path.write_text(text)


def test_a_setting_that_the_function_would_not_start_with_is_found(checkout, capsys):
    with_variable(checkout, "FETCH_PORTS", "eighty")
    the_one(found(checkout, capsys), "FETCH_PORTS")


@pytest.mark.parametrize(
    "value", ["443", "", '!Join [",", !Ref CorsOrigins]', "!Ref TimeoutSeconds"]
)
def test_an_unquoted_variable_is_read_as_cloudformation_would(value, checkout, capsys):
    with_variable(checkout, "FETCH_PORTS", value)
    assert found(checkout, capsys) == []


def test_too_little_memory_for_images_decoded_at_once_is_found(checkout, capsys):
    with_variable(checkout, "INFERENCE_THREADS", '"8"')
    the_one(found(checkout, capsys), "8 images at once", "may need 3054 MB")
    assert found(checkout, capsys, "MemorySizeMb=3200") == []


def test_less_memory_than_an_image_takes_is_found(checkout, capsys):
    with_variable(checkout, "IMAGE_MAX_PIXELS", '"100000000"')
    the_one(found(checkout, capsys, "MemorySizeMb=512"), "an image of", "may need 788 MB")


def test_each_vcpu_brings_the_memory_that_its_image_takes(checkout, capsys):
    assert found(checkout, capsys, "MemorySizeMb=10240") == []


def test_too_little_memory_hides_no_other_finding(checkout, capsys):
    with_variable(checkout, "IMAGE_MAX_PIXELS", '"100"')
    with_variable(checkout, "INFERENCE_THREADS", '"64"')
    path = checkout / "template.yaml"
    path.write_text(path.read_text().replace("MinValue: 512", "MinValue: 1"))
    told = found(checkout, capsys, "MemorySizeMb=80")
    assert len(told) == 2
    assert any("may need 570 MB" in line for line in told)
    assert any("golden" in line for line in told)


def test_fewer_classes_than_the_hook_asks_for_are_found(checkout, capsys):
    with_variable(checkout, "TOP_K_MAX", '"9"')
    the_one(found(checkout, capsys), "TOP_K_MAX is 9", "10 classes")


def test_golden_pictures_larger_than_what_is_decoded_are_found(checkout, capsys):
    with_variable(checkout, "IMAGE_MAX_PIXELS", '"100"')
    the_one(found(checkout, capsys), "golden pictures differently", "more than 100 pixels")


def test_doctor_prints_a_figure_that_it_accepts(checkout, capsys):
    report = checkout / "model" / "report.json"
    text = json.loads(report.read_text())
    for figure in (0.925, 0.935, 0.945):
        text["answers"]["mean_confidence"] = figure
        report.write_text(json.dumps(text))
        remedies = [finding.rpartition("set ")[2] for finding in found(checkout, capsys)]
        assert found(checkout, capsys, *remedies) == []


@pytest.mark.parametrize("text", ["[]", "{}", '{"answers": {}}', '{"answers": []}', "no JSON"])
def test_a_report_of_another_shape_is_found(text, checkout, capsys):
    (checkout / "model" / "report.json").write_text(text)
    told = found(checkout, capsys)
    assert [line for line in told if "no figures for the drift alarms" in line]


def test_sam_deploys_stack_name_takes_precedence(checkout, capsys):
    path = checkout / "samconfig.toml"
    before, table, after = path.read_text().partition("[default.deploy.parameters]\n")
    path.write_text(f'{before}{table}stack_name = "{"x" * 60}"\n{after}')
    the_one(found(checkout, capsys), "60 characters")


def test_a_samconfig_that_is_no_toml_is_named(checkout, capsys):
    (checkout / "samconfig.toml").write_text("stack_name = photo")
    assert run(checkout) == 2
    assert "samconfig.toml is not valid TOML" in capsys.readouterr().err


def test_a_parameter_that_the_template_does_not_have_is_wrong_usage(checkout, capsys):
    assert run(checkout, "MemorySize=1") == 2
    assert "no parameter MemorySize" in capsys.readouterr().err


def test_the_parameters_are_read_as_sam_reads_them():
    assert VALUES.keys() == source()["Parameters"].keys()


def test_a_metric_for_each_of_many_classes_is_found():
    classes = tuple(f"class-{n}" for n in range(1000))
    many = replace(CONTRACT, classes=classes)
    the_one(parameters.label_metrics(Settings(), many), "1,000 classes", "$300 a month")
    assert parameters.label_metrics(Settings(label_metrics=False), many) == []
    assert parameters.label_metrics(Settings(), CONTRACT) == []


def test_a_bundle_without_its_file_of_parameters_is_named(checkout, capsys):
    (checkout / "model" / "parameters.yaml").unlink()
    assert run(checkout) == 2
    assert "model/parameters.yaml, which is missing" in capsys.readouterr().err


def test_a_stack_name_too_long_for_the_hook_is_found():
    the_one(parameters.stack_name("x" * 50), "50 characters")
    assert parameters.stack_name("x" * 49) == []


def test_a_report_of_another_file_is_found(checkout, capsys):
    report = checkout / "model" / "report.json"
    text = json.loads(report.read_text()) | {"version": "sha256:0"}
    report.write_text(json.dumps(text))
    the_one(found(checkout, capsys), "not measured on this model")


def test_a_report_without_figures_for_the_alarms_is_found(checkout, capsys):
    report = checkout / "model" / "report.json"
    text = json.loads(report.read_text())
    del text["answers"]
    report.write_text(json.dumps(text))
    the_one(found(checkout, capsys), "no figures for the drift alarms")


def test_golden_pictures_of_another_model_are_found(checkout, capsys):
    path = checkout / "ops" / "hook" / "golden" / "expectations.json"
    expected = json.loads(path.read_text())
    expected["pictures"][0]["logits"][3] += 9
    path.write_text(json.dumps(expected))
    the_one(found(checkout, capsys), "golden pictures differently")


def test_without_an_image_doctor_says_what_it_did_not_check(checkout, capsys):
    run(checkout)
    assert "The image was not checked" in capsys.readouterr().out
