"""Photos that the model is unsure of in, objects in S3 out, for a person to label.

The answer is made before anything is written, and then waits: what runs after a return is frozen
with Lambda's instance. The wait is bounded by KEEP_TIMEOUT_S and by the invocation's remaining
time, the memory by bytes, and after a time-out S3 is left alone for a minute. Whatever goes wrong
costs the photo, never the answer. Imported only where KEEP_UNSURE is set.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

from serving.errors import RemoteTimeoutError
from serving.fetch.deadline import in_time
from serving.images.formats import recognise
from serving.settings import Settings

MAX_LABELS = 9
"""How many classes an answer beside a photo lists: as many as a review has keys."""

# In all photos that wait to be written, those of a write that still hangs included.
MAX_HELD_BYTES = 16_000_000
# Kept from the invocation's remaining time, to hand over the answer.
_RESERVE_S = 0.5
_REST_S = 60.0


@dataclass(frozen=True, slots=True)
class _Photo:
    data: bytes
    answer: Mapping[str, Any]


class Keeper:
    """Collects a request's unsure photos and writes them to S3. Safe to call from several threads.

    `client` is a boto3 client; None makes one from the function's environment.
    """

    def __init__(self, settings: Settings, client: Any = None) -> None:
        bucket, _, prefix = settings.keep_unsure.removeprefix("s3://").partition("/")
        self._bucket, self._prefix = bucket, f"{prefix}/" if prefix else ""
        self._share, self._timeout_s = settings.keep_share, settings.keep_timeout_s
        self._client = client
        self._lock = Lock()
        self._writing = Lock()
        self._waiting: list[_Photo] = []
        self._met = self._taken = self._held_bytes = 0
        self._rests_until = 0.0

    def offer(self, data: bytes, answer: Mapping[str, Any]) -> None:
        """Take note of an unsure photo, if the share and the memory allow another.

        Args:
            data: the file as it came.
            answer: what the model said of it, as JSON.
        """
        with self._lock:
            self._met += 1
            has_room = self._held_bytes + len(data) <= MAX_HELD_BYTES
            if int(self._met * self._share) > self._taken and has_room:
                self._taken += 1
                self._held_bytes += len(data)
                self._waiting.append(_Photo(data, answer))

    def write(self, remaining_s: float) -> str:
        """Write what was taken note of; what went wrong in words for the log, empty if nothing did.

        Args:
            remaining_s: seconds until Lambda ends the invocation.
        """
        with self._lock:
            photos, self._waiting = self._waiting, []
        if not photos:
            return ""
        timeout_s = min(self._timeout_s, remaining_s - _RESERVE_S)
        if timeout_s <= 0 or time.monotonic() < self._rests_until:
            self._let_go(photos)
            return "the time was up" if timeout_s <= 0 else "S3 did not answer less than 60 s ago"
        try:
            in_time(lambda: self._write(photos), timeout_s)
        except RemoteTimeoutError:
            self._rests_until = time.monotonic() + _REST_S
            return f"S3 did not answer within {timeout_s:.1f} s"
        except Exception as error:  # noqa: BLE001 - boto3 and sockets raise dozens of types here
            return _in_words(error)
        return ""

    def _write(self, photos: Sequence[_Photo]) -> None:
        try:
            with self._writing:  # boto3's default session is not thread-safe
                self._client = self._client or self._made_client()
            for photo in photos:
                self._put(photo)
        finally:
            self._let_go(photos)

    def _put(self, photo: _Photo) -> None:
        """Write a photo after its answer, so that a photo that is there has one."""
        import hashlib

        known = recognise(photo.data)
        day = time.strftime("%Y-%m-%d", time.gmtime())
        name = f"{self._prefix}{day}/{hashlib.sha256(photo.data).hexdigest()}"
        for ending, body, media_type in (
            (".json", json.dumps(photo.answer).encode(), "application/json"),
            (known.suffixes[0], photo.data, known.media_type),
        ):
            self._client.put_object(
                Bucket=self._bucket, Key=name + ending, Body=body, ContentType=media_type
            )

    def _made_client(self) -> Any:
        import boto3  # takes longer than all the rest
        from botocore.config import Config

        wait_s = self._timeout_s
        config = Config(
            connect_timeout=wait_s, read_timeout=wait_s, retries={"total_max_attempts": 1}
        )
        return boto3.client("s3", config=config)

    def _let_go(self, photos: Sequence[_Photo]) -> None:
        with self._lock:
            self._held_bytes -= sum(len(photo.data) for photo in photos)


def _in_words(error: Exception) -> str:
    """An error without its message, which may hold what nobody wants in a log."""
    response = getattr(error, "response", None)  # botocore's ClientError
    code = response.get("Error", {}).get("Code", "") if isinstance(response, dict) else ""
    return f"S3 refused or failed: {type(error).__name__} {code}".strip()
