"""`make doctor` reports mistakes in the model file, the image and its requirements."""

import json
from importlib.metadata import Distribution
from types import SimpleNamespace

import onnx
import pytest

from ops.checks import image as image_checks
from ops.checks import model as model_checks
from serving.model.contract import METADATA_KEY
from tests.findings import the_one
from tests.tiny_model import CONTRACT, write_tiny_model

FACTS = {"Architecture": "amd64", "Size": 462_000_000}


def refusal(path):
    findings, contract = model_checks.check(path)
    assert contract is None
    return findings


def test_a_model_that_can_be_served_has_its_contract(tmp_path):
    path = write_tiny_model(tmp_path / "tiny.onnx")
    assert model_checks.check(path) == ([], CONTRACT)


def test_a_missing_model_and_a_file_that_is_not_a_model_are_found(tmp_path):
    the_one(refusal(tmp_path / "missing.onnx"), "cannot be read")
    (tmp_path / "note.onnx").write_text("dear model")
    the_one(refusal(tmp_path / "note.onnx"), "note.onnx")


def test_a_contract_that_the_code_cannot_honour_is_found(tmp_path):
    value = CONTRACT.to_json() | {"version": 99}
    path = tmp_path / "new.onnx"
    write_tiny_model(path, metadata={METADATA_KEY: json.dumps(value)})
    the_one(refusal(path), "serving refuses it", "'version' is 99")


def test_a_contract_that_names_a_second_network_is_found(tmp_path):
    value = CONTRACT.to_json() | {"second": {"file": "second.onnx"}}
    path = write_tiny_model(tmp_path / "two.onnx", metadata={METADATA_KEY: json.dumps(value)})
    the_one(refusal(path), "'second' names another network")


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
