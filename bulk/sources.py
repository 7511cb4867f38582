"""A prefix, an S3 inventory or a text file in, the s3:// URIs of its photos out, one by one."""

import csv
import gzip
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

_URI = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(.*)", re.DOTALL)


def photos(s3: Any, source: str, bucket: str = "") -> Iterator[str]:
    """The photos that a source names.

    Args:
        source: s3://BUCKET/PREFIX; s3://BUCKET/…/manifest.json of an S3 inventory; else a text file
            with an s3:// URI on each line, or with keys of `bucket`.

    Raises:
        ValueError: the source is none of them; the message says where.
        OSError: the file cannot be read.
        BotoCoreError, ClientError: S3 refuses.
    """
    if not source.startswith("s3://"):
        return _of_file(Path(source), bucket)
    match = _URI.fullmatch(source if source.count("/") > 2 else f"{source}/")
    if match is None:
        raise ValueError(f"{source!r} names no bucket; write s3://BUCKET/PREFIX.")
    if match[2].rpartition("/")[2] == "manifest.json":
        return _of_inventory(s3, match[1], match[2])
    return _of_prefix(s3, match[1], match[2])


def _of_prefix(s3: Any, bucket: str, prefix: str) -> Iterator[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    for page in pages:
        for entry in page.get("Contents", ()):
            if not entry["Key"].endswith("/"):  # consoles make such objects for folders
                yield f"s3://{bucket}/{entry['Key']}"


def _of_file(path: Path, bucket: str) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                text = line.rstrip("\r\n")
                if not text.strip():
                    continue
                uri = text if text.startswith("s3://") else f"s3://{bucket}/{text}"
                match = _URI.fullmatch(uri)
                if match is None or not match[2]:
                    raise ValueError(
                        f"{path}, line {number}: {text[:80]!r} is no s3://BUCKET/KEY. For keys "
                        "without their bucket, give --bucket."
                    )
                yield uri
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text in UTF-8.") from error


def _of_inventory(s3: Any, bucket: str, key: str) -> Iterator[str]:
    """The newest versions that an inventory lists (Amazon S3 user guide, "Amazon S3 Inventory")."""
    where = f"s3://{bucket}/{key}"
    try:
        manifest = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        kind, source = manifest["fileFormat"], manifest["sourceBucket"]
        columns = [name.strip() for name in manifest["fileSchema"].split(",")]
        files = [entry["key"] for entry in manifest["files"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{where} is no manifest of an S3 inventory.") from error
    if kind != "CSV":
        raise ValueError(f"{where} lists {kind} files; have the inventory written as CSV.")
    for name in files:
        content = gzip.decompress(s3.get_object(Bucket=bucket, Key=name)["Body"].read())
        for row in csv.reader(io.StringIO(content.decode())):
            entry = dict(zip(columns, row, strict=False))
            is_there = entry.get("IsLatest") != "false" and entry.get("IsDeleteMarker") != "true"
            photo = unquote_plus(entry["Key"])
            if is_there and not photo.endswith("/"):
                yield f"s3://{source}/{photo}"
