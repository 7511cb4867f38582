"""A model without a valid contract is refused at init, with the name of the wrong field."""

import json

import numpy as np
import onnx
import pytest
from onnx import helper

from serving.errors import ContractError
from serving.model.classifier import Classifier, softmax
from serving.model.contract import METADATA_KEY, Contract
from serving.model.preprocess import PreprocessSpec
from tests.tiny_model import CONTRACT, write_tiny_model

GOOD = CONTRACT.to_json()


def test_a_contract_survives_being_written_and_read():
    assert Contract.from_json(json.loads(json.dumps(GOOD))) == CONTRACT


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", 4),
        ("version", None),
        ("name", None),
        ("name", 5),
        ("classes", []),
        ("classes", "red"),
        ("classes", ["red", 5]),
        ("classes", ["red", "red"]),
        ("preprocess", None),
        ("temperature", 0),
        ("temperature", "1"),
        ("temperature", True),
        ("temperature", float("nan")),
        ("temperature", 10**400),
        ("unsure_below", 1.1),
        ("unsure_below", -0.1),
        ("manifest_sha256", None),
        ("metrics", []),
        ("explanation", None),
        ("explanation", {"exact": "yes"}),
        ("explanation", {"exact": True, "because": "it is old"}),
        ("explanation", {"exact": False}),
    ],
)
def test_a_field_that_cannot_be_honoured_is_refused_by_name(field, value):
    with pytest.raises(ContractError, match=f"'{field}'"):
        Contract.from_json({**GOOD, field: value})


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_contract_that_names_a_second_network_is_refused(tmp_path, version):
    value = {**GOOD, "version": version, "second": {"file": "second.onnx"}}
    path = write_tiny_model(tmp_path / "two.onnx", metadata={METADATA_KEY: json.dumps(value)})
    with pytest.raises(ContractError, match=r"'second' names another network.*train one network"):
        Classifier.load(path)


@pytest.mark.parametrize("field", [name for name in GOOD if name != "metrics"])
def test_a_field_that_is_missing_is_refused_by_name(field):
    value = {name: content for name, content in GOOD.items() if name != field}
    with pytest.raises(ContractError, match=f"'{field}'"):
        Contract.from_json(value)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({}, "no metadata"),
        ({METADATA_KEY: "{"}, "not JSON"),
        ({METADATA_KEY: "9" * 5_000}, "not JSON"),
        ({METADATA_KEY: "[" * 100_000}, "not JSON"),
        ({METADATA_KEY: "[]"}, "must be a JSON object"),
    ],
)
def test_a_model_without_a_readable_contract_is_refused(tmp_path, metadata, said):
    path = write_tiny_model(tmp_path / "m.onnx", metadata=metadata)
    with pytest.raises(ContractError, match=said):
        Classifier.load(path)


def test_a_model_that_is_missing_is_refused_by_its_path(tmp_path):
    with pytest.raises(ContractError, match=r"absent\.onnx cannot be read"):
        Classifier.load(tmp_path / "absent.onnx")


def test_a_file_that_is_no_model_is_refused_by_its_path(tmp_path):
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    with pytest.raises(ContractError, match=r"cannot load .*junk\.onnx"):
        Classifier.load(tmp_path / "junk.onnx")


def test_a_size_that_the_network_does_not_have_is_refused(tmp_path):
    path = write_tiny_model(tmp_path / "m.onnx")
    model = onnx.load(str(path))
    other = {**GOOD, "preprocess": PreprocessSpec.square(8).to_json()}
    helper.set_model_props(model, {METADATA_KEY: json.dumps(other)})
    onnx.save(model, str(path))
    with pytest.raises(ContractError, match="'preprocess' asks for"):
        Classifier.load(path)


def test_a_number_of_classes_that_the_network_does_not_have_is_refused(tmp_path):
    with pytest.raises(ContractError, match="'classes' names 2"):
        Classifier.load(write_tiny_model(tmp_path / "m.onnx", classes=("red", "green")))


def test_the_version_is_the_files_hash(tmp_path):
    import hashlib

    path = write_tiny_model(tmp_path / "m.onnx")
    assert (
        Classifier.load(path).version == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    )


def test_probabilities_are_the_softmax_of_logits_by_temperature(tmp_path):
    classifier = Classifier.load(write_tiny_model(tmp_path / "m.onnx", temperature=2.0))
    logits = np.array([[1.0, 2.0, 3.0], [1e4, 0.0, -1e4]], np.float32)
    powers = [np.exp(value / 2) for value in (1, 2, 3)]
    wanted = [[power / sum(powers) for power in powers], [1, 0, 0]]
    np.testing.assert_allclose(classifier.probabilities(logits), wanted, atol=1e-12)


def test_softmax_of_equal_logits_is_even_at_any_size():
    np.testing.assert_allclose(softmax(np.full((2, 4), 1e300)), np.full((2, 4), 0.25))


def test_of_equal_probabilities_the_first_class_comes_first(classifier):
    predictions = classifier.top_k(np.array([0.25, 0.5, 0.25]), 3)
    assert [p.label for p in predictions] == ["green", "blue", "red"]
