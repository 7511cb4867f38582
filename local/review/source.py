"""Where photos to review come from: s3://bucket/prefix, or a folder. Nothing is changed there.

A photo NAME.jpg may have the model's answer beside it, NAME.json (serving/keep.py). Links are not
followed, so nothing outside the folder is read.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from local.errors import ReviewError, UnreadableError
from train.photos.folders import is_left_behind, is_photo, printable

MAX_PHOTO_BYTES = 64_000_000
_MAX_ANSWER_BYTES = 100_000


class Source(Protocol):
    """Photos by name, in a fixed order."""

    def names(self) -> list[str]:
        """The names of all photos; raises ReviewError if they cannot be listed."""
        ...

    def read(self, name: str) -> bytes:
        """A photo's bytes.

        Raises:
            UnreadableError: this photo is gone or too large.
            ReviewError: none can be read now.
        """
        ...

    def answer(self, name: str) -> Mapping[str, Any]:
        """What the model said of a photo; empty if that is not known."""
        ...


def open_source(text: str) -> Source:
    """The source that a command line names; raises ReviewError if there is none."""
    return Bucket(text) if text.lower().startswith("s3://") else Folder(Path(text))


class Folder:
    """A folder, with those in it."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise ReviewError(f"SOURCE {root} is no folder. Give one, or s3://bucket/prefix.")
        self._root = root
        self._paths = {printable(path.relative_to(root)): path for path in self._walk()}

    def _walk(self) -> Iterator[Path]:
        for folder, folders, files in os.walk(self._root):  # does not follow links
            folders[:] = [name for name in folders if not is_left_behind(name)]
            for name in files:
                path = Path(folder, name)
                if is_photo(path) and not is_left_behind(name) and not path.is_symlink():
                    yield path

    def names(self) -> list[str]:
        return sorted(self._paths)

    def read(self, name: str) -> bytes:
        path = self._paths.get(name)
        if path is None or path.is_symlink():
            raise UnreadableError(f"{name} is no longer in {self._root}.")
        return _read(path, MAX_PHOTO_BYTES)

    def answer(self, name: str) -> Mapping[str, Any]:
        beside = self._paths[name].with_suffix(".json")
        if beside.is_symlink() or not beside.is_file():
            return {}
        return _parsed(_read(beside, _MAX_ANSWER_BYTES))


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise UnreadableError(f"{printable(path)} cannot be read: {error.strerror}.") from error
    return _within(data, max_bytes, printable(path))


def _within(data: bytes, max_bytes: int, name: str) -> bytes:
    if len(data) > max_bytes:
        raise UnreadableError(f"{name} has more than {max_bytes:,} bytes.")
    return data


class Bucket:
    """The objects of an S3 bucket below a prefix."""

    def __init__(self, uri: str, client: Any = None) -> None:
        self._bucket, _, prefix = uri[len("s3://") :].partition("/")
        self._prefix = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
        if not self._bucket:
            raise ReviewError(f"SOURCE {uri} names no bucket. Give s3://bucket/prefix.")
        self._client = client

    def names(self) -> list[str]:
        pages = self._asked(
            lambda client: list(
                client.get_paginator("list_objects_v2").paginate(
                    Bucket=self._bucket, Prefix=self._prefix
                )
            )
        )
        keys = [found["Key"] for page in pages for found in page.get("Contents", ())]
        names = (key.removeprefix(self._prefix) for key in keys)
        return sorted(name for name in names if is_photo(Path(name)))

    def read(self, name: str) -> bytes:
        data = self._object(name, MAX_PHOTO_BYTES)
        if data is None:
            raise UnreadableError(f"{name} is no longer in s3://{self._bucket}/{self._prefix}.")
        return data

    def answer(self, name: str) -> Mapping[str, Any]:
        beside = PurePosixPath(name).with_suffix(".json")
        return _parsed(self._object(str(beside), _MAX_ANSWER_BYTES) or b"")

    def _object(self, name: str, max_bytes: int) -> bytes | None:
        def get(client: Any) -> bytes | None:
            try:
                found = client.get_object(Bucket=self._bucket, Key=self._prefix + name)
            except client.exceptions.NoSuchKey:
                return None
            data: bytes = found["Body"].read(max_bytes + 1)
            return _within(data, max_bytes, name)

        result: bytes | None = self._asked(get)
        return result

    def _asked(self, ask: Any) -> Any:
        """What S3 answers; raises ReviewError with its own words."""
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self._client = self._client or boto3.client("s3")
            return ask(self._client)
        except (BotoCoreError, ClientError) as error:
            raise ReviewError(
                f"s3://{self._bucket}/{self._prefix} cannot be read: {error}. Check the name, your "
                "AWS credentials, and that they allow s3:ListBucket and s3:GetObject."
            ) from error


def _parsed(text: bytes) -> Mapping[str, Any]:
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}
