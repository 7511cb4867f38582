"""docs/workshop.md is run, command by command, on a tiny drawn dataset in the photos' place."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.drawn import write_class_folders
from train.__main__ import VERBS, main

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/workshop.md"

# The page's photo, and class names in the place of the drawn colours.
PHOTO = "train/pants/0098b991-e36e-4ef1-b5ee-4154b21e2a92.jpg"
CLASSES = {"blue": "dress", "green": "hat", "red": "pants"}

# Given after the page's own flags, so that they count: no download, and seconds rather than hours.
SMALL = {
    "fit": "--backbone mobilenet_v2 --weights none --input-px 32 --epochs 2 --batch 10 --threads 1 "
    "--workers 0",
    "build": "--recipe small.toml --weights none",
    "sweep": "--weights none --input-px 32 --epochs 2 --batch 10 --threads 1 --seeds 0 1",
    "frontier": "--sizes 32 48",
    "predict": "",
    # What two epochs on drawn photos give need not pass, nor be faster at 32 pixels.
    "quantize": "--photos 9 --methods minmax --weights paired --min-agreement 0 "
    "--max-accuracy-loss 1 --max-time-ratio 1000",
}

# In the place of a recipe that ships.
RECIPE = """
[steps.student]
verb = "fit"
input_px = 32
epochs = 2
batch = 10
threads = 1
workers = 0

[steps.export]
verb = "export"
run = "student"

[steps.bundle]
verb = "bundle"
run = "student"
"""


def commands() -> list[list[str]]:
    """Every `python -m train` command of the page's shell blocks, in order, as words."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    prefix = ["python", "-m", "train"]
    words = [shlex.split(line, comments=True) for line in lines]
    return [line[3:] for line in words if line[:3] == prefix and "--help" not in line]


@pytest.fixture
def in_a_folder_with_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_class_folders(tmp_path / "data/clothing-dataset-small")
    for folder in data.glob("*/*"):
        folder.rename(folder.with_name(CLASSES[folder.name]))
    shutil.copy(data / "train/pants/0.jpg", data / PHOTO)
    (tmp_path / "small.toml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_every_command_of_the_page_runs(in_a_folder_with_photos, capsys):
    for verb, *flags in commands():
        changed = SMALL.get(verb, "").split()
        if verb == "predict" and "--backbone" in flags:
            changed = ["--weights", "none"]
        sizes = flags.index("--progressive-px") if "--progressive-px" in flags else None
        if sizes is not None:
            changed += ["--progressive-px", "32", "48"]
        if "--teacher-px" in flags:
            changed += ["--teacher-px", "48"]
        code = main([verb, *flags, *changed])
        assert code == 0, f"{verb} {flags}: {capsys.readouterr().err}"


def test_the_page_uses_every_verb_of_training():
    assert {verb for verb, *_ in commands()} == VERBS.keys()


def test_the_page_follows_the_workshops_twelve_sections():
    numbers = re.findall(r"^## (\d+)\. ", PAGE.read_text(), re.MULTILINE)
    assert numbers == [str(number) for number in range(1, 13)]
