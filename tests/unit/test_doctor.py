"""Each finding of `make doctor`, provoked."""

import json
import re
import shutil
from importlib.metadata import Distribution
from types import SimpleNamespace

import onnx
import pytest

from local.backends import ROOT
from ops import doctor, image_checks, model_checks, parameters
from serving.contract import METADATA_KEY
from tests.deployment import source
from tests.tiny_model import CONTRACT, write_tiny_cascade, write_tiny_model

VALUES = parameters.read(ROOT / "template.yaml", {})
FACTS = {"Architecture": "amd64", "Size": 462_000_000}


@pytest.fixture
def checkout(tmp_path):
    """What doctor reads of a checkout, to be made wrong."""
    for name in ("template.yaml", "samconfig.toml", "Dockerfile", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    for folder in ("model", "ops/hook/golden"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


def found(checkout, capsys, *words):
    status = doctor.main([*words, "--image", "no-such-image:latest"], checkout)
    lines = capsys.readouterr().out.splitlines()
    findings = [line for line in lines if " -> " in line]
    assert status == (1 if findings else 0)
    return findings


def the_one(findings, *words):
    (finding,) = findings
    for word in words:
        assert word in str(finding)
    assert len(str(finding).partition(" -> ")[2]) > 8
    assert "\n" not in str(finding)


def test_nothing_is_found_on_this_checkout(checkout, capsys):
    assert found(checkout, capsys) == []


PARAMETERS = {
    "both answers to cold starts": (
        {"SnapStart": "true", "ProvisionedConcurrency": "2"},
        "exclude",
    ),
    "more provisioned than reserved": ({"ProvisionedConcurrency": "9"}, "exceeds"),
    "nothing reserved": ({"ReservedConcurrency": "0"}, "no request"),
    "a JWT without issuer": ({"ApiAuth": "JWT", "JwtAudience": "app"}, "lacks JwtIssuer"),
    "a JWT without audience": ({"ApiAuth": "JWT", "JwtIssuer": "https://i.example"}, "lacks"),
    "an issuer that nobody asks": ({"JwtIssuer": "https://i.example"}, "does not look at it"),
    "an open API without cap": ({"ReservedConcurrency": "-1"}, "no concurrency caps"),
    "slow beyond the timeout": ({"AlarmP99Ms": "29000"}, "AlarmP99Ms"),
    "less memory than an image takes": ({"MemorySizeMb": "512"}, "may take 853 MB"),
    "another model's name": ({"ModelName": "other"}, "ModelName is other"),
    "another report's confidence": ({"ReportConfidence": "0.1"}, "ReportConfidence is 0.1"),
    "another report's unsure share": ({"ReportUnsureShare": "0.9"}, "ReportUnsureShare is 0.9"),
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
        "ReportConfidence=x",
        "SnapStart=True",
        "LogRetentionDays=2",
        "JwtIssuer=i.example",
    ],
)
def test_a_value_that_cloudformation_would_refuse_is_wrong_usage(word, checkout, capsys):
    assert doctor.main([word], checkout) == 2
    name, _, value = word.partition("=")
    assert f"doctor: {name} is {value!r}; it" in capsys.readouterr().err


def with_variable(checkout, name, value):
    """The template with another value of one of the function's environment variables."""
    path = checkout / "template.yaml"
    text, count = re.subn(rf"( {name}: ).*", rf"\g<1>{value}", path.read_text())
    assert count == 1
    path.write_text(text)


def test_a_setting_that_the_function_would_not_start_with_is_found(checkout, capsys):
    with_variable(checkout, "FETCH_PORTS", "eighty")
    the_one(found(checkout, capsys), "FETCH_PORTS")


def test_fewer_classes_than_the_hook_asks_for_are_found(checkout, capsys):
    with_variable(checkout, "TOP_K_MAX", '"9"')
    the_one(found(checkout, capsys), "TOP_K_MAX is 9", "10 classes")


def test_golden_pictures_larger_than_what_is_decoded_are_found(checkout, capsys):
    with_variable(checkout, "IMAGE_MAX_PIXELS", '"100"')
    the_one(found(checkout, capsys), "golden answers differ", "more than 100 pixels")


def test_a_figure_is_told_to_the_hundredth_that_doctor_takes(checkout, capsys):
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
    assert [line for line in told if "no figures for the alarms" in line]


def test_the_stack_name_of_sam_deploy_outweighs_the_global_one(checkout, capsys):
    path = checkout / "samconfig.toml"
    before, table, after = path.read_text().partition("[default.deploy.parameters]\n")
    path.write_text(f'{before}{table}stack_name = "{"x" * 60}"\n{after}')
    the_one(found(checkout, capsys), "60 characters")


def test_a_samconfig_that_is_no_toml_is_named(checkout, capsys):
    (checkout / "samconfig.toml").write_text("stack_name = photo")
    assert doctor.main([], checkout) == 2
    assert "samconfig.toml is no TOML" in capsys.readouterr().err


def test_a_parameter_that_the_template_does_not_have_is_wrong_usage(checkout, capsys):
    assert doctor.main(["MemorySize=1"], checkout) == 2
    assert "no parameter MemorySize" in capsys.readouterr().err


def test_the_parameters_are_read_as_sam_reads_them():
    assert VALUES.keys() == source()["Parameters"].keys()


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
    the_one(found(checkout, capsys), "no figures for the alarms")


def test_golden_pictures_of_another_model_are_found(checkout, capsys):
    path = checkout / "ops" / "hook" / "golden" / "expectations.json"
    expected = json.loads(path.read_text())
    expected["pictures"][0]["logits"][3] += 9
    path.write_text(json.dumps(expected))
    the_one(found(checkout, capsys), "golden answers differ")


def refusal(path):
    findings, contract = model_checks.check(path)
    assert contract is None
    return findings


def test_a_model_that_can_be_served_has_its_contract(tmp_path):
    path = write_tiny_model(tmp_path / "tiny.onnx")
    assert model_checks.check(path) == ([], CONTRACT)


def test_a_missing_model_and_a_file_that_is_none_are_found(tmp_path):
    the_one(refusal(tmp_path / "missing.onnx"), "cannot be read")
    (tmp_path / "note.onnx").write_text("dear model")
    the_one(refusal(tmp_path / "note.onnx"), "note.onnx")


def test_a_contract_that_the_code_cannot_honour_is_found(tmp_path):
    value = CONTRACT.to_json() | {"version": 99}
    path = tmp_path / "new.onnx"
    write_tiny_model(path, metadata={METADATA_KEY: json.dumps(value)})
    the_one(refusal(path), "this code refuses it", "'version' is 99")


def test_a_second_model_that_is_another_file_is_found(tmp_path):
    path = write_tiny_cascade(tmp_path / "tiny.onnx", sure_above=0.9)
    write_tiny_cascade(tmp_path / "other.onnx", sure_above=0.9, name="another")
    the_one(refusal(path), "is not the file that the contract's field 'second' names")


@pytest.mark.parametrize("is_there", [True, False])
def test_weights_outside_of_the_file_are_found(tmp_path, is_there):
    model = onnx.load(str(write_tiny_model(tmp_path / "tiny.onnx")))
    path = tmp_path / "split.onnx"
    onnx.save(
        model, str(path), save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    if not is_there:
        (tmp_path / "weights.bin").unlink()
    (finding,) = refusal(path)
    assert "weights.bin" in str(finding)
    assert ("missing" in str(finding)) == (not is_there)


@pytest.mark.parametrize(
    ("field", "word"), [("ir_version", "IR version 99"), ("opset", "opset 99")]
)
def test_a_model_newer_than_the_pinned_runtime_is_found(tmp_path, field, word):
    model = onnx.load(str(write_tiny_model(tmp_path / "tiny.onnx")))
    if field == "ir_version":
        model.ir_version = 99
    else:
        model.opset_import[0].version = 99
    path = tmp_path / "newer.onnx"
    onnx.save(model, str(path))
    the_one(refusal(path), word, "onnxruntime ")


def test_a_single_manifest_of_the_right_kind_is_in_order():
    assert image_checks.manifest("image", FACTS, "x86_64") == []
    named = FACTS | {"Descriptor": {"mediaType": image_checks.MANIFESTS[1]}}
    assert image_checks.manifest("image", named, "x86_64") == []


def test_an_index_with_attestations_is_found():
    kind = "application/vnd.oci.image.index.v1+json"
    facts = FACTS | {"Descriptor": {"mediaType": kind}}
    the_one(image_checks.manifest("image", facts, "x86_64"), kind, "without attestations")


def test_an_image_for_another_architecture_is_found():
    the_one(image_checks.manifest("image", FACTS, "arm64"), "built for x86_64")


@pytest.mark.parametrize(("size", "word"), [(1_100_000_000, "1 GB"), (11_000_000_000, "10 GB")])
def test_a_large_image_is_found(size, word):
    the_one(image_checks.manifest("image", FACTS | {"Size": size}, "x86_64"), word)


@pytest.mark.parametrize(
    "line", ["numpy", "numpy>=2", "numpy==2.4.6", "numpy==2.* --hash=sha256:0"]
)
def test_a_requirement_without_version_and_hash_is_found(tmp_path, line):
    path = tmp_path / "requirements.txt"
    path.write_text(f"# the image's\npillow==1.0 \\\n    --hash=sha256:0\n{line}\n")
    the_one(image_checks.unpinned(path), "numpy", "not pinned")


class Wheel(Distribution):
    def __init__(self, name, tag):
        self._texts = {"METADATA": f"Name: {name}\nVersion: 1.0\n", "WHEEL": f"Tag: {tag}\n"}

    def read_text(self, filename):
        return self._texts.get(filename)

    def locate_file(self, path):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("tag", "is_found"),
    [
        ("cp313-cp313-manylinux_2_39_x86_64", True),
        ("cp313-cp313-manylinux_2_34_x86_64", False),
        ("cp313-cp313-manylinux2014_x86_64", False),
        ("cp313-cp313-macosx_14_0_arm64", False),
        ("py3-none-any", False),
    ],
)
def test_a_wheel_that_needs_a_newer_glibc_than_the_base_is_found(tmp_path, tag, is_found):
    path = tmp_path / "requirements.txt"
    path.write_text("onnxruntime==1.0\n")
    wheels = [Wheel("onnxruntime", tag), Wheel("unpinned", "cp313-cp313-manylinux_2_99_x86_64")]
    findings = image_checks.too_new_wheels(path, (2, 34), wheels)
    if is_found:
        the_one(findings, "needs glibc 2.39", "has 2.34")
    else:
        assert findings == []


@pytest.mark.parametrize(
    ("base", "glibc"),
    [
        ("public.ecr.aws/lambda/python:3.13", (2, 34)),
        ("public.ecr.aws/lambda/python:3.11", (2, 26)),
        ("debian:12", None),
    ],
)
def test_the_bases_glibc_is_known_by_its_tag(tmp_path, base, glibc):
    (tmp_path / "Dockerfile").write_text(f"# an image\nFROM {base}\n")
    assert image_checks.base_glibc(tmp_path / "Dockerfile") == glibc


def test_an_image_that_does_not_start_read_only_is_found(monkeypatch):
    failed = SimpleNamespace(
        returncode=1, stderr="Traceback\nOSError: Read-only file system: 'x'\n"
    )
    monkeypatch.setattr(image_checks, "_docker", lambda *words: failed)
    the_one(image_checks.runs_read_only("image"), "Read-only file system")


def test_without_an_image_the_doctor_says_what_it_did_not_see(checkout, capsys):
    doctor.main(["--image", "no-such-image:latest"], checkout)
    assert "The image was not looked at" in capsys.readouterr().out
