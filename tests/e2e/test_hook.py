"""The PreTraffic hook as CodeDeploy runs it, against the real emulator and the bundled model."""

import os
import sys
from contextlib import contextmanager

import pytest

from local import backends
from local.emulator import Emulator, binary_path
from ops.hook import pretraffic
from serving.model.classifier import Classifier
from tests.aws_stand_in import stand_in
from tests.e2e.conftest import NO_EMULATOR
from tests.tampering import TAMPERINGS, write_tampered

MODEL = backends.ROOT / "model" / "classifier.onnx"
EVENT = {"DeploymentId": "d-1", "LifecycleEventHookExecutionId": "hook-1"}

pytestmark = pytest.mark.skipif(binary_path() is None, reason=NO_EMULATOR)


@contextmanager
def deployed(model, monkeypatch):
    """The function with this model is what boto3 finds as Lambda; yields CodeDeploy."""
    environ = {**os.environ, "MODEL_PATH": str(model)}
    function = backends.start("emulator", backends.FunctionConfig(environ, sys.stderr))
    assert isinstance(function, Emulator)
    try:
        with stand_in() as codedeploy:
            emulator = f"http://127.0.0.1:{function._interface._port}"
            for name, value in {
                "AWS_ENDPOINT_URL_LAMBDA": emulator,
                "AWS_ENDPOINT_URL_CODEDEPLOY": codedeploy.url,
                "AWS_DEFAULT_REGION": "eu-west-1",
                "AWS_ACCESS_KEY_ID": "none",
                "AWS_SECRET_ACCESS_KEY": "none",
                pretraffic.NEW_VERSION: "function",  # the only name that the emulator knows
            }.items():
                monkeypatch.setenv(name, value)
            yield codedeploy
    finally:
        function.close()


def told(codedeploy):
    ((operation, request),) = codedeploy.sent
    assert operation == "PutLifecycleEventHookExecutionStatus"
    assert request["deploymentId"] == "d-1"
    assert request["lifecycleEventHookExecutionId"] == "hook-1"
    return request["status"]


def test_the_bundled_model_passes(monkeypatch):
    with deployed(MODEL, monkeypatch) as codedeploy:
        answer = pretraffic.lambda_handler(EVENT, None)
    assert answer["problems"] == []
    assert told(codedeploy) == "Succeeded"


@pytest.mark.parametrize("name", TAMPERINGS)
def test_a_model_with_it_is_failed(name, monkeypatch, tmp_path):
    model = write_tampered(MODEL, tmp_path / "classifier.onnx", TAMPERINGS[name])
    Classifier.load(model)  # by itself it is in order
    with deployed(model, monkeypatch) as codedeploy:
        answer = pretraffic.lambda_handler(EVENT, None)
    assert len(answer["problems"]) > 0
    assert all("expected" in line for line in answer["problems"])
    assert told(codedeploy) == "Failed"


def test_a_function_that_does_not_start_is_failed(monkeypatch, tmp_path):
    with deployed(tmp_path / "missing.onnx", monkeypatch) as codedeploy:
        pretraffic.lambda_handler(EVENT, None)
    assert told(codedeploy) == "Failed"
