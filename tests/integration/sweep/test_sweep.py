"""`python -m train sweep` on drawn photos, from the command line to the files that it leaves."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.drawn import COLOURS, encoded, picture
from train.__main__ import main
from train.config import DataConfig, FitConfig, NetworkConfig
from train.fit.loop import fit


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three colours of drawn photos; 12 of each to train on, 6 to compare on."""
    root = tmp_path_factory.mktemp("photos")
    for split, count, offset in (("train", 12, 0), ("validation", 6, 1000)):
        for colour in COLOURS:
            folder = root / split / colour
            folder.mkdir(parents=True)
            for number in range(count):
                image = picture(colour, width_px=40, height_px=40, seed=offset + number)
                (folder / f"{number}.jpg").write_bytes(encoded(image))
    return root


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def command(photos: Path, cache: Path, out: Path, *more: str) -> list[str]:
    network = ["--backbone", "mobilenet_v3_small", "--weights", "none", "--input-px", "32"]
    return [
        "sweep", "--data", str(photos), "--cache", str(cache), "--out", str(out), *network,
        "--lr", "1e-3", "1e-1", "--inner", "0", "8", "--dropout", "0", "0.5", "--seeds", "0", "1",
        "--epochs", "3", "--batch", "16", *more,
    ]  # fmt: skip


def test_a_sweep_leaves_a_record_a_page_and_a_picture(photos, cache, tmp_path, capsys):
    out = tmp_path / "sweep"

    assert main(command(photos, cache, out)) == 0

    record = json.loads((out / "sweep.json").read_text())
    assert len(record["settings"]) == 8
    assert record["photos"] == {"train": 36, "choosing": 18}
    assert record["config"]["seeds"] == [0, 1]
    assert record["recommended"] in record["tied_with_best"]
    assert all(len(row["accuracy_of_seeds"]) == 2 for row in record["settings"])
    page = (out / "sweep.md").read_text()
    assert "## All settings, best first" in page
    assert "](sweep.png)" in page
    with Image.open(out / "sweep.png") as plot:
        assert plot.width > 600
    said = capsys.readouterr().out
    assert "Learning rates, no inner layer, dropout 0:" in said
    assert str(out / "sweep.md") in said.splitlines()[-1]
    assert sorted(p.name for p in out.iterdir()) == ["sweep.json", "sweep.md", "sweep.png"]


def test_a_setting_of_the_sweep_ends_as_fit_does_with_the_same_settings(photos, cache, tmp_path):
    assert main(command(photos, cache, tmp_path / "sweep", "--seeds", "4")) == 0
    fit(
        FitConfig(
            out=tmp_path / "run",
            data=DataConfig(data=photos, cache=cache),
            network=NetworkConfig("mobilenet_v3_small", "none", inner=8, input_px=32),
            epochs=3,
            batch=16,
            lr=1e-3,
            seed=4,
            precision="no",
            threads=1,
        )
    )

    record = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    (row,) = [
        row
        for row in record["settings"]
        if (row["lr"], row["inner"], row["dropout"]) == (1e-3, 8, 0.0)
    ]
    last = json.loads((tmp_path / "run" / "run.json").read_text())["epochs"][-1]
    assert row["accuracy"] == pytest.approx(last["validation_accuracy"])
    assert row["loss"] == pytest.approx(last["validation_loss"], rel=1e-4)


def test_settings_can_be_compared_on_a_share_of_train(photos, cache, tmp_path):
    more = ("--choose-on", "holdout", "--holdout", "0.25", "--seeds", "3")

    assert main(command(photos, cache, tmp_path / "sweep", *more)) == 0

    record = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert record["photos"] == {"train": 27, "choosing": 9}
    assert "25% of each class of train, held out" in (tmp_path / "sweep" / "sweep.md").read_text()


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--lr", "0"), "--lr"),
        (("--dropout", "1"), "--dropout"),
        (("--inner", "-1"), "--inner"),
        (("--inner", "5", "5"), "--inner"),
        (("--seeds", "1", "1"), "--seeds"),
        (("--choose-on", "nothing"), "--choose-on"),
        (("--alpha", "1"), "--alpha"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_its_flag(
    photos, cache, tmp_path, capsys, flags, named
):
    assert main([*command(photos, cache, tmp_path / "sweep"), *flags]) == 2

    assert named in capsys.readouterr().err
    assert not (tmp_path / "sweep").exists()
