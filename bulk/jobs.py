"""Where a job's parts lie in the stack's bucket, and how they are written and read.

jobs/NAME/shards/00000.jsonl    photos, an s3:// URI as JSON on each line
jobs/NAME/answers/00000.jsonl   a row for each of them (bulk/handler.py)
jobs/NAME/job.json              how many; written last, so a job that has it is whole
jobs/NAME/runs/NAME.json        the shards that an execution of that name works on
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, TypeVar

SHARD_PHOTOS = 500
# Map gives the children's outputs, 3 bytes each, at most 256 kB; see docs/bulk.md.
MAX_SHARDS = 80_000
_AT_ONCE = 16  # requests to S3, each of some 30 ms
_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")  # with a run's time, Step Functions takes up to 80

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True, slots=True)
class Size:
    """How many photos a job has, in how many shards, and how many were named more than once."""

    photos: int
    shards: int
    shard_photos: int
    doubles: int = 0


class Job:
    """A job of a stack.

    Args:
        s3: a boto3 client.
        bucket: the stack's.
        name: letters, digits, - and _.

    Raises:
        ValueError: the name has others.
    """

    def __init__(self, s3: Any, bucket: str, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise ValueError(f"The job {name!r} must have 1 to 40 letters, digits, - or _.")
        self.name = name
        self.bucket = bucket
        self._s3 = s3
        self._prefix = f"jobs/{name}/"

    def size(self) -> Size | None:
        """What was written; None if the job was never written, or not to its end."""
        try:
            content = self._read(f"{self._prefix}job.json")
        except self._s3.exceptions.NoSuchKey:
            return None
        return Size(**json.loads(content))

    def write(self, photos: Iterable[str], shard_photos: int) -> Size:
        """Write the shards of a list of s3:// URIs; each photo once, whatever the list says.

        Raises:
            ValueError: the list is empty, or makes too many shards.
        """
        named = 0
        seen: set[str] = set()

        def distinct() -> Iterator[str]:
            nonlocal named
            for photo in photos:
                named += 1
                if photo not in seen:
                    seen.add(photo)
                    yield photo

        shards = 0
        for shards, _ in enumerate(
            _at_once(self._write_shard, _shards(distinct(), shard_photos)), 1
        ):
            if shards > MAX_SHARDS:
                raise ValueError(
                    f"A job has at most {MAX_SHARDS:,} shards: choose larger --shard-photos, or "
                    "make several jobs."
                )
        if not shards:
            raise ValueError("The list names no photo.")
        size = Size(len(seen), shards, shard_photos, named - len(seen))
        self._write(f"{self._prefix}job.json", asdict(size))
        return size

    def answered(self) -> set[int]:
        """The numbers of the shards whose answers are there."""
        found = self._listed(f"{self._prefix}answers/")
        return {int(key[-11:-6]) for key in found if key.endswith(".jsonl")}

    def write_run(self, run: str, shards: Iterable[int]) -> str:
        """Write what an execution works on; returns its key, which the state machine takes."""
        key = f"{self._prefix}runs/{run}.json"
        names = (f"{number:05}.jsonl" for number in shards)
        events = [
            {"photos": f"{self._prefix}shards/{name}", "answers": f"{self._prefix}answers/{name}"}
            for name in names
        ]
        self._write(key, events)
        return key

    def runs(self) -> list[str]:
        """The names of the job's executions, the newest last."""
        listed = self._listed(f"{self._prefix}runs/")
        return sorted(key.rpartition("/")[2].removesuffix(".json") for key in listed)

    def contents(self, size: Size) -> Iterator[tuple[int, list[str], bytes | None]]:
        """For each shard its number, its photos, and its answers or None."""
        answered = self.answered()

        def read(number: int) -> tuple[int, list[str], bytes | None]:
            name = f"{number:05}.jsonl"
            photos = self._read(f"{self._prefix}shards/{name}").splitlines()
            there = number in answered
            answers = self._read(f"{self._prefix}answers/{name}") if there else None
            return number, [json.loads(photo) for photo in photos], answers

        return _at_once(read, range(size.shards))

    def _write_shard(self, numbered: tuple[int, Sequence[str]]) -> None:
        number, photos = numbered
        lines = "".join(json.dumps(photo) + "\n" for photo in photos)
        key = f"{self._prefix}shards/{number:05}.jsonl"
        self._s3.put_object(Bucket=self.bucket, Key=key, Body=lines.encode())

    def _write(self, key: str, value: Any) -> None:
        self._s3.put_object(Bucket=self.bucket, Key=key, Body=json.dumps(value).encode())

    def _read(self, key: str) -> bytes:
        content: bytes = self._s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return content

    def _listed(self, prefix: str) -> Iterator[str]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=prefix
        )
        return (entry["Key"] for page in pages for entry in page.get("Contents", ()))


def _shards(photos: Iterator[str], count: int) -> Iterator[tuple[int, list[str]]]:
    number = 0
    while shard := list(islice(photos, count)):
        yield number, shard
        number += 1


def _at_once(call: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
    """The results in order; a few calls at once, and no more results held than that."""
    left = iter(items)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        while group := list(islice(left, _AT_ONCE)):
            yield from pool.map(call, group)
