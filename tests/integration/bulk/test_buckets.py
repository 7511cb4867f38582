"""Photos in a bucket, through the deployed stack of an emulated account: none lost, none twice."""

import json
import re

import boto3
import pytest

from bulk.__main__ import main
from tests import bulk_stack
from tests.bulk_stack import PHOTOS, STACK, drawn_photos, handlers_answers, known
from tests.ministack import NEEDS_MINISTACK
from tests.tiny_model import write_tiny_model


@pytest.fixture(autouse=True)
def polls_often(monkeypatch):
    monkeypatch.setattr("bulk.runs.POLL_S", 0.2)


def listed(photos, folder):
    """A text file of the keys, in another order than S3's and with a double."""
    keys = [*reversed(photos), next(iter(photos))]
    path = folder / "keys.txt"
    path.write_text("".join(f"{key}\n" for key in keys), encoding="utf-8")
    return [str(path), "--bucket", PHOTOS]


def started_until_done(words, capsys):
    """Start the job, and again until nothing is left."""
    for _ in range(40):
        status = main(["start", STACK, *words, "--job", "first"])
        words = []
        said = capsys.readouterr().out
        if status == 0:
            return
    raise AssertionError(f"40 runs were not enough: {said}")


def rows_of(out):
    return [json.loads(line) for line in out.read_text().splitlines()]


def check_answers(classifier, photos, out):
    rows = rows_of(out)
    assert [row["photo"] for row in rows] == [f"s3://{PHOTOS}/{key}" for key in reversed(photos)]
    assert {row["photo"]: known(row) for row in rows} == handlers_answers(classifier, photos)


@pytest.mark.parametrize("count", [200, pytest.param(5_000, marks=pytest.mark.slow)])
def test_each_photo_has_the_handlers_answer_once_though_children_fail(
    classifier, monkeypatch, seed, capsys, tmp_path, count
):
    photos, out = drawn_photos(count), tmp_path / "answers.jsonl"
    with bulk_stack.in_moto(classifier, monkeypatch, seed) as function:
        bulk_stack.put(photos)
        function.share = 0.8
        words = [*listed(photos, tmp_path), "--shard-photos", str(count // 20)]
        assert main(["start", STACK, *words, "--job", "first"]) == 1
        counts = re.findall(r"(\d+) of 20 shards, 0 running, (\d+) failed", capsys.readouterr().out)
        assert sum(map(int, counts[-1])) == 20
        assert main(["collect", STACK, "first", "--out", str(out)]) == 1
        assert "start the job again" in capsys.readouterr().out
        started_until_done([], capsys)
        assert main(["collect", STACK, "first", "--out", str(out)]) == 0
        assert f"{count:,} photos: {count:,} answered, of which {count // 100}" in (
            capsys.readouterr().out
        )
        done = function.invocations
        assert main(["start", STACK, "--job", "first"]) == 0
        assert function.invocations == done  # nothing is left to do
    check_answers(classifier, photos, out)


@NEEDS_MINISTACK
def test_tolerated_failures_leave_the_others_answered(
    classifier, monkeypatch, seed, capsys, tmp_path
):
    photos, out = drawn_photos(100), tmp_path / "answers.jsonl"
    model = write_tiny_model(tmp_path / "tiny.onnx")
    with bulk_stack.in_ministack(
        model, monkeypatch, seed, failing=0.6, ToleratedFailurePercentage="100"
    ):
        bulk_stack.put(photos)
        words = [*listed(photos, tmp_path), "--shard-photos", "5"]
        started_until_done(words, capsys)
        assert main(["status", STACK, "first"]) == 0
        assert "20 of 20 shards have answers" in capsys.readouterr().out
        assert main(["collect", STACK, "first", "--out", str(out)]) == 0
    check_answers(classifier, photos, out)


@NEEDS_MINISTACK
def test_a_run_over_its_tolerated_failures_says_why_and_goes_on(
    classifier, monkeypatch, seed, capsys, tmp_path
):
    photos = drawn_photos(10)
    with bulk_stack.in_ministack(
        tmp_path / "no-model.onnx", monkeypatch, seed, failing=0, ToleratedFailurePercentage="0"
    ):
        bulk_stack.put(photos)
        assert main(["start", STACK, f"s3://{PHOTOS}/in/", "--job", "first"]) == 1
        said = capsys.readouterr().out
        assert "FAILED" in said
        assert "no-model.onnx" in said
        assert "start photos-bulk --job first" in said
        shown = boto3.client("s3").list_objects_v2(Bucket=bulk_stack.outputs()["Bucket"])
        assert not [e["Key"] for e in shown["Contents"] if "/answers/" in e["Key"]]
