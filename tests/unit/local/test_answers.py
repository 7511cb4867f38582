"""The file of answers about a folder of photos, and the links to them by label."""

import os
from pathlib import Path

import pytest

from local.answers import Answers, Row, link_by_label
from local.errors import LocalError

ENDINGS = ("csv", "jsonl")
NAMES = ['a, "b".jpg', "two\nlines.jpg", "car\rriage.jpg", "größe.jpg", " .jpg", r"back\xff.jpg"]


def answered(path: str, label: str = "red") -> Row:
    predictions = [{"label": label, "probability": 0.75}, {"label": "blue", "probability": 0.25}]
    facts = {"unsure": True, "unsure_because": "undecided", "familiarity": 0.5}
    return {
        "path": path,
        "label": label,
        "probability": 0.75,
        **facts,
        "predictions": predictions,
        "model": "m1",
    }


def refused(path: str) -> Row:
    return {"path": path, "error": "too_large", "detail": 'Too "large",\nreally.', "model": "m1"}


def written(file: Path, *rows: Row) -> bytes:
    with Answers(file) as answers:
        answers.take_model("m1")
        for row in rows:
            answers.add(row)
    return file.read_bytes()


@pytest.mark.parametrize("ending", ENDINGS)
def test_rows_are_found_again_whatever_the_names(ending, tmp_path):
    file = tmp_path / f"new/answers.{ending}"
    written(file, *[answered(name) for name in NAMES], refused("bad"))
    with Answers(file) as answers:
        assert answers.labels == {**dict.fromkeys(NAMES, "red"), "bad": ""}
        assert answers.errors == {"too_large": 1}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_row_that_is_cut_anywhere_is_mended(ending, tmp_path):
    file = tmp_path / f"answers.{ending}"
    first, second = refused("one\n.jpg"), answered('two\n".jpg', 'r"\n,ed')
    kept = len(written(file, first))
    whole = written(file, second)
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with Answers(file) as answers:
            assert list(answers.labels) == (["one\n.jpg"] if length >= kept else [])
        rows = [second] if length >= kept else [first, second]
        assert written(file, *rows) == whole


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.csv", b"name,colour\na.jpg,red\n"),
        ("one_line.csv", b"a.jpg"),
        ("config.jsonl", b'{"colour": "red"}\n'),
        ("list.jsonl", b"[1]\n"),
        ("one_line.jsonl", b'{"colour"'),
        ("photo.csv", b"\xff\xd8" + bytes(100_000)),
    ],
)
def test_a_file_of_something_else_is_refused_and_kept(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LocalError, match=f"{name} holds something other than answers"):
        Answers(tmp_path / name)
    assert (tmp_path / name).read_bytes() == content


def test_a_broken_row_among_others_is_named_and_kept(tmp_path):
    file = tmp_path / "answers.csv"
    content = written(file, answered("one")) + b"two,red\r\n"
    file.write_bytes(content)
    with pytest.raises(LocalError, match="'two,red'"):
        Answers(file)
    assert file.read_bytes() == content


def test_two_runs_do_not_write_to_one_file(tmp_path):
    with Answers(tmp_path / "answers.csv"):
        with pytest.raises(LocalError, match="Another run writes to"):
            Answers(tmp_path / "answers.csv")


def test_answers_of_two_models_are_not_mixed(tmp_path):
    written(tmp_path / "answers.jsonl", answered("one"))
    with Answers(tmp_path / "answers.jsonl") as answers:
        with pytest.raises(LocalError, match="another model"):
            answers.take_model("m2")


@pytest.mark.parametrize("name", ["answers.txt", "answers", "folder.csv"])
def test_a_place_that_takes_no_answers_is_named(name, tmp_path):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(LocalError, match=name):
        Answers(tmp_path / name)


LABELS = ("..", ".", "", "/etc", "../../up", "a/b", "a\0b", "\ud800", "x" * 300, "größe", "CON:")


def test_links_stay_in_their_folder_whatever_the_labels(tmp_path):
    photo, root = tmp_path / "1.jpg", tmp_path / "in" / "sorted"
    photo.write_bytes(b"photo")
    assert link_by_label(root, [(str(photo), label) for label in LABELS]) == len(LABELS)
    assert {path.name for path in tmp_path.iterdir()} == {"1.jpg", "in"}
    assert len(list(root.iterdir())) == len(LABELS)
    assert all(path.resolve() == photo for path in root.glob("*/*"))
    assert (root / "größe" / "1.jpg").is_symlink()


def test_photos_of_one_name_all_get_a_link_once(tmp_path):
    photos = [tmp_path / folder / ("1" * 250 + ".jpg") for folder in "abc"]
    for photo in photos:
        photo.parent.mkdir()
        photo.write_bytes(b"the same")
    for _ in range(2):
        link_by_label(tmp_path / "sorted", [(str(photo), "red") for photo in photos])
        links = list((tmp_path / "sorted" / "red").iterdir())
        assert sorted(link.resolve() for link in links) == photos
        assert all(link.suffix == ".jpg" for link in links)


@pytest.mark.parametrize("missing", [("symlink",), ("symlink", "link")])
def test_without_links_there_are_copies(missing, tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    for name in missing:
        monkeypatch.setattr(os, name, fail)
    photo = tmp_path / "1.jpg"
    photo.write_bytes(b"photo")
    for _ in range(2):
        link_by_label(tmp_path / "sorted", [(str(photo), "red")])
    (made,) = (tmp_path / "sorted" / "red").iterdir()
    assert made.read_bytes() == b"photo"
    assert made.samefile(photo) == ("link" not in missing)


def test_a_folder_that_leads_elsewhere_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "sorted").mkdir()
    (tmp_path / "sorted" / "red").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LocalError, match="red is a link"):
        link_by_label(tmp_path / "sorted", [(str(tmp_path / "1.jpg"), "red")])
    assert not list((tmp_path / "elsewhere").iterdir())
