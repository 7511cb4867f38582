"""samconfig.toml is read as the SAM CLI reads it."""

import pytest

from local.backends import ROOT
from ops import environments


def written(tmp_path, overrides, more=""):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "parameters.yaml").write_text("ModelName: pets\nReportConfidence: 0.9\n")
    text = f'[prod.global.parameters]\nstack_name = "pets"\nparameter_overrides = {overrides}\n'
    (tmp_path / "samconfig.toml").write_text(f"version = 0.1\n{text}{more}")
    return environments.chosen(tmp_path, "prod")


@pytest.mark.parametrize(
    "overrides",
    [
        """["ApiAuth=IAM", 'AlarmEmail=""', "PhotoArns='a, b'"]""",
        """ 'ApiAuth="IAM" AlarmEmail="" PhotoArns="a, b"' """,
        '{ApiAuth = "IAM", AlarmEmail = "", PhotoArns = "a, b"}',
    ],
)
def test_parameters_are_read_in_each_form(overrides, tmp_path):
    environment = written(tmp_path, overrides)
    assert environment.overrides == {"ApiAuth": "IAM", "AlarmEmail": "", "PhotoArns": "a, b"}
    assert environment.stack == "pets"


def test_a_file_of_parameters_is_included_and_what_follows_replaces_it(tmp_path):
    environment = written(tmp_path, '["file://model/parameters.yaml", "ReportConfidence=0.8"]')
    assert environment.overrides == {"ModelName": "pets", "ReportConfidence": "0.8"}


def test_the_deploy_commands_own_table_takes_precedence(tmp_path):
    more = '[prod.deploy.parameters]\nstack_name = "other"\nregion = "eu-west-1"\n'
    environment = written(tmp_path, "[]", more)
    assert (environment.stack, environment.region) == ("other", "eu-west-1")


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ('["file://model/none.yaml"]', "model/none.yaml, which is missing"),
        ('["ApiAuth"]', "write NAME=VALUE"),
        ("[3]", "write NAME=VALUE"),
    ],
)
def test_parameters_that_cannot_be_read_are_refused(overrides, told, tmp_path):
    with pytest.raises(ValueError, match=told):
        written(tmp_path, overrides)


def test_an_environment_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(ValueError, match="no environment 'test'; it has default, prod"):
        environments.chosen(ROOT, "test")


def test_prod_is_another_stack_that_not_everyone_may_call():
    both = environments.read(ROOT)
    assert both["prod"].stack != both["default"].stack
    assert both["prod"].overrides["ApiAuth"] != "NONE"
    for environment in both.values():
        # SAM keeps a stack's old value of what it is not told: a new image would stay hidden.
        assert environment.overrides["Release"] == ""
        assert environment.overrides["ModelName"] == "clothing"
