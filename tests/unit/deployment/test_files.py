"""The deployment's files agree with the code."""

import json
import re
from dataclasses import fields

from local.backends import ROOT
from serving.settings import Settings
from tests.deployment import source


def _template_variables() -> dict[str, str]:
    """The function's variables; what is a parameter's has its default."""
    template = source()
    function = template["Resources"]["ClassifierFunction"]["Properties"]
    return {
        name: str(template["Parameters"][value["Ref"]]["Default"]) if "Ref" in value else value
        for name, value in function["Environment"]["Variables"].items()
    }


def test_the_template_names_every_setting_except_model_path():
    names = {setting.name.upper() for setting in fields(Settings)} - {"MODEL_PATH"}
    assert _template_variables().keys() == names


def test_the_values_in_the_template_are_the_defaults():
    assert Settings.from_env(_template_variables()) == Settings.from_env({})


def test_the_templates_base_image_is_the_dockerfiles():
    base = source()["Parameters"]["BaseImage"]["Default"]
    assert base in (ROOT / "Dockerfile").read_text()


def test_the_sample_event_is_a_photo_that_the_handler_classifies(app):
    event = json.loads((ROOT / "samples" / "events" / "event.json").read_text())
    answer = app.handle(event, "request-1")
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"])["label"]


def test_the_readme_names_every_make_target_that_is_for_users():
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    readme = (ROOT / "README.md").read_text()
    for target in {"demo", "serve", "test", "check", "data", "model", "deploy", "rollback"} & set(
        targets
    ):
        assert f"make {target}" in readme, target


def test_the_docker_context_is_denied_but_for_what_the_image_needs():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    ours = {"lambda_function.py", "serving", "bulk/handler.py"}
    assert allowed == {"requirements.txt", *ours, "model/classifier.onnx"}
