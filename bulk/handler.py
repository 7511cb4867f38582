"""The Lambda entry for many photos: one shard of a list, or messages of the inbox's queue.

A child of the state machine sends {"photos": KEY, "answers": KEY}, both in the bucket BULK_BUCKET:
a list with an s3:// URI as JSON on each line goes in, a row of JSON for each photo comes out, in
the same order. The answers are written whole or not at all; a shard that has them is skipped.

A queue sends S3's events of new objects. Each photo's row goes to inbox/KEY@VERSION.json, so that a
message that is delivered again writes the same object again. Messages that fail are returned to the
queue one by one.

A row is {"photo": URI} and what the service answers, without its timings. A photo that fails is a
row with a `code`. Anything else raises, and the state machine or the queue tries again.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from serving.fetch.ahead import Ahead
from serving.fetch.s3 import S3Fetcher
from serving.http import events
from serving.http.sources import Loader
from serving.model.classifier import Classifier
from serving.predict import Predictor
from serving.settings import Settings
from serving.telemetry import Telemetry

Row = dict[str, Any]

# Files that wait in memory for each vCPU: enough to hide S3's latency, and at most 160 MB.
_AHEAD_PER_THREAD = 8
# Kept for the photos that are being fetched and decoded, and for writing the answers.
_RESERVE_S, _RESERVE_SHARE = 10.0, 0.25
# S3 answers 503 while it makes room for more readers. With its pauses, this takes half a minute.
_S3_ATTEMPTS, _S3_TIMEOUT_S = 8, 10.0
_SERVER_ERROR = 500


class UnfinishedError(Exception):
    """The time was over before the shard was; the next attempt goes on where this one stopped."""


class Photo(NamedTuple):
    """An object in S3; without a version it is the newest one."""

    bucket: str
    key: str
    version: str = ""

    @classmethod
    def named(cls, uri: str) -> "Photo":
        """Read s3://BUCKET/KEY; raises ValueError for anything else."""
        bucket, slash, key = uri.removeprefix("s3://").partition("/")
        if not (uri.startswith("s3://") and bucket and slash and key):
            raise ValueError(f"The shard names {uri!r}; it must be s3://BUCKET/KEY.")
        return cls(bucket, key)

    def names(self) -> Row:
        """The fields of a row that say which photo it is about."""
        version = {"version": self.version} if self.version else {}
        return {"photo": f"s3://{self.bucket}/{self.key}", **version}


class Bulk:
    """Classifies lists of photos and writes their answers.

    Args:
        classifier: the loaded model.
        settings: the limits; `inference_threads` photos are decoded and inferred at once.
        s3: a boto3 client.
        bucket: holds the shards and the answers.
        function: the Lambda function's name, for the log.
    """

    def __init__(
        self,
        classifier: Classifier,
        settings: Settings,
        s3: Any,
        bucket: str,
        *,
        function: str = "local",
    ) -> None:
        self._classifier = classifier
        self._settings = settings
        self._s3 = s3
        self._bucket = bucket
        self._fetcher = S3Fetcher(settings, s3)
        self._telemetry = Telemetry(function, classifier.contract.name)

    def handle(self, event: Any, request_id: str, *, remaining_s: float) -> Any:
        """Answer a shard or a queue's messages within `remaining_s` seconds.

        Raises:
            UnfinishedError: the shard needs another attempt.
            ValueError: the event, or the shard's list, is none of ours.
            BotoCoreError, ClientError: S3 refuses the list or the answers.
        """
        started = time.monotonic()
        reserve_s = min(_RESERVE_S + self._settings.fetch_timeout_s, remaining_s * _RESERVE_SHARE)
        ends_at = started + remaining_s - reserve_s
        if isinstance(event, Mapping) and isinstance(event.get("Records"), list):
            answer, rows = self._messages(event["Records"], request_id, ends_at)
        elif isinstance(event, Mapping) and {"photos", "answers"} <= event.keys():
            answer, rows = self._shard(event["photos"], event["answers"], request_id, ends_at)
        else:
            raise ValueError('Send {"photos": KEY, "answers": KEY}, or messages of a queue.')
        self._log(rows, request_id, time.monotonic() - started)
        return answer

    def rows(
        self, photos: Sequence[Photo], request_id: str, ends_at: float
    ) -> Iterator[Row | None]:
        """A row for each photo, in order; None for those that the time was too short for.

        Each thread has its own photo, as in `serving.predict`; fetching goes on meanwhile.
        """
        threads = max(1, self._settings.inference_threads)
        timeout_s = self._settings.fetch_timeout_s

        def fetch(photo: Photo) -> bytes:
            return self._fetcher.read(*photo, timeout_s=timeout_s)

        def row(place: int) -> Row | None:
            if place and time.monotonic() > ends_at:  # each attempt gets on by one at least
                return None
            return self._row(predictor, place, photos[place], request_id)

        with (
            Ahead(fetch, photos, at_once=threads * _AHEAD_PER_THREAD) as ahead,
            ThreadPoolExecutor(threads) as pool,
        ):
            loader = Loader(self._settings, fetch_s3=ahead)
            predictor = Predictor(self._classifier, self._settings, loader)
            yield from pool.map(row, range(len(photos)))

    def _row(self, predictor: Predictor, place: int, photo: Photo, request_id: str) -> Row:
        response = predictor(events.read({"s3": str(place)}))  # `Ahead` knows it by its place
        row = {**photo.names(), **response.content}
        row.pop("timings_ms", None)  # the same photo has the same row
        for failure in response.failures:
            self._telemetry.log_failure(request_id, failure)
            row["request_id"] = request_id  # under which the log has the traceback
        return row

    def _shard(
        self, photos_key: str, answers_key: str, request_id: str, ends_at: float
    ) -> tuple[dict[str, int], list[Row]]:
        """Write a shard's answers. What an attempt has no time for is left to the next one."""
        if self._read(answers_key) is not None:
            return {"photos": 0}, []
        listed = self._read(photos_key)
        if listed is None:
            raise ValueError(f"There is no shard {photos_key}.")
        photos = [Photo.named(uri) for uri in _json_lines(listed)]
        begun_key = f"{answers_key}.begun"
        rows = list(_json_lines(self._read(begun_key) or b""))
        for row in self.rows(photos[len(rows) :], request_id, ends_at):
            if row is None:
                self._write(begun_key, rows)
                raise UnfinishedError(f"{len(rows)} of the shard's {len(photos)} photos are done.")
            rows.append(row)
        self._write(answers_key, rows)
        self._s3.delete_object(Bucket=self._bucket, Key=begun_key)
        return {"photos": len(rows)}, rows

    def _messages(
        self, messages: Sequence[Mapping[str, Any]], request_id: str, ends_at: float
    ) -> tuple[dict[str, Any], list[Row]]:
        """Write the answers of the photos that messages name; which messages must come again."""
        failed: set[str] = set()
        photos: list[tuple[str, Photo]] = []
        for message in messages:
            try:
                found = [(message["messageId"], photo) for photo in _arrived(message["body"])]
            # Not an event of S3: for the dead letters.
            except (AttributeError, KeyError, TypeError, ValueError):
                failed.add(message["messageId"])
            else:
                photos += found
        rows = list(self.rows([photo for _, photo in photos], request_id, ends_at))
        for (message_id, photo), row in zip(photos, rows, strict=True):
            # A photo's own fault is an answer. S3 and we may do better the next time.
            if row is None or row.get("status", 0) >= _SERVER_ERROR or not self._kept(photo, row):
                failed.add(message_id)
        failures = [{"itemIdentifier": message_id} for message_id in sorted(failed)]
        return {"batchItemFailures": failures}, [row for row in rows if row is not None]

    def _kept(self, photo: Photo, row: Row) -> bool:
        """Write the answer to a photo that arrived; False if S3 refuses it."""
        try:
            self._write(inbox_key(photo), [row])
        except ClientError:
            return False
        return True

    def _read(self, key: str) -> bytes | None:
        """An object's content; None if there is none."""
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise
        with answer["Body"] as stream:
            content: bytes = stream.read()
        return content

    def _write(self, key: str, rows: Sequence[Row]) -> None:
        """Write rows as JSON lines: S3 shows an object whole or not at all."""
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        self._s3.put_object(
            Bucket=self._bucket, Key=key, Body=lines.encode(), ContentType="application/x-ndjson"
        )

    def _log(self, rows: Sequence[Row], request_id: str, duration_s: float) -> None:
        """One line for all photos; as elsewhere, no key gets into the log."""
        line = {
            "level": "INFO",
            "message": "bulk",
            "request_id": request_id,
            "photos": len(rows),
            "failed": Counter(row["code"] for row in rows if "code" in row),
            "duration_ms": round(duration_s * 1000),
        }
        print(json.dumps(line), flush=True)


def inbox_key(photo: Photo) -> str:
    """Where the answer to a photo lies that arrived: one place for each version of an object."""
    return f"inbox/{photo.key}@{photo.version or 'null'}.json"


def _arrived(body: str) -> list[Photo]:
    """The photos that an event of S3 names; none for the one that S3 sends as a test."""
    event = json.loads(body)
    if event.get("Event") == "s3:TestEvent":
        return []
    return [
        Photo(
            record["s3"]["bucket"]["name"],
            unquote_plus(record["s3"]["object"]["key"]),
            record["s3"]["object"].get("versionId", ""),
        )
        for record in event["Records"]
    ]


def _json_lines(content: bytes) -> Iterator[Any]:
    return map(json.loads, content.splitlines())


@cache
def _bulk() -> Bulk:
    """From the function's environment, at its first event."""
    settings = Settings.from_env(os.environ)
    config = Config(
        connect_timeout=_S3_TIMEOUT_S,
        read_timeout=_S3_TIMEOUT_S,
        max_pool_connections=settings.inference_threads * _AHEAD_PER_THREAD,
        retries={"mode": "standard", "total_max_attempts": _S3_ATTEMPTS},
    )
    return Bulk(
        Classifier.load(settings.model_path, threads=1),  # a thread for each photo at once
        settings,
        boto3.client("s3", config=config),
        os.environ["BULK_BUCKET"],
        function=os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "local"),
    )


def lambda_handler(event: Any, context: Any) -> Any:
    """Answer one event; see the module's docstring."""
    remaining_s = context.get_remaining_time_in_millis() / 1000
    return _bulk().handle(event, context.aws_request_id, remaining_s=remaining_s)
