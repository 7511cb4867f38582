"""The photos that a prefix, an inventory or a text file names."""

import gzip
import json

import boto3
import pytest
from moto import mock_aws

from bulk.sources import photos
from tests.bulk_stack import credentials

BUCKET = "photos"


@pytest.fixture
def s3(monkeypatch):
    credentials(monkeypatch)
    with mock_aws():
        client = boto3.client("s3")
        place = {"LocationConstraint": "eu-west-1"}
        client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=place)
        yield client


def put(s3, *keys, body=b""):
    for key in keys:
        s3.put_object(Bucket=BUCKET, Key=key, Body=body)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("s3://photos", ["in/a b+ü.jpg", "in/deep/c.jpg", "other.jpg"]),
        ("s3://photos/", ["in/a b+ü.jpg", "in/deep/c.jpg", "other.jpg"]),
        ("s3://photos/in/", ["in/a b+ü.jpg", "in/deep/c.jpg"]),
        ("s3://photos/in/a", ["in/a b+ü.jpg"]),
        ("s3://photos/nothing", []),
    ],
)
def test_a_prefix_names_its_objects_but_no_folders(s3, source, found):
    put(s3, "in/", "in/a b+ü.jpg", "in/deep/", "in/deep/c.jpg", "other.jpg")
    assert list(photos(s3, source)) == [f"s3://photos/{key}" for key in found]


def test_a_prefix_of_several_pages_is_read_to_its_end(s3):
    put(s3, *(f"{number:04}.jpg" for number in range(1_001)))
    assert len(list(photos(s3, "s3://photos/"))) == 1_001


def test_a_text_file_may_hold_uris_and_keys_of_one_bucket(tmp_path):
    path = tmp_path / "keys.txt"
    path.write_text("\ufeffs3://other/a.jpg\r\n\n in/ b ü.jpg\n", encoding="utf-8")
    assert list(photos(None, str(path), BUCKET)) == ["s3://other/a.jpg", "s3://photos/ in/ b ü.jpg"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"s3://photos/a\nin/b.jpg\n", "line 2: 'in/b.jpg'"),
        (b"s3://photos/\n", "line 1"),
        (b"s3://UPPER/a\n", "line 1"),
        (b"\xff\xfe\x00", "UTF-8"),
    ],
)
def test_a_line_that_names_no_photo_is_refused_by_its_number(tmp_path, text, told):
    path = tmp_path / "keys.txt"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=told):
        list(photos(None, str(path)))


@pytest.mark.parametrize("source", ["s3://", "s3:///in", "s3://UPPER/in"])
def test_a_source_without_a_bucket_is_refused(source):
    with pytest.raises(ValueError, match="s3://BUCKET/PREFIX"):
        photos(None, source)


MANIFEST = {
    "sourceBucket": "photos",
    "destinationBucket": "arn:aws:s3:::photos",
    "fileFormat": "CSV",
    "fileSchema": "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size",
    "files": [{"key": "lists/1.csv.gz"}, {"key": "lists/2.csv.gz"}],
}


def put_inventory(s3, **changes):
    put(s3, "lists/manifest.json", body=json.dumps(MANIFEST | changes).encode())


def test_an_inventory_names_the_newest_versions_that_are_there(s3):
    put_inventory(s3)
    first = (
        '"photos","in/a+b%2C%C3%BC.jpg","v1","true","false","9"\n'
        '"photos","in/old.jpg","v1","false","false","9"\n'
        '"photos","in/gone.jpg","v2","true","true",""\n'
        '"photos","in/","v1","true","false","0"\n'
    )
    second = '"photos","in/z.jpg","v1","true","false","9"\n'
    put(s3, "lists/1.csv.gz", body=gzip.compress(first.encode()))
    put(s3, "lists/2.csv.gz", body=gzip.compress(second.encode()))
    found = list(photos(s3, "s3://photos/lists/manifest.json"))
    assert found == ["s3://photos/in/a b,ü.jpg", "s3://photos/in/z.jpg"]


@pytest.mark.parametrize(
    ("changes", "told"), [({"fileFormat": "ORC"}, "as CSV"), ({"files": None}, "no manifest")]
)
def test_another_manifest_is_refused_with_what_to_do(s3, changes, told):
    put_inventory(s3, **changes)
    with pytest.raises(ValueError, match=told):
        list(photos(s3, "s3://photos/lists/manifest.json"))
