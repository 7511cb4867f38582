"""A job's parts in the bucket, and its answers collected and counted."""

import json

import boto3
import pytest
from moto import mock_aws

from bulk.collect import collect
from bulk.jobs import Job, Size
from tests.bulk_stack import credentials

URIS = [f"s3://photos/{number}.jpg" for number in range(10)]


@pytest.fixture
def job(monkeypatch):
    credentials(monkeypatch)
    with mock_aws():
        client = boto3.client("s3")
        place = {"LocationConstraint": "eu-west-1"}
        client.create_bucket(Bucket="work", CreateBucketConfiguration=place)
        yield Job(client, "work", "first")


def answer(shard, photos, *, code=""):
    rows = [{"photo": photo, **({"code": code} if code else {})} for photo in photos]
    body = "".join(json.dumps(row) + "\n" for row in rows).encode()
    key = f"jobs/first/answers/{shard:05}.jsonl"
    boto3.client("s3").put_object(Bucket="work", Key=key, Body=body)


def test_each_photo_is_in_one_shard_though_it_is_named_twice(job):
    size = job.write([*URIS, *URIS[:3]], 4)
    assert size == job.size() == Size(photos=10, shards=3, shard_photos=4, doubles=3)
    shards = [photos for _, photos, _ in job.contents(size)]
    assert shards == [URIS[:4], URIS[4:8], URIS[8:]]


def test_a_job_that_was_not_written_to_its_end_is_not_there(job):
    def cut_short():
        yield from URIS
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job.write(cut_short(), 2)
    assert job.size() is None
    assert job.write(URIS, 5) == job.size()


def test_a_run_lists_the_shards_for_the_state_machine(job):
    key = job.write_run("first-1", [0, 12])
    (listed,) = [boto3.client("s3").get_object(Bucket="work", Key=key)["Body"].read()]
    assert json.loads(listed)[1] == {
        "photos": "jobs/first/shards/00012.jsonl",
        "answers": "jobs/first/answers/00012.jsonl",
    }
    assert job.runs() == ["first-1"]


def test_an_attempt_that_was_cut_short_is_no_answer(job):
    job.write(URIS, 5)
    answer(1, URIS[5:])
    key = "jobs/first/answers/00000.jsonl.begun"
    boto3.client("s3").put_object(Bucket="work", Key=key, Body=b"")
    assert job.answered() == {1}


@pytest.mark.parametrize("name", ["", "a/b", "a b", "é", "x" * 41])
def test_a_name_that_cannot_be_a_key_and_an_execution_is_refused(name):
    with pytest.raises(ValueError, match="letters"):
        Job(None, "work", name)


def test_an_empty_list_is_refused_and_leaves_no_job(job):
    with pytest.raises(ValueError, match="no photo"):
        job.write([], 5)
    assert job.size() is None


def test_too_many_shards_are_refused_with_what_to_do(job, monkeypatch):
    monkeypatch.setattr("bulk.jobs.MAX_SHARDS", 9)
    with pytest.raises(ValueError, match="--shard-photos"):
        job.write(URIS, 1)


def test_collected_answers_are_in_the_lists_order_and_counted(job, tmp_path):
    size, out = job.write(URIS, 4), tmp_path / "answers.jsonl"
    answer(2, URIS[8:])
    answer(0, URIS[:4], code="too_large")
    answer(1, URIS[4:8])
    count = collect(job, size, out)
    assert count.is_complete
    assert count.lines(size) == ["10 photos: 10 answered, of which 4 failed (too_large 4)"]
    assert [json.loads(line)["photo"] for line in out.read_text().splitlines()] == URIS
    assert [path.name for path in tmp_path.iterdir()] == ["answers.jsonl"]


def test_what_is_missing_or_not_of_the_list_is_told(job, tmp_path):
    size = job.write(URIS, 4)
    answer(0, [*URIS[:3], URIS[0]])  # one twice, one lost
    answer(2, URIS[8:])
    count = collect(job, size, tmp_path / "answers.jsonl")
    assert not count.is_complete
    assert count.lines(size) == [
        "10 photos: 2 answered",
        "4 photos in 1 shards have no answers yet; start the job again.",
        "The answers of shard 00000 are not those of its list.",
    ]


def test_a_file_that_cannot_be_written_leaves_the_old_one(job, tmp_path, monkeypatch):
    size, out = job.write(URIS, 4), tmp_path / "answers.jsonl"
    out.write_text("old")
    answer(0, URIS[:4])
    boto3.client("s3").put_object(Bucket="work", Key="jobs/first/answers/00001.jsonl", Body=b"{")
    with pytest.raises(ValueError, match="Expecting"):
        collect(job, size, out)
    assert out.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["answers.jsonl"]
