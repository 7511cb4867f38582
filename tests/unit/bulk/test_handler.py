"""One shard, and messages of the inbox's queue, through the bulk handler and moto's S3."""

import json
import random
import shutil
import subprocess
import sys
from urllib.parse import quote_plus

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from bulk.handler import Bulk, Photo, UnfinishedError, inbox_key
from local.backends import ROOT
from serving.app import App
from serving.settings import Settings
from tests.bulk_stack import credentials, known
from tests.conftest import no_fetch
from tests.drawn import encoded, picture
from tests.tiny_model import write_tiny_model

WORK, PHOTOS = "work", "photos"
EVENT = {"photos": "jobs/a/shards/00000.jsonl", "answers": "jobs/a/answers/00000.jsonl"}
RED, BLUE = encoded(picture("red")), encoded(picture("blue"), "PNG")


@pytest.fixture
def s3(monkeypatch):
    credentials(monkeypatch)
    with mock_aws():
        client = boto3.client("s3")
        for bucket in (WORK, PHOTOS):
            place = {"LocationConstraint": "eu-west-1"}
            client.create_bucket(Bucket=bucket, CreateBucketConfiguration=place)
        yield client


@pytest.fixture
def bulk(s3, classifier):
    return Bulk(classifier, Settings(inference_threads=2, fetch_max_bytes=100_000), s3, WORK)


def write_shard(s3, *uris):
    lines = "".join(json.dumps(uri) + "\n" for uri in uris)
    s3.put_object(Bucket=WORK, Key=EVENT["photos"], Body=lines.encode())


def rows(s3, key=EVENT["answers"]):
    content = s3.get_object(Bucket=WORK, Key=key)["Body"].read()
    return [json.loads(line) for line in content.splitlines()]


def keys(s3):
    return [e["Key"] for e in s3.list_objects_v2(Bucket=WORK).get("Contents", ())]


def put(s3, **photos):
    for key, content in photos.items():
        s3.put_object(Bucket=PHOTOS, Key=key, Body=content)
    return [f"s3://{PHOTOS}/{key}" for key in photos]


def test_a_row_is_the_handlers_answer_without_its_timings(s3, bulk, classifier):
    write_shard(s3, *put(s3, red=RED, blue=BLUE))
    assert bulk.handle(EVENT, "request-1", remaining_s=60) == {"photos": 2}
    app = App(
        classifier, Settings(), no_fetch, lambda url, timeout_s: RED if "red" in url else BLUE
    )
    answers = [app.handle({"s3": f"s3://x/{name}"}, "request-1") for name in ("red", "blue")]
    assert [known(row) for row in rows(s3)] == [known(answer) for answer in answers]
    assert [row["label"] for row in rows(s3)] == ["red", "blue"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"<html>", "unsupported_image"),
        (RED[:300], "undecodable_image"),
        (b"", "remote_failed"),
        (bytes(100_001), "too_large"),
        (None, "remote_failed"),
    ],
)
def test_a_photo_that_fails_is_a_row_with_its_code(s3, bulk, content, code):
    named = put(s3, red=RED, **({} if content is None else {"bad": content}))
    write_shard(s3, named[0], f"s3://{PHOTOS}/bad", named[0])
    bulk.handle(EVENT, "request-1", remaining_s=60)
    assert [row.get("code") for row in rows(s3)] == [None, code, None]


def test_a_shard_that_has_answers_is_not_done_again(s3, bulk):
    write_shard(s3, "s3://photos/gone")
    s3.put_object(Bucket=WORK, Key=EVENT["answers"], Body=b"{}\n")
    assert bulk.handle(EVENT, "request-1", remaining_s=60) == {"photos": 0}
    assert rows(s3) == [{}]


def test_what_the_time_is_too_short_for_is_left_to_the_next_attempt(s3, bulk):
    named = put(s3, **{str(n): encoded(picture(seed=n)) for n in range(5)})
    write_shard(s3, *named)
    for done in range(1, 5):
        with pytest.raises(UnfinishedError, match=f"^{done} of the shard's 5 photos"):
            bulk.handle(EVENT, "request-1", remaining_s=0)
        assert EVENT["answers"] not in keys(s3)
    bulk.handle(EVENT, "request-1", remaining_s=0)
    assert [row["photo"] for row in rows(s3)] == named
    assert keys(s3) == [EVENT["answers"], EVENT["photos"]]


def test_a_failure_that_nobody_expected_is_one_row_and_logged(s3, bulk, monkeypatch, capsys):
    write_shard(s3, *put(s3, red=RED, blue=BLUE))

    def fails(*_, **__):
        raise ZeroDivisionError("for a reason")

    monkeypatch.setattr("serving.predict.decode_scaled", fails)
    bulk.handle(EVENT, "request-7", remaining_s=60)
    assert {(row["code"], row["request_id"]) for row in rows(s3)} == {
        ("internal_error", "request-7")
    }
    assert "for a reason" in capsys.readouterr().out


def test_the_log_counts_and_names_no_photo(s3, bulk, capsys):
    write_shard(s3, *put(s3, red=RED, private=b"junk"))
    bulk.handle(EVENT, "request-1", remaining_s=60)
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["failed"] == {"unsupported_image": 1}
    assert "private" not in line


@pytest.mark.parametrize(
    "event", [None, [], {}, {"url": "https://x"}, {"photos": "a"}, {"Records": "a"}]
)
def test_another_event_is_refused_with_what_to_send(bulk, event):
    with pytest.raises(ValueError, match='"answers"'):
        bulk.handle(event, "request-1", remaining_s=60)


@pytest.mark.parametrize("uri", ["photos/red", "s3://photos", "s3://photos/", "s3:///red"])
def test_a_list_of_something_else_is_refused_by_the_name(uri):
    with pytest.raises(ValueError, match=uri):
        Photo.named(uri)


CALLED = """
from bulk.handler import lambda_handler

class Context:
    aws_request_id = "request-1"
    def get_remaining_time_in_millis(self): return 30000

try:
    lambda_handler({"photos": "a"}, Context())
except ValueError as error:
    print(error)
"""


def test_the_function_needs_nothing_but_what_the_image_holds(tmp_path):
    shutil.copytree(ROOT / "serving", tmp_path / "serving")
    (tmp_path / "bulk").mkdir()
    shutil.copy(ROOT / "bulk" / "handler.py", tmp_path / "bulk")
    environment = {
        **{"MODEL_PATH": str(write_tiny_model(tmp_path / "tiny.onnx")), "BULK_BUCKET": WORK},
        **{"AWS_DEFAULT_REGION": "eu-west-1", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "3538"},
    }
    done = subprocess.run(
        [sys.executable, "-c", CALLED],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "messages of a queue" in done.stdout, done.stderr


def arrived(key, version="", *, name=""):
    """A message as S3 and SQS make it."""
    which = {"key": quote_plus(key), **({"versionId": version} if version else {})}
    event = {"Records": [{"s3": {"bucket": {"name": PHOTOS}, "object": which}}]}
    return {"messageId": name or key, "eventSource": "aws:sqs", "body": json.dumps(event)}


def handled(bulk, *messages):
    answer = bulk.handle({"Records": list(messages)}, "request-1", remaining_s=60)
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


def test_redelivered_messages_in_any_order_change_nothing(s3, bulk):
    versioned = {"Status": "Enabled"}
    s3.put_bucket_versioning(Bucket=PHOTOS, VersioningConfiguration=versioned)
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chosen, messages, wanted = random.Random(seed), [], {}
    for number in range(60):
        colour = chosen.choice(["red", "green", "blue"])
        key = f"a b/{number % 20} ü+%.jpg"  # each is written over twice
        content = b"junk" if number == 30 else encoded(picture(colour, seed=number))
        version = s3.put_object(Bucket=PHOTOS, Key=key, Body=content)["VersionId"]
        messages.append(arrived(key, version, name=str(number)))
        wanted[inbox_key(Photo(PHOTOS, key, version))] = (
            "unsupported_image" if (number == 30) else colour
        )
    contents = []
    for _ in range(3):
        chosen.shuffle(messages)
        for start in range(0, 60, 10):
            assert handled(bulk, *messages[start : start + 10]) == []
        contents.append({key: rows(s3, key) for key in keys(s3)})
    assert contents[0] == contents[1] == contents[2]
    found = {key: row.get("label", row.get("code")) for key, (row,) in contents[0].items()}
    assert found == wanted


def test_only_the_messages_that_may_do_better_come_again(s3, bulk):
    put(s3, red=RED, junk=b"junk")
    malformed = [
        {"messageId": f"malformed {number}", "body": body}
        for number, body in enumerate(("not JSON", "[]", "null", '"text"', '{"Records": null}'))
    ]
    other = {"messageId": "other", "body": '{"Records": [{"s3": {}}]}'}
    test = {"messageId": "test", "body": '{"Service": "Amazon S3", "Event": "s3:TestEvent"}'}
    messages = [arrived("red"), arrived("gone"), *malformed, arrived("junk"), test, other]
    assert handled(bulk, *messages) == [
        "gone",
        *(message["messageId"] for message in malformed),
        "other",
    ]
    assert keys(s3) == ["inbox/junk@null.json", "inbox/red@null.json"]


def test_a_message_whose_answer_cannot_be_written_comes_again_alone(s3, bulk):
    long = "k" * 1_020
    put(s3, red=RED, **{long: RED})

    def refuse(params, **_):  # as S3 does, and moto does not
        if len(params["Key"]) > 1_024:
            raise ClientError({"Error": {"Code": "KeyTooLongError"}}, "PutObject")

    s3.meta.events.register("provide-client-params.s3.PutObject", refuse)
    assert handled(bulk, arrived("red"), arrived(long, name="long")) == ["long"]
    assert keys(s3) == ["inbox/red@null.json"]
