"""A review without its page: order, copies, undo, what the model said, and what goes wrong."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from local.backends import ROOT
from local.errors import ReviewError, StaleError
from local.review.log import NAME, Log
from local.review.places import Places
from local.review.session import Session
from local.review.source import Folder
from tests.drawn import encoded, picture
from tests.photo_folder import write_photo
from train.errors import TrainError
from train.photos.folders import list_folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for label in ("blue", "red"):
        write_photo(tmp_path / "data" / label / "0.jpg", label, width_px=8, height_px=8)
    return tmp_path / "data"


@pytest.fixture
def unsure(tmp_path: Path) -> Path:
    """Three photos, the first with the model's answer."""
    folder = tmp_path / "unsure"
    for number in range(3):
        write_photo(folder / f"{number}.jpg", "green", width_px=8, height_px=8)
    predictions = [{"label": "red", "probability": 0.6}, {"label": "blue", "probability": 0.4}]
    answer = {"predictions": predictions, "unsure_because": "unfamiliar"}
    (folder / "0.json").write_text(json.dumps(answer))
    return folder


@pytest.fixture
def begin(data, unsure):
    """Begin a review, or go on with it after the one before was ended."""
    logs: list[Log] = []

    def start() -> Session:
        for log in logs:
            log.__exit__()
        logs.append(Log(data))
        return Session(Folder(unsure), Places(data), logs[-1])

    yield start
    for log in logs:
        log.__exit__()


def shown(session: Session) -> str:
    """The name of the photo that is shown."""
    return str((session.state()["photo"] or {"name": "none"})["name"])


def decide(session: Session, label: str | None) -> None:
    session.decide(session.state()["photo"]["id"], label)


def reviewed(data: Path) -> list[str]:
    return sorted(e.label for e in list_folder(data).entries if len(e.path.stem) == 32)


def test_photos_come_in_order_with_what_the_model_said(begin):
    session = begin()
    photo = session.state()["photo"]
    assert (photo["name"], photo["because"]) == ("0.jpg", "unfamiliar")
    assert [tuple(found.values()) for found in photo["labels"]] == [("red", 0.6), ("blue", 0.4)]
    assert session.jpeg(photo["id"]).startswith(b"\xff\xd8")
    decide(session, "red")
    labels = session.state()["photo"]["labels"]  # without an answer: the chosen, then the others
    assert [tuple(found.values()) for found in labels] == [("red", None), ("blue", None)]
    decide(session, None)
    decide(session, "hat")
    assert shown(session) == "none"
    assert session.state()["done"] == session.state()["total"] == 3


def test_an_ended_review_goes_on_where_it_was(begin, data):
    decide(begin(), "hat")
    session = begin()
    assert (shown(session), session.state()["done"]) == ("1.jpg", 1)
    decide(session, None)
    assert shown(begin()) == "2.jpg"
    assert reviewed(data) == ["hat"]


def test_undo_goes_back_beyond_the_session(begin, data):
    session = begin()
    decide(session, "hat")
    decide(session, None)
    decide(session, "hat")
    session = begin()
    for name in ("2.jpg", "1.jpg", "0.jpg", "0.jpg"):
        session.undo()
        assert shown(session) == name
    assert reviewed(data) == []
    assert not (data / "hat").exists()
    assert session.state()["last"] is None


def test_copies_and_what_is_no_photo_are_passed_over(begin, unsure, data):
    (unsure / "1.jpg").write_bytes((unsure / "0.jpg").read_bytes())
    (unsure / "2.jpg").write_bytes(b"no photo")
    session = begin()
    decide(session, "red")
    assert shown(session) == "none"
    assert session.state()["passed"] == {"copies": 1, "unreadable": 1}
    assert reviewed(data) == ["red"]


@pytest.mark.parametrize("answer", [b"x" * 200_000, b"[]", b'{"predictions": 1}'])
def test_a_photo_with_a_damaged_answer_is_still_shown(begin, unsure, answer):
    (unsure / "0.json").write_bytes(answer)
    session = begin()
    assert shown(session) == "0.jpg"
    assert session.state()["passed"] == {}


def test_a_photo_of_another_format_is_shown_as_jpeg_and_kept_as_it_is(begin, unsure, data):
    tiff = encoded(picture("red"), "TIFF")
    (unsure / "0.jpg").write_bytes(tiff)
    session = begin()
    photo = session.state()["photo"]["id"]
    assert session.jpeg(photo).startswith(b"\xff\xd8")
    decide(session, "red")
    (file,) = [p for p in (data / "red").iterdir() if len(p.stem) == 32]
    assert (file.suffix, file.read_bytes()) == (".tif", tiff)


def test_a_second_decision_about_the_same_photo_is_refused(begin, data):
    session = begin()
    photo = session.state()["photo"]["id"]
    session.decide(photo, "red")
    with pytest.raises(StaleError):
        session.decide(photo, "blue")
    assert reviewed(data) == ["red"]


@pytest.mark.parametrize(
    "answer",
    [
        *(b"", b"[]", b"{", b'{"predictions": 3}', b'{"predictions": [1, {"label": 2}]}'),
        b'{"predictions": [{"label": "../../out", "probability": 0.5}]}',
        b'{"predictions": [{"label": "a\\ud800", "probability": NaN}], "unsure_because": {}}',
        b'{"predictions": [{"label": "red", "probability": 1e999}]}',
        b'{"predictions": [{"label": "red", "probability": 1' + b"0" * 999 + b"}]}",
        b"[" * 90_000,
    ],
)
def test_an_answer_may_say_anything(answer, begin, unsure):
    (unsure / "0.json").write_bytes(answer)
    session = begin()
    labels = [found["label"] for found in session.state()["photo"]["labels"]]
    assert sorted(labels) == ["blue", "red"]
    decide(session, "red")


def test_a_full_disk_loses_nothing_and_says_so(begin, data, monkeypatch):
    def full(*_):
        raise TrainError("the disk is full")

    session = begin()
    with monkeypatch.context() as patch:
        patch.setattr("local.review.places.write_bytes", full)
        with pytest.raises(TrainError):
            decide(session, "red")
    assert reviewed(data) == []
    decide(session, "blue")  # the next one, which also carries out the one before
    assert reviewed(data) == ["blue", "red"]


def test_a_folder_that_cannot_be_changed_is_named_and_can_be_mended(begin, data, monkeypatch):
    def refused(self, missing_ok=False):
        raise PermissionError(13, "Permission denied", str(self))

    session = begin()
    decide(session, "hat")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refused)
        with pytest.raises(ReviewError, match=r"hat/.* cannot be changed: Permission denied"):
            session.undo()
    decide(session, "red")
    assert reviewed(data) == ["red"]


def test_a_photo_that_vanished_before_it_was_put_is_not_decided(begin, unsure, data, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    session = begin()
    with monkeypatch.context() as patch:
        patch.setattr(Places, "put", killed)
        with pytest.raises(KeyboardInterrupt):
            decide(session, "red")
    (unsure / "0.jpg").unlink()
    session = begin()
    assert (shown(session), session.state()["done"]) == ("1.jpg", 0)
    assert reviewed(data) == []


def test_the_log_says_when_what_and_what_the_model_had_said(begin, data):
    decide(begin(), "hat")
    first, second = map(json.loads, (data / NAME).read_text().splitlines())
    assert first["at"].endswith("+00:00")
    assert (first["did"], first["label"], first["name"]) == ("label", "hat", "0.jpg")
    assert first["said"]["predictions"][0] == {"label": "red", "probability": 0.6}
    assert (data / first["file"]).is_file()
    assert second["did"] == "done"


def test_a_line_that_was_cut_short_is_dropped(begin, data):
    decide(begin(), "red")
    with (data / NAME).open("a") as file:
        file.write('{"at": "2026-')
    session = begin()
    assert session.state()["done"] == 1
    decide(session, "red")
    assert begin().state()["done"] == 2


def test_a_damaged_log_names_its_line(begin, data):
    decide(begin(), "red")
    with (data / NAME).open("a") as file:
        file.write("nonsense\n")
    with pytest.raises(ReviewError, match=r"review\.jsonl: line 3"):
        begin()


def test_two_reviews_of_one_folder_are_refused(begin, data):
    begin()
    with pytest.raises(ReviewError, match="running"):
        Log(data)


def test_links_in_the_source_are_not_followed(unsure, tmp_path):
    write_photo(tmp_path / "secret.jpg")
    (unsure / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (unsure / "folder").symlink_to(tmp_path)
    assert Folder(unsure).names() == ["0.jpg", "1.jpg", "2.jpg"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nowhere", "data"), "nowhere is no folder"),
        (("unsure", "nowhere"), "nowhere cannot be read"),
        (("data/red", "data"), "may not lie in each other"),
        (("", "data"), "Give SOURCE"),
        (("unsure", "data", "--table", "none.csv"), "none.csv cannot be read"),
        (("s3://", "data"), "names no bucket"),
        (("unsure", "."), "may not lie in each other"),
    ],
)
def test_a_wrong_command_is_told_in_one_line(words, told, data, unsure):
    command = [sys.executable, "-m", "local", "review", *words, "--port", "0"]
    result = subprocess.run(
        command,
        cwd=data.parent,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert told in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_review_starts_without_torch():
    script = "import sys, local.review.verb; print('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"
