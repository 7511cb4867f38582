"""`train build`: from drawn photos to a model in one command, stopped and changed on the way."""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

from serving.model.classifier import Classifier
from tests.drawn import write_class_folders
from tests.small_recipes import Tables, small_steps, write_recipe
from train.__main__ import main
from train.errors import UsageError
from train.files import read_json
from train.recipes.build import BuildConfig, build
from train.runs.folder import load_checkpoint

RECIPES = ("frozen", "finetune", "best", "clothing")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train, validation and test; read-only by agreement."""
    root = write_class_folders(tmp_path_factory.mktemp("build") / "colours")
    shutil.copytree(root / "validation", root / "test")
    return root


def config_in(folder: Path, photos: Path, cache: Path, steps: Tables) -> BuildConfig:
    return BuildConfig(
        data=photos,
        recipe=str(write_recipe(folder / "own.toml", steps)),
        out=folder / "runs",
        weights=("none",),
        model=folder / "model",
        cache=cache,
    )


@pytest.fixture(scope="module")
def built(photos: Path, photo_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> BuildConfig:
    """The frozen recipe, built; read-only by agreement."""
    folder = tmp_path_factory.mktemp("built")
    config = config_in(folder, photos, photo_cache, small_steps("frozen"))
    build(config)
    return config


@pytest.fixture
def copied(built: BuildConfig, photos: Path, photo_cache: Path, tmp_path: Path) -> BuildConfig:
    """The same in a folder of the test's own."""
    assert built.out is not None
    shutil.copytree(built.out.parent, tmp_path, dirs_exist_ok=True)
    return config_in(tmp_path, photos, photo_cache, small_steps("frozen"))


def done_again(text: str, names: tuple[str, ...] = ("student", "export", "quantize")) -> set[str]:
    """The steps that a build says it does, not those that it calls done."""
    planned = [line.split() for line in text.splitlines() if line.startswith("  ")]
    return {words[0] for words in planned if words[2] == "about" and words[0] in names}


def test_a_build_leaves_a_model_that_serving_loads_and_tells_what_it_is(built: BuildConfig):
    model = Classifier.load(built.model / "classifier.onnx")
    assert set(model.contract.classes) == {"blue", "green", "red"}
    assert "python -m train build --data DIR --recipe own.toml" in (
        built.model / "MODEL_CARD.md"
    ).read_text(encoding="utf-8")
    assert (built.model / "report.json").is_file()
    assert (built.model.parent / "ops" / "hook" / "golden" / "expectations.json").is_file()


def test_a_second_build_does_nothing_and_prints_the_table(
    built: BuildConfig, capsys: pytest.CaptureFixture[str]
):
    before = {path: path.stat().st_mtime_ns for path in built.model.rglob("*")}
    build(built)
    told = capsys.readouterr().out
    assert told.count("done before") == 4
    assert "| float32" in told
    assert "right on test (95 % interval)" in told
    assert str(built.model / "MODEL_CARD.md") in told
    assert {path: path.stat().st_mtime_ns for path in built.model.rglob("*")} == before


def test_a_changed_recipe_does_only_what_changed(
    copied: BuildConfig, capsys: pytest.CaptureFixture[str]
):
    steps = small_steps("frozen")
    del steps["quantize"]
    write_recipe(Path(copied.recipe), steps)
    build(copied)
    told = capsys.readouterr().out
    assert done_again(told, tuple(steps)) == {"bundle"}
    assert "float32, bundled" in told


@pytest.mark.slow
def test_a_run_of_other_settings_is_kept_under_its_old_key(copied: BuildConfig):
    assert copied.out is not None
    before = (copied.out / "student" / "model.pt").read_bytes()
    key = read_json(copied.out / "student.json")["key"]
    steps = small_steps("frozen")
    del steps["quantize"]
    steps["student"]["lr"] = 0.5
    write_recipe(Path(copied.recipe), steps)
    build(copied)
    assert (copied.out / f"student-{key[:8]}" / "model.pt").read_bytes() == before
    assert (copied.out / "student" / "model.pt").read_bytes() != before


def test_what_was_lost_is_made_again(copied: BuildConfig, capsys: pytest.CaptureFixture[str]):
    before = (copied.model / "classifier.onnx").read_bytes()
    (copied.model / "classifier.onnx").write_bytes(b"cut short")
    build(copied)
    assert done_again(capsys.readouterr().out) == set()
    assert (copied.model / "classifier.onnx").read_bytes() == before


@pytest.mark.slow
def test_int8_that_the_gate_refuses_leaves_float32_and_says_why(
    copied: BuildConfig, capsys: pytest.CaptureFixture[str]
):
    assert copied.out is not None
    steps = small_steps("frozen")
    steps["quantize"]["max_time_ratio"] = 1e-9
    write_recipe(Path(copied.recipe), steps)
    assert main(command_of(copied)[3:]) == 0
    told = capsys.readouterr().out
    assert "The float32 file is bundled. No int8 file passes the gate" in told
    exported = copied.out / "student" / "classifier.onnx"
    assert (copied.model / "classifier.onnx").read_bytes() == exported.read_bytes()


def test_the_checkpoint_is_half_as_wide_and_names_no_folder(built: BuildConfig, photos: Path):
    assert built.out is not None
    saved = load_checkpoint(built.model / "checkpoint" / "model.pt")
    full = load_checkpoint(built.out / "student" / "model.pt")
    matrices = [name for name, value in full["weights"].items() if value.ndim > 1]
    assert all(saved["weights"][name].dtype == torch.float16 for name in matrices)
    assert all(torch.equal(saved["weights"][n], full["weights"][n].half()) for n in matrices)
    for name in ("config.json", "run.json"):
        text = (built.model / "checkpoint" / name).read_text(encoding="utf-8")
        assert str(photos.parent) not in text
        assert str(built.out) not in text


@pytest.mark.slow
def test_a_build_from_the_checkpoint_answers_as_the_model_does(copied: BuildConfig):
    assert copied.out is not None
    float32 = Classifier.load(copied.out / "student" / "classifier.onnx")
    shutil.rmtree(copied.out)
    build(replace(copied, from_step="export"))
    again = Classifier.load(copied.out / "checkpoint" / "classifier.onnx")
    batch = np.random.default_rng(0).normal(size=(4, 3, 32, 32)).astype(np.float32)
    np.testing.assert_allclose(again.logits(batch), float32.logits(batch), atol=0.02)
    build(replace(copied, from_step="export"))  # the checkpoint that it leaves is the same


def test_a_file_of_weights_is_not_needed_once_a_run_has_them(
    photos: Path, photo_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    steps = small_steps("frozen")
    del steps["quantize"]
    steps["student"].update(backbone="timm/test_resnet", epochs=1)
    file = tmp_path / "resnet.pth"
    torch.save(timm.create_model("test_resnet").state_dict(), file)
    config = config_in(tmp_path, photos, photo_cache, steps)
    config = replace(config, weights=(f"timm/test_resnet={file}",))
    build(config)
    file.unlink()
    capsys.readouterr()
    build(config)
    assert done_again(capsys.readouterr().out, ("student", "export")) == set()

    model = tmp_path / "runs/student/model.pt"
    before = load_checkpoint(model)["weights"]
    model.unlink()  # resuming writes it from the last epoch
    build(config)
    assert "student" in done_again(capsys.readouterr().out)
    after = load_checkpoint(model)["weights"]
    assert all(torch.equal(after[name], value) for name, value in before.items())

    (tmp_path / "runs/student/last.pt").unlink()
    model.unlink()
    with pytest.raises(UsageError, match=r"steps\.student: --weights .*resnet\.pth is neither"):
        build(config)


def test_a_checkpoint_of_other_classes_is_refused_by_name(copied: BuildConfig, tmp_path: Path):
    root = write_class_folders(tmp_path / "data")
    for split in ("train", "validation"):
        (root / split / "red").rename(root / split / "mauve")
    with pytest.raises(UsageError, match=r"classes blue, green, red, .* are blue, green, mauve"):
        build(replace(copied, data=root, from_step="export"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"backbone": "resnet19"}, "resnet19"), ({"batch": 1, "train_backbone": True}, "--batch 1")],
)
def test_what_no_network_can_do_ends_a_build_before_its_first_step(
    photos: Path, photo_cache: Path, tmp_path: Path, changes: dict[str, Any], told: str
):
    steps = small_steps("frozen")
    steps["student"] |= changes
    config = config_in(tmp_path, photos, photo_cache, steps)
    with pytest.raises(UsageError, match=told):
        build(config)
    assert not list(tmp_path.glob("runs/*"))


def test_a_folder_without_photos_ends_a_build_before_its_first_step(tmp_path: Path):
    config = config_in(tmp_path, tmp_path / "nowhere", tmp_path, small_steps("frozen"))
    with pytest.raises(UsageError, match="nowhere is not a folder"):
        build(config)


def command_of(config: BuildConfig) -> list[str]:
    flags = ["--recipe", config.recipe, "--out", str(config.out), "--model", str(config.model)]
    flags += ["--data", str(config.data), "--cache", str(config.cache), "--weights", "none"]
    return [sys.executable, "-m", "train", "build", *flags]


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_build_killed_at_random_ends_with_the_same_bits(
    photos: Path, photo_cache: Path, tmp_path: Path, name: str
):
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    print(f"SEED={seed}")
    randomly = random.Random(seed)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    started = time.perf_counter()
    subprocess.run(command_of(config_in(whole, photos, photo_cache, small_steps(name))), check=True)
    took_s = time.perf_counter() - started

    config = config_in(killed, photos, killed / "cache", small_steps(name))
    command = command_of(config)
    kills = 0
    for _ in range(3):
        try:  # ends it by SIGKILL
            subprocess.run(command, timeout=randomly.uniform(0.05, 0.5) * took_s)
        except subprocess.TimeoutExpired:
            kills += 1
    assert config.out is not None
    assert kills, "no kill came before the end"
    assert list(config.out.glob("*.json")), "every kill came before the first step"
    subprocess.run(command, check=True)
    for file in ("model/classifier.onnx", "ops/hook/golden/expectations.json"):
        assert (killed / file).read_bytes() == (whole / file).read_bytes(), file
    runs = [path.parent.name for path in whole.glob("runs/*/model.pt")]
    for run in runs:
        one, other = (load_checkpoint(root / "runs" / run / "model.pt") for root in (whole, killed))
        assert all(torch.equal(one["weights"][n], other["weights"][n]) for n in one["weights"])
    reports = [json.loads((root / "model" / "report.json").read_text()) for root in (whole, killed)]
    assert reports[0]["splits"] == reports[1]["splits"]
