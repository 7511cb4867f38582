"""The report of a model on a split: its files, and that the page stands alone."""

import base64
import json
import re
import shutil
from html.parser import HTMLParser
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.drawn import encoded, picture
from tests.photo_folder import manifest_of, write_photo, write_photos
from tests.tiny_model import CLASSES, write_tiny_model
from train.__main__ import main
from train.evaluate.report.gallery import Mistake, thumbnail
from train.evaluate.report.pictures import draw_learning
from train.evaluate.verb import confident_mistakes

HOSTILE = "<script>alert(1)</script> & $name |*"


class Page(HTMLParser):
    """What a page names: its tags, everything that it would load, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "srcset", "href")]

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A tiny ONNX file's folder after evaluating it on photos, two of which are mislabelled."""
    folder = tmp_path_factory.mktemp("measured")
    write_photos(folder / "data", 4, ("validation",))
    for number in range(2):
        write_photo(folder / "data/validation/red" / f"mislabelled-{number}.jpg", "blue")
    classes = (CLASSES[0], HOSTILE, CLASSES[2])
    (folder / "data/validation/green").rename(folder / "data/validation/hostile")
    changes: dict[str, Any] = {"temperature": 2.0, "unsure_below": 0.6}
    write_tiny_model(folder / "plain.onnx", classes=("blue", "hostile", "red"), **changes)
    write_tiny_model(folder / "hostile.onnx", classes=classes, name=HOSTILE, **changes)
    assert run(folder, folder / "plain.onnx") == 0
    return folder


def run(folder, model, *flags: str) -> int:
    paths = ["--data", str(folder / "data"), "--cache", str(folder / "cache")]
    return main(["evaluate", str(model), *paths, *flags])


def test_the_json_report_has_accuracy_calibration_and_coverage(measured):
    report = json.loads((measured / "report.json").read_text())
    split = report["splits"]["validation"]
    assert (split["photos"], split["correct"]) == (14, 12)
    assert split["accuracy"] == pytest.approx(12 / 14)
    assert split["temperature"] == 2.0
    assert split["unsure"]["below"] == 0.6
    assert 0 <= split["ece_uncalibrated"] <= 1
    assert report["version"].startswith("sha256:")


def test_the_mistakes_are_listed_with_both_probabilities(measured):
    report = json.loads((measured / "report.json").read_text())
    mistakes = report["splits"]["validation"]["mistakes"]
    assert sorted(m["photo"] for m in mistakes) == ["mislabelled-0.jpg", "mislabelled-1.jpg"]
    assert {(m["label"], m["predicted"]) for m in mistakes} == {("red", "blue")}
    assert mistakes[0]["probability"] >= mistakes[1]["probability"] > 0.5
    assert all(m["label_probability"] < m["probability"] for m in mistakes)


def test_the_page_loads_nothing_from_outside(measured):
    page = Page((measured / "report.html").read_text())
    assert len(page.loads) >= 10  # four pictures in two schemes, two thumbnails
    assert all(url.startswith("data:image/") for url in page.loads)
    assert not {"script", "link", "iframe"} & set(page.tags)


def test_the_page_names_every_class_and_shows_every_mistake(measured):
    page = Page((measured / "report.html").read_text())
    for label in ("blue", "hostile", "red", "mislabelled-0.jpg", "mislabelled-1.jpg"):
        assert label in page.text
    assert sum(url.startswith("data:image/jpeg") for url in page.loads) == 2


def test_the_headlines_tell_what_calibration_and_the_threshold_do(measured):
    text = Page((measured / "report.html").read_text()).text
    assert "before temperature 2" in text
    assert "Accuracy of the answered" in text
    assert "probability 0.6 or more" in text


def test_the_text_report_shows_pictures_that_lie_beside_it(measured):
    text = (measured / "report.md").read_text()
    names = [line.split("](")[1].rstrip(")") for line in text.splitlines() if line.startswith("![")]
    assert len(names) == 4
    for name in names:
        assert (measured / name).read_bytes().startswith(b"\x89PNG")
    assert "| blue | 4 |" in text
    assert "red taken for blue: 2" in text


@pytest.mark.parametrize("named", [False, True])
def test_the_report_of_a_bundle_is_not_replaced(measured, tmp_path, capsys, named: bool):
    """Its `answers` are what the deployment's alarms compare with."""
    shutil.copy(measured / "plain.onnx", tmp_path)
    bundled = json.dumps({"answers": {"mean_confidence": 0.9}})
    (tmp_path / "report.json").write_text(bundled)
    flags = ["--out", str(tmp_path)] if named else []
    assert run(measured, tmp_path / "plain.onnx", *flags) == 2
    error = capsys.readouterr().err
    assert f"{tmp_path / 'report.json'} is a bundle's" in error
    assert "another folder for this report, --out DIR" in error
    assert (tmp_path / "report.json").read_text() == bundled
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plain.onnx", "report.json"]


def test_another_splits_report_lies_beside_the_first(measured, tmp_path):
    for split, each in (("validation", 4), ("test", 2)):
        write_photos(tmp_path / "data", each, (split,))
    for split in ("validation", "test"):
        (tmp_path / "data" / split / "green").rename(tmp_path / "data" / split / "hostile")
    assert run(tmp_path, measured / "plain.onnx", "--out", str(tmp_path / "out")) == 0
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    flags = ("--split", "test", "--out", str(tmp_path / "out"))
    assert run(tmp_path, measured / "plain.onnx", *flags) == 0
    assert {name: (tmp_path / "out" / name).read_bytes() for name in first} == first
    assert json.loads((tmp_path / "out/report-test.json").read_text())["splits"]["test"]
    names = re.findall(r"!\[.*\]\((.*)\)", (tmp_path / "out/report-test.md").read_text())
    assert names
    assert not first.keys() & set(names)
    assert all((tmp_path / "out" / name).is_file() for name in names)


@pytest.mark.parametrize("before", ["{", "3", '{"splits": {}}'])
def test_a_report_that_is_no_bundles_is_replaced(measured, tmp_path, before: str):
    (tmp_path / "report.json").write_text(before)
    assert run(measured, measured / "plain.onnx", "--out", str(tmp_path)) == 0
    assert json.loads((tmp_path / "report.json").read_text())["splits"]["validation"]


def test_names_are_never_markup(measured, tmp_path):
    data = tmp_path / "data/validation"
    write_photo(data / "blue/1.jpg", "blue")
    write_photo(data / "red/1.jpg", "blue")
    assert run(tmp_path, measured / "hostile.onnx", "--out", str(tmp_path)) == 0
    page = Page((tmp_path / "report.html").read_text())
    assert "script" not in page.tags
    assert HOSTILE in page.text
    markdown = (tmp_path / "report.md").read_text()
    assert "<script>" not in markdown
    assert r"\|" in markdown


def test_as_many_mistakes_are_shown_as_was_asked_for(measured, tmp_path):
    flags = ("--mistakes", "1", "--out", str(tmp_path))
    assert run(measured, measured / "plain.onnx", *flags) == 0
    assert (tmp_path / "report.html").read_text().count("data:image/jpeg") == 1


def test_a_model_without_mistakes_says_so(tmp_path):
    write_photos(tmp_path / "data", 1, ("validation",))
    assert run(tmp_path, write_tiny_model(tmp_path / "tiny.onnx")) == 0
    assert "every photo was classified correctly" in (tmp_path / "report.html").read_text()


def test_a_negative_number_of_mistakes_is_refused(measured, capsys):
    assert run(measured, measured / "plain.onnx", "--mistakes=-1") == 2
    assert "--mistakes takes a number 0 or more; found -1" in capsys.readouterr().err


def test_a_thumbnail_is_small_and_upright(tmp_path):
    lying = picture(width_px=900, height_px=300)
    exif = lying.getexif()
    exif[0x0112] = 6
    file = tmp_path / "photo.jpg"
    file.write_bytes(encoded(lying, exif=exif))
    content = base64.b64decode(thumbnail(file).partition("base64,")[2])
    with Image.open(BytesIO(content)) as small:
        assert small.size == (80, 240)


def test_a_mistake_tells_programs_the_files_name_and_not_where_it_lies(tmp_path):
    mistake = Mistake(tmp_path / "a.jpg", "red", "blue", 0.9, 0.1)
    assert mistake.to_json()["photo"] == "a.jpg"


def test_the_surest_mistakes_come_first(tmp_path):
    photos = manifest_of(write_photos(tmp_path / "photos", 1), "train")  # blue, green, red
    probabilities = np.array([[0.1, 0.8, 0.1], [0.2, 0.7, 0.1], [0.9, 0.05, 0.05]])
    found = confident_mistakes(probabilities, photos, 5)
    assert [(m.label, m.predicted, m.probability) for m in found] == [
        ("red", "blue", 0.9),
        ("blue", "green", 0.8),
    ]


def test_a_run_that_kept_its_record_gets_learning_curves(tmp_path):
    epochs = [{"epoch": 1, "train_loss": 1.0, "train_accuracy": 0.5}]
    record = {"epochs": epochs, "photos": {"chosen_on": "nothing"}}
    (tmp_path / "run.json").write_text(json.dumps(record))
    names = [drawn.name for drawn in draw_learning(tmp_path)]
    assert names == ["report-loss.png", "report-accuracy.png"]


def test_an_onnx_file_gets_no_learning_curves(tmp_path):
    assert draw_learning(write_tiny_model(tmp_path / "tiny.onnx")) == []
