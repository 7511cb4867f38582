"""Unsure photos in S3, as moto plays it: what is kept, how much, and never in the answer's way."""

import hashlib
import json
import re
import threading
import time
from dataclasses import replace

import boto3
import pytest
from moto import mock_aws

from serving import keep
from serving.app import App
from serving.keep import Keeper
from serving.model.classifier import Classifier
from serving.settings import Settings
from tests.conftest import no_fetch
from tests.drawn import encoded, picture
from tests.invocations import event

PLACE = "s3://kept-photos/unsure"
SETTINGS = Settings(keep_unsure=PLACE, keep_timeout_s=10)


@pytest.fixture
def bucket():
    with mock_aws():
        made = boto3.resource("s3", region_name="us-east-1").Bucket("kept-photos")
        made.create()
        yield made


@pytest.fixture
def unsure(classifier):
    """The tiny model, sure only of strong colours."""
    contract = replace(classifier.contract, unsure_below=0.9)
    return Classifier(classifier._session, contract, classifier.version)


@pytest.fixture(autouse=True)
def region(monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


def app_with(model, **changes) -> App:
    return App(model, replace(SETTINGS, **changes), no_fetch)


def grey(seed: int, file_format: str = "PNG") -> bytes:
    return encoded(picture("red", seed=seed).convert("L").convert("RGB"), file_format)


def test_an_unsure_photo_is_kept_as_it_came_beside_its_answer(unsure, bucket):
    photo = grey(1)
    made = event("function_url", body=photo, query="top_k=1")
    answer = json.loads(app_with(unsure).handle(made, "request-1")["body"])
    objects = {o.key: o.get() for o in bucket.objects.all()}
    assert sorted(o["ContentType"] for o in objects.values()) == ["application/json", "image/png"]
    name = hashlib.sha256(photo).hexdigest()
    assert all(re.fullmatch(rf"unsure/\d{{4}}-\d\d-\d\d/{name}\.(json|png)", k) for k in objects)
    said, kept = (objects[key]["Body"].read() for key in sorted(objects))
    assert kept == photo
    beside = json.loads(said)
    assert len(beside.pop("predictions")) == 3  # whatever the request asks for
    assert beside == {k: v for k, v in answer.items() if k not in ("predictions", "timings_ms")}


def test_a_photo_that_the_model_is_sure_of_is_not_kept(unsure, bucket, red_jpeg):
    made = event("function_url", body=red_jpeg, query="threshold=1")
    assert json.loads(app_with(unsure).handle(made, "request-1")["body"])["unsure"]
    assert list(bucket.objects.all()) == []


def test_of_a_batch_the_unsure_ones_are_kept(unsure, bucket, red_jpeg):
    import base64

    files = [grey(2, "JPEG"), red_jpeg, b"no image", grey(3, "BMP")]
    images = [{"image": base64.b64encode(file).decode()} for file in files]
    app_with(unsure, inference_threads=2).handle({"images": images}, "request-1")
    kept = [key for o in bucket.objects.all() if not (key := o.key).endswith(".json")]
    hashes = {hashlib.sha256(file).hexdigest() for file in (files[0], files[3])}
    assert {key.split("/")[-1].split(".")[0] for key in kept} == hashes


@pytest.mark.parametrize(("share", "most"), [(1.0, 10), (0.5, 5), (0.29, 2), (0.0, 0)])
def test_at_most_the_set_share_is_kept(share, most, unsure, bucket):
    app = app_with(unsure, keep_share=share)
    for seed in range(10):
        app.handle(event("function_url", body=grey(seed)), "request-1")
        assert len(list(bucket.objects.all())) / 2 <= share * (seed + 1)
    assert len(list(bucket.objects.all())) == 2 * most


def test_a_bucket_that_is_not_there_costs_a_line_in_the_log(unsure, capsys):
    with mock_aws():
        answer = app_with(unsure).handle(event("function_url", body=grey(1)), "request-1")
    assert answer["statusCode"] == 200
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (line["level"], line["message"], line["request_id"]) == (
        *("WARNING", "not kept", "request-1"),
    )
    assert "NoSuchBucket" in line["detail"]


class Hanging:
    """A client whose S3 never answers until `released`."""

    def __init__(self):
        self.released, self.calls = threading.Event(), 0

    def put_object(self, **_):
        self.calls += 1
        assert self.released.wait(20)


def test_an_s3_that_hangs_holds_the_answer_up_once_and_briefly():
    client = Hanging()
    keeper = Keeper(replace(SETTINGS, keep_timeout_s=0.1), client)
    keeper.offer(grey(1), {})
    started = time.monotonic()
    assert "within 0.1 s" in keeper.write(30)
    keeper.offer(grey(2), {})
    assert "less than 60 s ago" in keeper.write(30)
    assert time.monotonic() - started < 5
    assert client.calls == 1
    client.released.set()


def test_photos_that_wait_for_s3_have_a_limit_of_bytes(monkeypatch):
    photo, client = grey(1), Hanging()
    monkeypatch.setattr(keep, "MAX_HELD_BYTES", 2 * len(photo))
    keeper = Keeper(replace(SETTINGS, keep_timeout_s=0.1), client)
    keeper.offer(photo, {})
    assert "S3 did not answer" in keeper.write(30)  # and still has the first
    for _ in range(5):
        keeper.offer(photo, {})
    assert keeper._held_bytes == 2 * len(photo)
    client.released.set()


def test_without_time_left_nothing_is_tried():
    client = Hanging()
    keeper = Keeper(SETTINGS, client)
    keeper.offer(grey(1), {})
    assert keeper.write(0.4) == "the time was up"
    assert client.calls == keeper._held_bytes == 0


def test_a_service_that_keeps_nothing_never_imports_it():
    from tests.unit.serving.test_import_budget import modules_after

    assert "serving.keep" not in modules_after("import serving.app")
