"""bulk/template.yaml in an emulated account, with drawn photos and a function that may fail.

In moto, AWS and the function live in the test's process. ministack is a process of its own that
runs the handler in others, reads queues and keeps to tolerated failures, which moto does not.
"""

import json
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from samtranslator.yaml_helper import yaml_parse

from bulk.handler import Bulk
from local.backends import ROOT
from serving.app import App
from serving.errors import RemoteFailedError
from serving.model.classifier import Classifier
from serving.settings import Settings
from tests.deployment import dumped
from tests.drawn import COLOURS, encoded, picture
from tests.ministack import ministack

Json = dict[str, Any]
STACK, PHOTOS, INBOX = "photos-bulk", "photos", "arrivals"
REGION = "eu-west-1"
IMAGE_URI = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/photos@sha256:0"
TEMPLATE = ROOT / "bulk" / "template.yaml"
_GOOD = encoded(picture())
# What cannot be read, in turn; the last one is listed and not there.
BAD = (b"<html>no image</html>", _GOOD[: len(_GOOD) // 2], b"", None)


def source() -> Json:
    """The template, its short forms (!Ref) written out."""
    template: Json = yaml_parse(TEMPLATE.read_text())
    return template


def definition(**values: str) -> Json:
    """The state machine as Step Functions gets it; `values` replace the parameters' defaults."""
    template = source()
    known = {name: str(p.get("Default", "")) for name, p in template["Parameters"].items()} | values
    text = template["Resources"]["ShardMap"]["Properties"]["DefinitionString"]["Fn::Sub"]
    made: Json = json.loads(re.sub(r"\$\{([\w.:]+)\}", lambda m: known.get(m[1], "aws"), text))
    return made


def drawn_photos(count: int) -> dict[str, bytes | None]:
    """By key; every 100th cannot be read, or is None and missing."""
    colours = list(COLOURS)
    photos: dict[str, bytes | None] = {}
    for number in range(count):
        key = f"in/{number % 7}/photo {number:05} ü+%.jpg"
        if number % 100 == 99:
            photos[key] = BAD[number // 100 % len(BAD)]
        else:
            photos[key] = encoded(picture(colours[number % 3], seed=number))
    return photos


def handlers_answers(classifier: Classifier, photos: dict[str, bytes | None]) -> dict[str, Json]:
    """By URI, what the service's own handler answers; of a problem only its code."""

    def fetch(url: str, *, timeout_s: float) -> bytes:
        content = photos[url.removeprefix(f"s3://{PHOTOS}/")]
        if not content:
            raise RemoteFailedError("as S3Fetcher says of what is empty or missing")
        return content

    app = App(classifier, Settings(), fetch_s3=fetch)
    return {
        uri: known(app.handle({"s3": uri}, "request-1"))
        for uri in (f"s3://{PHOTOS}/{key}" for key in photos)
    }


def known(answer: Json) -> Json:
    """An answer without what differs between two calls; of a problem its code."""
    if "code" in answer:
        return {"code": answer["code"]}
    return {k: v for k, v in answer.items() if k not in ("timings_ms", "photo", "version")}


def _template(
    environment: Json | None = None, shim: str | None = None, without: tuple[str, ...] = ()
) -> str:
    template = json.loads(json.dumps(source()))
    resources = {n: r for n, r in template["Resources"].items() if r["Type"] not in without}
    if resources["Inbox"]["DependsOn"] not in resources:
        del resources["Inbox"]["DependsOn"]
    template["Resources"] = resources
    properties = resources["BulkFunction"]["Properties"]
    properties["Environment"]["Variables"] |= environment or {}
    if (
        shim is not None
    ):  # ministack runs no images here, and reads a number as CloudFormation's text
        resources["InboxMessages"]["Properties"]["ScalingConfig"] = {"MaximumConcurrency": 2}
        for name in ("PackageType", "ImageConfig"):
            del properties[name]
        properties |= {
            "Code": {"ZipFile": shim},
            "Runtime": "python3.13",
            "Handler": "index.handler",
        }
    return dumped(template)


def _deploy(**parameters: str) -> None:
    stacks = boto3.client("cloudformation")
    template = parameters.pop("template")
    given = {"ImageUri": IMAGE_URI, "InboxBucket": INBOX, "Concurrency": "2", **parameters}
    stacks.create_stack(
        StackName=STACK,
        TemplateBody=template,
        Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in given.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    stacks.get_waiter("stack_create_complete").wait(
        StackName=STACK, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )


def outputs() -> dict[str, str]:
    """The deployed stack's."""
    (stack,) = boto3.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def put(photos: dict[str, bytes | None]) -> None:
    """Make the bucket of photos."""
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=PHOTOS, CreateBucketConfiguration={"LocationConstraint": REGION})
    for key, content in photos.items():
        if content is not None:
            s3.put_object(Bucket=PHOTOS, Key=key, Body=content)


class Failing:
    """The function in moto: fails before its work or after it, at random."""

    def __init__(self, classifier: Classifier, seed: int) -> None:
        self._classifier = classifier
        self._random = random.Random(seed)
        self.share = 0.0
        self.invocations = 0

    def invoke(
        self, _: Any, name: str, qualifier: Any, body: Any, headers: Any, out: Json
    ) -> bytes:
        """Stands for moto's own, which answers what it is sent."""
        self.invocations += 1
        drawn = self._random.random()
        bulk = Bulk(
            self._classifier, Settings(inference_threads=2), boto3.client("s3"), outputs()["Bucket"]
        )
        try:
            if drawn < self.share / 2:
                raise RuntimeError("fails before its work")
            answer = bulk.handle(json.loads(body), "request-1", remaining_s=60)
            if drawn < self.share:
                raise RuntimeError("fails after its work")
        except Exception as error:  # noqa: BLE001 - as Lambda reports whatever it was
            out["x-amz-function-error"] = "Unhandled"
            answer = {"errorType": type(error).__name__, "errorMessage": str(error)}
        return json.dumps(answer).encode()


@contextmanager
def in_moto(classifier: Classifier, monkeypatch: Any, seed: int) -> Iterator[Failing]:
    """The stack in moto."""
    from moto import mock_aws

    credentials(monkeypatch)
    function = Failing(classifier, seed)
    config: Any = {
        "stepfunctions": {"execute_state_machine": True},
        "lambda": {"use_docker": False},
    }
    invoke = "moto.awslambda_simple.models.LambdaSimpleBackend.invoke"
    monkeypatch.setattr(invoke, lambda *words: function.invoke(*words))
    # moto knows no children of a Map Run, and fails when it is asked for them.
    listing = "moto.stepfunctions.responses.StepFunctionResponse.list_executions"
    monkeypatch.setattr(listing, lambda _: '{"executions": []}')
    with mock_aws(config=config):
        _deploy(template=_template(without=("AWS::SQS::QueuePolicy", "AWS::CloudWatch::Alarm")))
        _let_execute()
        yield function


def _let_execute() -> None:
    """Make moto's state machine again where it is executed; CloudFormation makes it elsewhere."""
    from moto.stepfunctions.models import stepfunctions_backends

    (made,) = stepfunctions_backends["123456789012"][REGION].state_machines
    text = json.loads(made.definition)
    shards = text["States"]["Shards"]
    # Its parser takes no whole number here, and its retries wait in earnest.
    shards["ToleratedFailurePercentage"] = float(shards["ToleratedFailurePercentage"])
    del shards["ItemProcessor"]["States"]["Classify"]["Retry"]
    boto3.client("stepfunctions").create_state_machine(
        name=made.name, definition=json.dumps(text), roleArn=made.roleArn
    )


def credentials(monkeypatch: Any, endpoint: str | None = None) -> None:
    """What boto3 finds in the environment."""
    given = {"ACCESS_KEY_ID": "none", "SECRET_ACCESS_KEY": "none", "DEFAULT_REGION": REGION}
    for name, value in given.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    if endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)


_SHIM = """
import os, random, sys
sys.path[:0] = [{root!r}]
from bulk.handler import lambda_handler

chaos = random.Random(int(os.environ["SEED"]) + os.getpid())

def handler(event, context):
    drawn, share = chaos.random(), float(os.environ["FAILING"])
    if drawn < share / 2:
        raise RuntimeError("fails before its work")
    answer = lambda_handler(event, context)
    if drawn < share:
        raise RuntimeError("fails after its work")
    return answer
"""


@contextmanager
def in_ministack(
    model: Path, monkeypatch: Any, seed: int, *, failing: float, **parameters: str
) -> Iterator[None]:
    """The stack in ministack; `failing` is the share of invocations that fail."""
    with ministack(SFN_WAIT_SCALE="0") as url:
        credentials(monkeypatch, url)
        environment = {"MODEL_PATH": str(model), "SEED": str(seed), "FAILING": str(failing)}
        shim = _SHIM.format(root=str(ROOT))
        _deploy(template=_template(environment, shim), **parameters)
        yield
