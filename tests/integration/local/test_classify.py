"""`python -m local classify` as a user types it, against the handler's answers."""

import base64
import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest

from local import classify
from local.__main__ import main
from serving.app import App
from serving.model.classifier import Classifier
from serving.settings import Settings
from tests.drawn import encoded, picture
from tests.tiny_model import write_tiny_model

FIELDS = ("label", "unsure", "unsure_because", "familiarity", "predictions")


@pytest.fixture
def model(tmp_path: Path, monkeypatch) -> Path:
    path = write_tiny_model(tmp_path / "tiny.onnx", unsure_below=0.9)
    monkeypatch.setenv("MODEL_PATH", str(path))
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Photos of every format, and files that are none though they are called so."""
    folder = tmp_path / "photos"
    (folder / 'more, \n"of" them' / "deep").mkdir(parents=True)
    for number, known in enumerate(("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIC")):
        photo = picture(("red", "green", "blue")[number % 3], seed=number)
        (folder / f"{number}.{known}").write_bytes(encoded(photo, known))
    whole = encoded(picture("red"))
    for name, data in {
        'more, \n"of" them/deep/1.jpg': encoded(picture("green")),
        "without ending": whole,
        "cut.jpg": whole[: len(whole) // 2],
        "text.JPG": b"BM is not how it begins",
        "empty.png": b"",
    }.items():
        (folder / name).write_bytes(data)
    return folder


def handlers_answer(app: App, data: bytes) -> dict[str, Any]:
    answer = app.handle({"image": base64.b64encode(data).decode() or "="}, "request-1")
    if "code" in answer:
        return {"error": answer["code"]}
    return {name: answer[name] for name in FIELDS if name in answer}


def rows(file: Path) -> dict[str, dict[str, Any]]:
    """The rows of JSON lines by path; each path once."""
    found = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    by_path = {row["path"]: row for row in found}
    assert len(by_path) == len(found)
    return by_path


def test_each_photo_gets_the_handlers_answer(model, photos, tmp_path):
    out = tmp_path / "answers.jsonl"
    assert main(["classify", str(photos), "--out", str(out)]) == 0
    app = App(Classifier.load(model), Settings())
    expected = {
        str(path): handlers_answer(app, path.read_bytes())
        for path in photos.rglob("*")
        if path.is_file()
    }
    found = rows(out)
    assert len(expected) == 13
    assert {
        path: {name: row[name] for name in (*FIELDS, "error") if name in row}
        for path, row in found.items()
    } == expected
    assert {row["model"] for row in found.values()} == {Classifier.load(model).version}


def test_csv_has_the_same_in_columns(model, photos, tmp_path):
    for ending in ("jsonl", "csv"):
        main(["classify", str(photos), "--out", f"{tmp_path}/answers.{ending}"])
    wanted = rows(tmp_path / "answers.jsonl")
    with (tmp_path / "answers.csv").open(encoding="utf-8", newline="") as file:
        table = {row["path"]: row for row in csv.DictReader(file)}
    assert table.keys() == wanted.keys()
    for path, row in wanted.items():
        cells = table[path]
        assert cells["error"] == row.get("error", "")
        assert cells["label"] == row.get("label", "")
        assert cells["unsure"] == (str(row["unsure"]).lower() if "unsure" in row else "")
        for rank, other in enumerate(row.get("predictions", ())[1:], start=2):
            assert cells[f"label_{rank}"] == other["label"]
            assert float(cells[f"probability_{rank}"]) == other["probability"]


def test_what_has_a_row_is_not_classified_again(model, photos, tmp_path, capsys):
    out = tmp_path / "answers.jsonl"
    words = ["classify", str(photos), "--out", str(out)]
    main(words)
    first = out.read_bytes()
    assert main(words) == 0
    assert out.read_bytes() == first
    (photos / "new.jpg").write_bytes(encoded(picture("blue")))
    assert main([*words, "--sort-into", str(tmp_path / "sorted")]) == 0
    assert out.read_bytes().startswith(first)
    assert rows(out)[str(photos / "new.jpg")]["label"] == "blue"
    links = {link.resolve(): link.parent.name for link in (tmp_path / "sorted").glob("*/*")}
    labels = {Path(path): row["label"] for path, row in rows(out).items() if "label" in row}
    assert links == labels
    assert "has 13 of 14 photos already" in capsys.readouterr().out


def test_only_what_is_a_photo_is_listed(tmp_path, capsys):
    folder = tmp_path / "photos"
    for name in ("a", "b/@eaDir", ".trash", "c"):
        (folder / name).mkdir(parents=True)
    for name in ("a/1.jpg", "b/2", "b/@eaDir/thumb.jpg", ".trash/3.jpg", "c/._4.jpg", "c/4.HEIF"):
        (folder / name).write_bytes(encoded(picture("red")))
    (folder / "note.txt").write_text("BMW, not a bitmap")
    (folder / "a" / "round").symlink_to(folder)
    for name in ("d", "e"):
        (folder / name).symlink_to(folder / "c")
    (folder / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    os.mkfifo(folder / "pipe.jpg")
    os.mkfifo(folder / "pipe")
    photos, others = classify.listed(folder)
    assert photos == [str(folder / name) for name in ("gone.jpg", "a/1.jpg", "b/2", "c/4.HEIF")]
    assert others == 3


def test_a_file_that_cannot_be_read_is_a_row(model, tmp_path):
    folder, out = tmp_path / "photos", tmp_path / "answers.jsonl"
    folder.mkdir()
    (folder / os.fsdecode(b"gone-\xff.jpg")).symlink_to(tmp_path / "nowhere.jpg")
    assert main(["classify", str(folder), "--out", str(out)]) == 0
    row = rows(out)[rf"{folder}/gone-\xff.jpg"]
    assert (row["error"], row["detail"]) == (
        "unreadable_file",
        "It cannot be read: No such file or directory.",
    )


def test_a_file_above_the_limit_is_a_row(model, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("FETCH_MAX_BYTES", str((photos / "0.JPEG").stat().st_size - 1))
    out = tmp_path / "answers.jsonl"
    main(["classify", str(photos), "--out", str(out)])
    assert rows(out)[str(photos / "0.JPEG")]["error"] == "too_large"


class Dying(classify.Workers):
    """Its processes are killed once the photo is theirs, `deaths` times."""

    deaths = 1

    def row_of(self, photo: Path) -> dict[str, Any]:
        self._kill()
        (row,) = self.rows([str(photo)])
        return row

    def _replace(self, worker: classify.Worker) -> None:
        super()._replace(worker)
        if self.deaths > 1:
            self._kill()

    def _kill(self) -> None:
        self.workers[0]._process.kill()


@pytest.mark.parametrize(("deaths", "error"), [(1, None), (2, "internal_error")])
def test_a_photo_whose_process_dies_is_tried_twice(deaths, error, model, photos):
    with Dying(1) as workers:
        workers.deaths = deaths
        assert workers.row_of(photos / "0.JPEG").get("error") == error


@pytest.mark.parametrize(
    ("words", "variables", "message"),
    [
        (["none"], {}, "There is no folder none."),
        (["empty"], {}, "There are no photos below empty"),
        (["photos", "--out", "answers.txt"], {}, "answers.txt"),
        (["photos", "--sort-into", "photos/sorted"], {}, "photos/sorted lies in photos"),
        (["photos"], {"MODEL_PATH": "none.onnx"}, "none.onnx cannot be read"),
        (["photos"], {"IMAGE_MAX_PIXELS": "many"}, "IMAGE_MAX_PIXELS"),
    ],
)
def test_what_keeps_it_from_starting_is_one_line(
    words, variables, message, model, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").write_bytes(encoded(picture("red")))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main(["classify", *words]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error


@pytest.mark.parametrize("words", [[], [""], ["photos", "--out", ""]])
def test_wrong_usage_is_status_2(words):
    with pytest.raises(SystemExit) as ended:
        main(["classify", *words])
    assert ended.value.code == 2
