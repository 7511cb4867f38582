"""Photos as they arrive, in an emulated account: S3's events, the queue, the function, the dead
letters.
"""

import json
import random
import threading
import time

import boto3

from tests import bulk_stack
from tests.bulk_stack import INBOX, known
from tests.drawn import encoded, picture
from tests.ministack import NEEDS_MINISTACK
from tests.tiny_model import write_tiny_model

_DEADLINE_S = 60
pytestmark = NEEDS_MINISTACK


def until(holds):
    """Ask again until it is so; fails after a minute."""
    ends_at = time.monotonic() + _DEADLINE_S
    while not holds():
        assert time.monotonic() < ends_at, "it did not happen"
        threading.Event().wait(0.1)


class Queues:
    """The stack's two queues, whose messages soon become visible again."""

    def __init__(self):
        self._client = boto3.client("sqs")
        urls = self._client.list_queues()["QueueUrls"]
        (self.dead,) = (url for url in urls if "DeadLetters" in url)
        (self.inbox,) = (url for url in urls if url != self.dead)
        self._client.set_queue_attributes(
            QueueUrl=self.inbox, Attributes={"VisibilityTimeout": "5"}
        )

    def count(self, url):
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self._client.get_queue_attributes(QueueUrl=url, AttributeNames=names)
        return sum(int(value) for value in found["Attributes"].values())

    def send(self, body):
        self._client.send_message(QueueUrl=self.inbox, MessageBody=body)

    def empty(self):
        self._client.purge_queue(QueueUrl=self.inbox)

    def bodies(self, url, count):
        """What its messages say, which stay where they are; without the test that S3 may send."""
        found = {}

        def is_all():
            for message in self._client.receive_message(
                QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=1
            ).get("Messages", ()):
                if "s3:TestEvent" not in message["Body"]:
                    found[message["MessageId"]] = message["Body"]
            return len(found) == count

        until(is_all)
        return list(found.values())


def set_reading(is_on):
    """Whether the function is given the queue's messages."""
    functions = boto3.client("lambda")
    (mapping,) = functions.list_event_source_mappings()["EventSourceMappings"]
    functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=is_on)


def answers():
    """By key, the bytes of each answer to a photo that arrived."""
    s3, bucket = boto3.client("s3"), bulk_stack.outputs()["Bucket"]
    listed = s3.list_objects_v2(Bucket=bucket, Prefix="inbox/").get("Contents", ())
    keys = [entry["Key"] for entry in listed]
    return {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


def test_arrived_photos_are_answered_once_in_any_order_and_the_rest_is_kept(
    classifier, monkeypatch, seed, tmp_path
):
    chosen = random.Random(seed)
    model = write_tiny_model(tmp_path / "tiny.onnx")
    with bulk_stack.in_ministack(model, monkeypatch, seed, failing=0.1):
        queues, s3, colours = Queues(), boto3.client("s3"), {}
        set_reading(False)
        for number in range(20):
            colour = chosen.choice(["red", "green", "blue"])
            key = f"a b/{number % 10} ü+%.jpg"  # each is written over once
            content = encoded(picture(colour, seed=number))
            version = s3.put_object(Bucket=INBOX, Key=key, Body=content)["VersionId"]
            colours[f"inbox/{key}@{version}.json"] = colour
        s3.put_object(Bucket=INBOX, Key="page.html", Body=b"<html>")
        arrived = queues.bodies(queues.inbox, 21)
        queues.empty()  # reading counted as a try
        for body in (*arrived, "not an event of S3"):
            queues.send(body)
        set_reading(True)
        until(lambda: queues.count(queues.inbox) == 0)
        assert queues.bodies(queues.dead, 1) == ["not an event of S3"]
        first = answers()
        for body in chosen.sample(arrived, len(arrived)):
            queues.send(body)
        until(lambda: queues.count(queues.inbox) == 0)
        assert queues.count(queues.dead) == 1
        assert answers() == first
    rows = {key: json.loads(row) for key, row in first.items()}
    page = next(row for key, row in rows.items() if "page.html" in key)
    assert known(page) == {"code": "unsupported_image"}
    assert {k: row["label"] for k, row in rows.items() if row is not page} == colours
