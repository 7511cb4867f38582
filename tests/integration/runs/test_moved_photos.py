"""Photos that were moved after a run: `--data` names their folder, for what was held out too."""

import shutil
from pathlib import Path

import pytest

from serving.model.classifier import Classifier
from tests.drawn import encoded, picture, write_class_folders
from tests.training import tiny_config
from train.__main__ import main
from train.files import read_json
from train.fit.loop import fit
from train.runs.model import load_model
from train.runs.photos import held_out_photos

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory, photo_cache: Path) -> tuple[Path, Path]:
    """A run that held photos out, and where its photos lie now."""
    folder = tmp_path_factory.mktemp("moved")
    before = write_class_folders(folder / "before")
    reading = {"choose_on": "holdout", "holdout": 0.3}
    fit(tiny_config(before, photo_cache, folder / "run", epochs=1, reading=reading))
    return folder / "run", before.rename(folder / "now")


def verb(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str]:
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def test_held_out_photos_are_measured_where_they_lie_now(
    moved: tuple[Path, Path], photo_cache: Path, tmp_path: Path, capsys
):
    run, data = moved
    words = ("evaluate", run, "--split", "holdout", "--out", tmp_path, "--cache", photo_cache)
    code, said = verb(capsys, *words, "--data", data)
    assert (code, "holdout: accuracy" in said) == (0, True), said
    assert read_json(tmp_path / "report.json")["splits"]["holdout"]["photos"] == 9


def test_an_export_is_calibrated_where_they_lie_now(
    moved: tuple[Path, Path], photo_cache: Path, tmp_path: Path, capsys
):
    run, data = moved
    words = ("export", run, "--out", tmp_path / "x.onnx", "--cache", photo_cache)
    code, said = verb(capsys, *words, "--data", data)
    assert code == 0, said
    assert Classifier.load(tmp_path / "x.onnx").contract.metrics["calibration_photos"] == 9


def test_sizes_are_chosen_where_they_lie_now(moved: tuple[Path, Path], photo_cache: Path, capsys):
    run, data = moved
    words = ("frontier", run, "--sizes", "32", "--cache", photo_cache)
    code, said = verb(capsys, *words, "--data", data)
    assert (code, "32 pixels" in said) == (0, True), said


def test_a_folder_of_other_photos_is_refused_by_name(
    moved: tuple[Path, Path], photo_cache: Path, tmp_path: Path, capsys
):
    run, data = moved
    other = Path(shutil.copytree(data, tmp_path / "other"))
    (other / "train/red/0.jpg").write_bytes(encoded(picture("red", seed=4711)))
    words = ("evaluate", run, "--split", "holdout", "--cache", photo_cache)
    code, said = verb(capsys, *words, "--data", other)
    assert code == 2
    assert f"Neither {other} nor {data.with_name('before')} holds the photos" in said
    code, said = verb(capsys, "frontier", run, "--cache", photo_cache)
    assert code == 2
    assert f"{data.with_name('before')} does not hold the photos" in said
    assert "--data DIR" in said


def test_a_data_folder_without_train_falls_back_to_the_runs_own(
    moved: tuple[Path, Path], photo_cache: Path, tmp_path: Path
):
    run, data = moved
    trained = load_model(run)
    before = trained.config.data.data
    shutil.copytree(data, before)
    try:
        found = held_out_photos(trained, run, photo_cache, tmp_path)
    finally:
        shutil.rmtree(before)
    assert found.root == before
    assert found.photos == held_out_photos(trained, run, photo_cache, data).photos
