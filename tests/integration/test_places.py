"""Folders that nothing can be written into are named in one line, before the work and not after."""

import errno
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from train.__main__ import main
from train.errors import TrainError
from train.evaluate import verb as evaluate
from train.export import bundle
from train.export import onnx as export
from train.files import write_json

Command = Callable[[Path, str], list[str]]

# Verb -> its words, without what they need beside a run and a place for what they write.
VERBS: dict[str, Command] = {
    "fit": lambda run, out: ["--out", out],
    "sweep": lambda run, out: ["--out", out, "--weights", "none", "--input-px", "32"],
    "evaluate": lambda run, out: [str(run), "--out", out],
    "export": lambda run, out: [str(run), "--out", f"{out}/x.onnx"],
    "bundle": lambda run, out: [str(run), "--out", out],
}
WITH_DATA = {"fit", "sweep", "evaluate"}


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes long fails: a bad place is to be found out before it."""

    def work(*_: object, **__: object) -> None:
        raise AssertionError("the work began before the place for its result was looked at")

    for module in (bundle, evaluate, export):
        for name in ("load_model", "open_model"):
            monkeypatch.setattr(module, name, work, raising=False)
    monkeypatch.setattr("train.photos.splits.collect", work)
    monkeypatch.setattr("train.photos.splits.divide", work)


def words(verb: str, run: Path, photos: Path, out: Path) -> list[str]:
    where = ["--data", str(photos)] if verb in WITH_DATA else []
    return [verb, *VERBS[verb](run, str(out)), *where]


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize("place", ["FILE", "FILE/below"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_file_where_a_folder_is_to_be_is_named_before_the_work(
    verb: str, place: str, tiny_run: Path, drawn_data: Path, tmp_path: Path, capsys, no_work
):
    (tmp_path / "FILE").write_text("kept")
    out = tmp_path / place
    assert main(words(verb, tiny_run, drawn_data, out)) == 2
    assert one_line(capsys).startswith(f"train {verb}: --out {out} ")
    assert (tmp_path / "FILE").read_text() == "kept"


@pytest.mark.parametrize("verb", VERBS)
def test_a_folder_that_takes_no_file_is_named_before_the_work(
    verb: str, tiny_run: Path, drawn_data: Path, tmp_path: Path, capsys, no_work, monkeypatch
):
    # Who runs tests as root may write into folders that are read-only.
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    monkeypatch.setattr(tempfile, "mkstemp", refused)
    assert main(words(verb, tiny_run, drawn_data, tmp_path / "out")) == 2
    line = one_line(capsys)
    assert line.startswith(f"train {verb}: --out {tmp_path / 'out'} ")
    assert "Permission denied" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["FILE", "FILE/below"])
def test_a_cache_that_cannot_be_is_named(
    place: str, drawn_data: Path, tmp_path: Path, capsys, monkeypatch
):
    (tmp_path / "FILE").touch()
    cache, out = tmp_path / place, tmp_path / "run"
    flags = ["--data", str(drawn_data), "--out", str(out), "--cache", str(cache)]
    monkeypatch.setattr("train.photos.splits.divide", None)  # no photo is looked at
    assert main(["fit", *flags]) == 2
    assert one_line(capsys).startswith(f"train fit: --cache {cache} ")


def test_events_for_tensorboard_do_not_come_before_the_check_of_the_folder(
    drawn_data: Path, tmp_path: Path, capsys
):
    (tmp_path / "FILE").touch()
    out = tmp_path / "FILE"
    flags = ["--data", str(drawn_data), "--out", str(out)]
    assert main(["fit", "--tracker", "tensorboard", *flags]) == 2
    assert one_line(capsys).startswith(f"train fit: --out {out} ")


def test_what_is_written_below_a_file_after_all_is_one_line(tmp_path: Path):
    (tmp_path / "FILE").touch()
    with pytest.raises(TrainError, match=r"FILE/run\.json could not be written: "):
        write_json(tmp_path / "FILE" / "run.json", {})


def test_a_report_of_a_run_that_takes_no_file_names_its_folder(
    tiny_run: Path, drawn_data: Path, capsys, no_work, monkeypatch
):
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    assert main(["evaluate", str(tiny_run), "--data", str(drawn_data)]) == 2
    assert f"{tiny_run} is not writable: Read-only file system" in one_line(capsys)


def test_a_folder_as_the_file_to_export_is_named_before_the_work(
    tiny_run: Path, tmp_path: Path, capsys, no_work
):
    assert main(["export", str(tiny_run), "--out", str(tmp_path)]) == 2
    assert one_line(capsys).startswith(f"train export: --out {tmp_path} is a folder")
