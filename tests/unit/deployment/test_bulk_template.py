"""bulk/template.yaml: translated, linted with its state machine, and no wider than it must be."""

import json
import re

import cfnlint.api
import pytest
from boto3.session import Session
from cfnlint.config import ManualArgs
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

from bulk.jobs import MAX_SHARDS
from local.backends import ROOT
from tests.bulk_stack import IMAGE_URI, definition, source
from tests.deployment import dumped

COMBINATIONS = {
    "plain": {"ImageUri": IMAGE_URI},
    "everything": {
        "ImageUri": IMAGE_URI,
        "InboxBucket": "arrivals",
        "AlarmEmail": "someone@example.com",
        "PhotoArns": "arn:aws:s3:::photos/*,arn:aws:s3:::more/in/*",
        "ReservedConcurrency": "100",
        "TimeoutMinutes": "5",
    },
}


def translated(**parameters):
    template = json.loads(json.dumps(source()))
    for name, value in parameters.items():
        template["Parameters"][name]["Default"] = value
    translator = Translator({}, Parser(), boto_session=Session(region_name="eu-west-1"))
    return translator.translate(template, dict(parameters))


def linted(template, machine):
    """What cfn-lint finds; it checks a state machine that is an object."""
    properties = template["Resources"]["ShardMap"]["Properties"]
    del properties["DefinitionString"]
    properties["Definition"] = machine
    found = cfnlint.api.lint(dumped(template), config=ManualArgs(regions=["eu-west-1"]))
    # The state machine's text uses them.
    unused = {
        "W2001 Parameter Concurrency not used.",
        "W2001 Parameter ToleratedFailurePercentage not used.",
    }
    return {f"{match.rule.id} {match.message}" for match in found} - unused


@pytest.mark.parametrize("name", COMBINATIONS)
def test_the_translated_template_and_its_state_machine_are_clean(name):
    assert linted(translated(**COMBINATIONS[name]), definition()) == set()


def test_the_linter_finds_a_mistake_in_the_state_machine():
    machine = definition()
    del machine["States"]["Shards"]["ItemProcessor"]["StartAt"]
    assert [found for found in linted(translated(), machine) if found.startswith("E3601")]


def test_the_template_needs_no_transform():
    template = source()
    assert "Transform" not in template
    assert translated()["Resources"].keys() == template["Resources"].keys()
    assert not re.search(r"[:\[] ?[&*]\w", (ROOT / "bulk/template.yaml").read_text())  # aliases


def test_the_function_runs_the_bulk_handler_of_the_same_image():
    function = source()["Resources"]["BulkFunction"]["Properties"]
    assert function["Code"] == {"ImageUri": {"Ref": "ImageUri"}}
    assert function["ImageConfig"] == {"Command": ["bulk.handler.lambda_handler"]}
    assert "COPY bulk/handler.py bulk/" in (ROOT / "Dockerfile").read_text()


def test_a_message_is_invisible_for_six_time_outs():
    template = source()
    assert template["Parameters"]["TimeoutMinutes"]["AllowedValues"] == [
        *template["Mappings"]["Minutes"]
    ]
    for minutes, of in template["Mappings"]["Minutes"].items():
        assert of == {"Seconds": int(minutes) * 60, "VisibilitySeconds": int(minutes) * 360}


def test_the_map_has_standard_children_and_keeps_none_of_their_outputs():
    shards = definition(Concurrency="7", ToleratedFailurePercentage="3")["States"]["Shards"]
    assert (shards["MaxConcurrency"], shards["ToleratedFailurePercentage"]) == (7, 3)
    processor = shards["ItemProcessor"]
    assert processor["ProcessorConfig"] == {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
    assert not {"ItemBatcher", "ResultWriter"} & shards.keys()
    assert processor["States"]["Classify"]["OutputPath"] is None
    assert MAX_SHARDS * len("{},") <= 256 * 1024


def test_no_action_and_no_resource_is_everything():
    documents = [
        *re.findall(r"Action: (.*?)(?:, Resource|\n)", (ROOT / "bulk/template.yaml").read_text()),
    ]
    assert documents
    assert [action for action in documents if "*" in action] == []
    statements = [
        statement
        for resource in source()["Resources"].values()
        for document in policies(resource["Properties"])
        for statement in document["Statement"]
    ]
    for statement in statements:
        statement = statement.get("Fn::If", [None, statement])[1]
        assert statement["Resource"] != "*", statement


def policies(properties):
    """The documents that say what a role may do."""
    if "PolicyDocument" in properties and "Roles" in properties:
        yield properties["PolicyDocument"]
    for policy in properties.get("Policies", ()):
        yield policy["PolicyDocument"]


def test_the_page_on_bulk_has_every_parameter_and_its_default():
    page = (ROOT / "docs/bulk.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `([A-Z]\w+)` \| ([^|]*?) ?\| ", page, re.MULTILINE))
    given = source()["Parameters"].items()
    assert told == {name: str(parameter.get("Default", "")) for name, parameter in given}
