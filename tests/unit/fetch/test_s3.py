"""Objects from S3, with boto3's client and botocore's stub instead of the network."""

import threading
from contextlib import suppress
from io import BytesIO

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError
from botocore.response import StreamingBody
from botocore.stub import Stubber

from serving.app import App
from serving.errors import (
    InvalidRequestError,
    RemoteFailedError,
    RemoteTimeoutError,
    TooLargeError,
)
from serving.fetch.s3 import S3Fetcher
from serving.settings import Settings
from tests.conftest import no_fetch
from tests.loopback import response, serving

SETTINGS = Settings(fetch_max_bytes=10_000)


@pytest.fixture
def client():
    return boto3.client(
        "s3", region_name="eu-central-1", aws_access_key_id="x", aws_secret_access_key="y"
    )


def stubbed(client, body=b"picture", key="a/b c.jpg"):
    stub = Stubber(client)
    answer = {"Body": StreamingBody(BytesIO(body), len(body)), "ContentLength": len(body)}
    stub.add_response("get_object", answer, {"Bucket": "my-bucket", "Key": key})
    stub.activate()
    return S3Fetcher(SETTINGS, client)


def test_an_object_comes_back_as_it_is(client):
    assert stubbed(client)("s3://my-bucket/a/b c.jpg", timeout_s=5) == b"picture"


def test_a_version_of_an_object_may_be_named(client):
    stub = Stubber(client)
    answer = {"Body": StreamingBody(BytesIO(b"picture"), 7), "ContentLength": 7}
    stub.add_response("get_object", answer, {"Bucket": "my-bucket", "Key": "a", "VersionId": "v1"})
    stub.activate()
    assert S3Fetcher(SETTINGS, client).read("my-bucket", "a", "v1", timeout_s=5) == b"picture"


def test_a_request_may_name_an_object(client, classifier, red_jpeg):
    app = App(classifier, SETTINGS, no_fetch, stubbed(client, red_jpeg, "red.jpg"))
    assert app.handle({"s3": "s3://my-bucket/red.jpg"}, "request-1")["label"] == "red"


def test_a_batchs_first_objects_share_one_client(monkeypatch, classifier, red_jpeg):
    two, made = threading.Barrier(2), []

    class Fetcher:
        def __init__(self, settings):
            made.append(self)
            with suppress(threading.BrokenBarrierError):
                two.wait(0.3)  # for another that would be made meanwhile

        def __call__(self, url, *, timeout_s):
            return red_jpeg

    monkeypatch.setattr("serving.fetch.s3.S3Fetcher", Fetcher)
    app = App(classifier, SETTINGS, no_fetch)
    images = [{"s3": "s3://my-bucket/red.jpg"}] * 4
    results = app.handle({"images": images}, "request-1")["results"]
    assert [result["label"] for result in results] == ["red"] * 4
    assert len(made) == 1


def test_an_object_over_the_limit_is_not_read(client):
    with pytest.raises(TooLargeError, match="10,000"):
        stubbed(client, b"x" * 10_001)("s3://my-bucket/a/b c.jpg", timeout_s=5)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://",
        "s3://bucket",
        "s3://bucket/",
        "s3:///key",
        "s3://UPPER/key",
        "s3://b/key",
        "s3://arn:aws:s3:::bucket/key",
        "s3://169.254.169.254:80/key",
        "http://bucket/key",
        "s3://my_bucket/key",
        "s3://bucket/" + "k" * 1_025,
    ],
)
def test_a_uri_without_bucket_and_key_is_refused(client, uri):
    with pytest.raises(InvalidRequestError, match="s3://bucket/key"):
        S3Fetcher(SETTINGS, client)(uri, timeout_s=5)


@pytest.mark.parametrize("code", ["NoSuchKey", "NoSuchBucket", "AccessDenied"])
def test_an_object_that_s3_refuses_is_a_failed_remote(client, code):
    stub = Stubber(client)
    stub.add_client_error("get_object", code, "secret words", 404)
    stub.activate()
    with pytest.raises(RemoteFailedError, match=code) as failure:
        S3Fetcher(SETTINGS, client)("s3://my-bucket/key", timeout_s=5)
    assert "secret" not in failure.value.detail


class Failing:
    def __init__(self, error):
        self.error = error

    def get_object(self, **_):
        raise self.error


def test_a_client_is_made_from_the_environment_when_needed(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with serving(response(status="404 Not Found")) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.port}")
        with pytest.raises(RemoteFailedError, match="S3 refused"):
            S3Fetcher(SETTINGS)("s3://my-bucket/key.jpg", timeout_s=5)
        assert server.heads[0].startswith(b"GET /my-bucket/key.jpg ")


def test_a_function_without_a_region_says_that_s3_cannot_be_reached(monkeypatch):
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(RemoteFailedError):
        S3Fetcher(SETTINGS)("s3://my-bucket/key.jpg", timeout_s=5)


def test_a_network_that_fails_is_a_failed_or_late_remote():
    fetch = S3Fetcher(SETTINGS, Failing(EndpointConnectionError(endpoint_url="x")))
    with pytest.raises(RemoteFailedError, match="reached"):
        fetch("s3://my-bucket/key", timeout_s=5)
    fetch = S3Fetcher(SETTINGS, Failing(ReadTimeoutError(endpoint_url="x")))
    with pytest.raises(RemoteTimeoutError):
        fetch("s3://my-bucket/key", timeout_s=5)


def test_an_object_that_does_not_arrive_times_out():
    import threading

    over = threading.Event()

    class Stalled:
        def get_object(self, **_):
            over.wait(10)

    with pytest.raises(RemoteTimeoutError):
        S3Fetcher(SETTINGS, Stalled())("s3://my-bucket/key", timeout_s=0.1)
    over.set()
