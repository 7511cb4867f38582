"""What an S3 on loopback may answer, through boto3's own client and the handler.

Each failure is that item's 502 or 504, the other items are answered, and no key gets into the log.
"""

import gzip
from typing import Any

import boto3
import pytest
from botocore.config import Config

from serving.app import App
from serving.fetch.s3 import S3Fetcher
from serving.settings import Settings
from tests.conftest import no_fetch
from tests.drawn import encoded, picture
from tests.loopback import dripping, response, serving, silent

JPEG = encoded(picture("red"))
KEY = "private-person-4711.jpg"
SETTINGS = Settings(fetch_max_bytes=100_000, fetch_timeout_s=1.0)
ERROR = (
    "<?xml version='1.0'?><Error><Code>{}</Code><Message>of " + KEY + "</Message>"
    "<Key>" + KEY + "</Key></Error>"
)


def refused(status: str, code: str) -> bytes:
    return response(ERROR.format(code).encode(), status=status, content_type="application/xml")


def chunked(data: bytes) -> bytes:
    return b"%x\r\n" % len(data) + data + b"\r\n"


CHUNKED = response(length=None, transfer_encoding="chunked")

# What S3 answers -> the label or the status that the item gets.
ANSWERS: dict[str, tuple[Any, Any]] = {
    "the object": (response(JPEG), "red"),
    "stored as gzip": (response(gzip.compress(JPEG, mtime=0), content_encoding="gzip"), "red"),
    "labelled as gzip, and plain": (response(JPEG, content_encoding="gzip"), "red"),
    "stored as utf-8": (response(JPEG, content_encoding="utf-8"), "red"),
    "stored as aws-chunked": (response(JPEG, content_encoding="aws-chunked"), "red"),
    "without a length": (response(JPEG, length=None), "red"),
    "in chunks": (CHUNKED + chunked(JPEG) + b"0\r\n\r\n", "red"),
    "a gzip bomb": (
        response(gzip.compress(bytes(9_000_000), mtime=0), content_encoding="gzip"),
        413,
    ),
    "too large": (response(bytes(100_001)), 413),
    "too large without a length": (response(bytes(200_000), length=None), 413),
    "a page": (response(b"<html>"), 415),
    "empty": (response(b""), 502),
    "gzip cut short": (response(gzip.compress(JPEG, mtime=0)[:-9], content_encoding="gzip"), 502),
    "missing": (refused("404 Not Found", "NoSuchKey"), 502),
    "no such bucket": (refused("404 Not Found", "NoSuchBucket"), 502),
    "forbidden": (refused("403 Forbidden", "AccessDenied"), 502),
    "in the archive": (refused("403 Forbidden", "InvalidObjectState"), 502),
    "busy": (refused("503 Slow Down", "SlowDown"), 502),
    "of another region": (refused("301 Moved Permanently", "PermanentRedirect"), 502),
    "cut short": (response(JPEG[:-500], length=len(JPEG)), 502),
    "cut short in a chunk": (CHUNKED + chunked(JPEG)[:-500], 502),
    "nothing": (b"", 502),
    "not HTTP": (b"\0" * 999, 502),
    "silent": (silent, 504),
    "slow": (dripping(response(JPEG)), 504),
    "slow after the start": (dripping(response(JPEG), at_once=200), 504),
}


@pytest.fixture
def make_fetcher(monkeypatch):
    def make(port):
        client = boto3.client(
            "s3",
            region_name="eu-central-1",
            aws_access_key_id="x",
            aws_secret_access_key="y",
            endpoint_url=f"http://127.0.0.1:{port}",
            config=Config(read_timeout=3, retries={"total_max_attempts": 1}),
        )
        return S3Fetcher(SETTINGS, client)

    return make


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_of_s3_is_that_items_and_no_key_is_logged(classifier, make_fetcher, capsys, name):
    reply, wanted = ANSWERS[name]
    with serving(reply) as server:
        app = App(classifier, SETTINGS, no_fetch, make_fetcher(server.port))
        item = {"s3": f"s3://my-bucket/{KEY}"}
        answer = app.handle({"images": [item, {"image": "eA=="}]}, "request-1")
        first, second = answer["results"]
    assert first.get("label", first.get("status")) == wanted
    assert second["status"] == 415
    assert KEY not in str(answer)
    assert "4711" not in capsys.readouterr().out
