"""The template as CloudFormation sees it: translated by SAM, its conditions evaluated.

`sam validate` and cfn-lint look at SAM's source; what SAM makes of it (alias, deployment group,
permissions, stage) is only there after the translation, which AWS does with this very translator.
"""

import copy
import json
from itertools import product
from typing import Any

import yaml
from boto3.session import Session
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

from local.backends import ROOT

IMAGE_URI = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/photos:latest"
Json = dict[str, Any]


def source() -> Json:
    """template.yaml, its short forms (!Ref) written out."""
    template: Json = yaml_parse((ROOT / "template.yaml").read_text())
    return template


def translated(**parameters: str) -> Json:
    """The template after SAM's transform; `parameters` replace the defaults."""
    template = json.loads(json.dumps(source()))  # anchors become copies
    resources = template["Resources"]
    resources["ClassifierFunction"]["Properties"]["ImageUri"] = IMAGE_URI  # as `sam package` does
    resources["GoldenHook"]["Properties"]["CodeUri"] = "s3://bucket/hook.zip"
    for name, value in parameters.items():
        template["Parameters"][name]["Default"] = value
    translator = Translator({}, Parser(), boto_session=Session(region_name="eu-west-1"))
    made: Json = translator.translate(template, dict(parameters))
    return made


def decided(**parameters: str) -> Json:
    """The translated resources as CloudFormation would make them with these parameters."""
    template = translated(**parameters)
    return _Decider(template).resources()


class _Decider:
    """Resolves Ref to parameters, Fn::If, Fn::Join, Fn::Split and conditions; nothing else."""

    def __init__(self, template: Json) -> None:
        self._template = template
        self._values = {
            name: str(parameter.get("Default", "")).split(",")
            if parameter["Type"] == "CommaDelimitedList"
            else str(parameter.get("Default", ""))
            for name, parameter in template["Parameters"].items()
        }

    def resources(self) -> Json:
        """Name -> resource, without those whose condition is false."""
        return {
            name: self._resolved({k: v for k, v in resource.items() if k != "Condition"})
            for name, resource in copy.deepcopy(self._template["Resources"]).items()
            if "Condition" not in resource or self._condition(resource["Condition"])
        }

    def broken_rules(self) -> list[str]:
        """What the template's Rules say against these parameters."""
        return [
            assertion["AssertDescription"]
            for rule in self._template["Rules"].values()
            if self._holds(rule["RuleCondition"])
            for assertion in rule["Assertions"]
            if not self._holds(assertion["Assert"])
        ]

    def _condition(self, name: str) -> bool:
        return self._holds(self._template["Conditions"][name])

    def _holds(self, condition: Any) -> bool:
        ((function, argument),) = condition.items()
        match function:
            case "Condition":
                return self._condition(argument)
            case "Fn::Equals":
                left, right = map(self._resolved, argument)
                return bool(str(left) == str(right))
            case "Fn::Not":
                return not self._holds(argument[0])
            case "Fn::And":
                return all(map(self._holds, argument))
            case "Fn::Or":
                return any(map(self._holds, argument))
            case "Fn::Contains":
                values, value = map(self._resolved, argument)
                return value in values
        raise AssertionError(f"unknown condition function {function}")

    def _resolved(self, value: Any) -> Any:
        if isinstance(value, list):
            return [r for item in value if (r := self._resolved(item)) != {"Ref": "AWS::NoValue"}]
        if not isinstance(value, dict):
            return value
        if value.keys() == {"Fn::If"}:
            name, yes, no = value["Fn::If"]
            return self._resolved(yes if self._condition(name) else no)
        if value.keys() == {"Fn::Split"}:
            delimiter, text = value["Fn::Split"]
            return str(self._resolved(text)).split(delimiter)
        if value.keys() == {"Fn::Join"}:
            delimiter, parts = value["Fn::Join"]
            parts = self._resolved(parts)
            if all(isinstance(part, str) for part in parts):
                return delimiter.join(parts)
        if value.keys() == {"Ref"}:
            return self._values.get(value["Ref"], value)
        resolved = {key: self._resolved(item) for key, item in value.items()}
        return {k: v for k, v in resolved.items() if v != {"Ref": "AWS::NoValue"}}


def broken_rules(**parameters: str) -> list[str]:
    """What the template's Rules say against these parameters."""
    return _Decider(translated(**parameters)).broken_rules()


def dumped(template: Json) -> str:
    """The template as YAML text, for tools that read files."""
    text: str = yaml.safe_dump(json.loads(json.dumps(template)), sort_keys=False)
    return text


JWT = {"ApiAuth": "JWT", "JwtIssuer": "https://issuer.example/pool", "JwtAudience": "app-1,app-2"}
AUTHORISATIONS = {"NONE": {"ApiAuth": "NONE"}, "IAM": {"ApiAuth": "IAM"}, "JWT": JWT}
COLD_STARTS = {
    "cold": {},
    "snapstart": {"SnapStart": "true"},
    "provisioned": {"ProvisionedConcurrency": "2"},
}
SWITCHES = {
    "arm64": {"Architecture": "arm64"},
    "reserved": {"ReservedConcurrency": "5"},
    "cors": {"CorsOrigins": "https://one.example,https://two.example"},
    "photos": {"PhotoArns": "arn:aws:s3:::photos/*,arn:aws:s3:::more-photos/in/*"},
    "keep": {"KeepUnsure": "s3://kept-photos/unsure", "KeepShare": "0.5"},
    "email": {"AlarmEmail": "someone@example.com"},
    "budget": {"AlarmEmail": "someone@example.com", "MonthlyBudgetUsd": "20"},
    "dashboard": {"Dashboard": "true"},
    "model": {"ModelName": "clothing", "ReportConfidence": "0.9", "ReportUnfamiliarShare": "0.1"},
    "release": {"Release": "0123456789abcdef"},
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


def properties(name: str, **parameters: str) -> Json:
    """The properties of one resource as CloudFormation would make it."""
    made: Json = decided(**parameters)[name]["Properties"]
    return made
