"""Training with a teacher: what the student takes from it, and which teachers are refused."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from serving.model.preprocess import PreprocessSpec, normalize
from tests.drawn import write_class_folders
from tests.training import tiny_config
from train.config import DataConfig, FitConfig
from train.errors import UsageError
from train.files import read_json, write_json
from train.fit.augmentation import at_size
from train.fit.distillation import Teacher, distillation_loss, joint_teacher, renormalized
from train.fit.loop import fit
from train.runs.folder import CONFIG, MODEL
from train.runs.model import load_model

WHOLE_NETWORK = {
    "network": {"train_backbone": True, "backbone": "mobilenet_v3_small"},
    "augment": "whole",
    "lr": 1e-3,
    "epochs": 1,
}


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = torch.load(run / MODEL, weights_only=True)["weights"]
    return weights


def test_the_loss_is_shared_between_teacher_and_labels():
    logits = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    taught = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    label_loss = torch.tensor(8.0)
    from_teacher = (torch.tensor(2.0).log() + torch.tensor(1 + torch.e**-2).log()) / 2
    for weight in (0.0, 0.25, 1.0):
        loss = distillation_loss(logits, taught, label_loss, weight)
        assert loss == pytest.approx(weight * from_teacher + (1 - weight) * label_loss)


def test_several_teachers_teach_their_mean():
    torch.manual_seed(0)
    networks = [torch.nn.Linear(5, 3), torch.nn.Linear(5, 3)]
    inputs = torch.randn(4, 5)
    one, two, both = (
        joint_teacher(some, compiled=False)(inputs)
        for some in (networks[:1], networks[1:], networks)
    )
    torch.testing.assert_close(both, (one + two) / 2)
    torch.testing.assert_close(both.sum(dim=1), torch.ones(4))


def test_a_teacher_gets_its_own_normalisation():
    given, wanted = PreprocessSpec(), PreprocessSpec(mean=(0.5,) * 3, std=(0.25, 0.5, 0.5))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    teacher = renormalized(torch.nn.Identity(), given, wanted)
    seen = teacher(torch.from_numpy(normalize(pixels, given)))
    torch.testing.assert_close(seen, torch.from_numpy(normalize(pixels, wanted)))


def test_a_teacher_trained_on_the_held_out_photos_is_refused(
    tiny_run: Path, drawn_data: Path, photo_cache: Path, tmp_path: Path
):
    config = tiny_config(
        drawn_data,
        photo_cache,
        tmp_path / "out",
        reading={"choose_on": "holdout", "holdout": 0.3},
        teacher=(str(tiny_run),),
        **WHOLE_NETWORK,
    )
    with pytest.raises(UsageError, match=r"--teacher .* has trained on photos that --choose-on"):
        fit(config)


def test_the_teacher_sees_a_larger_photo_than_its_student(
    tiny_run: Path,
    drawn_data: Path,
    photo_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    seen: dict[str, set[tuple[int, ...]]] = {"teacher": set(), "student": set()}

    def watched(networks: Sequence[torch.nn.Module], *, compiled: bool) -> Teacher:
        teach = joint_teacher(networks, compiled=compiled)

        def teach_and_note(inputs: torch.Tensor) -> torch.Tensor:
            seen["teacher"].add(tuple(inputs.shape[2:]))
            return teach(inputs)

        return teach_and_note

    def at_size_and_note(inputs: torch.Tensor, size_px: int) -> torch.Tensor:
        smaller = at_size(inputs, size_px)
        seen["student"].add(tuple(smaller.shape[2:]))
        return smaller

    monkeypatch.setattr("train.fit.loop.joint_teacher", watched)
    monkeypatch.setattr("train.fit.loop.at_size", at_size_and_note)
    teachers = (str(tiny_run),)
    fit(
        tiny_config(
            drawn_data,
            photo_cache,
            tmp_path / "out",
            teacher=teachers,
            teacher_px=64,
            **WHOLE_NETWORK,
        )
    )
    assert seen == {"teacher": {(64, 64)}, "student": {(32, 32)}}


def test_a_size_of_the_teachers_photos_wants_a_teacher():
    with pytest.raises(UsageError, match="--teacher-px needs a teacher"):
        FitConfig(out=Path("run"), data=DataConfig(Path("photos")), teacher_px=224)


@pytest.mark.slow
def test_a_student_of_only_the_teacher_ignores_the_labels(
    drawn_data: Path, photo_cache: Path, tmp_path: Path
):
    teacher = tmp_path / "teacher"
    fit(tiny_config(drawn_data, photo_cache, teacher, **WHOLE_NETWORK))
    taught = tiny_config(
        drawn_data, photo_cache, tmp_path / "one", teacher=(str(teacher),), **WHOLE_NETWORK
    )

    def trained(out: str, **changes) -> dict[str, torch.Tensor]:
        fit(replace(taught, out=tmp_path / out, **changes))
        return weights_of(tmp_path / out)

    smoothed = {"label_smoothing": 0.4}
    by_teacher = trained("one", teacher_weight=1.0)
    same = trained("two", teacher_weight=1.0, **smoothed)
    by_both = trained("three", teacher_weight=0.5)
    assert all(torch.equal(by_teacher[name], same[name]) for name in same)
    assert any(not torch.equal(by_teacher[name], by_both[name]) for name in same)
    by_labels = trained("four", teacher_weight=0.0)
    alone = trained("five", teacher=())
    assert all(torch.equal(by_labels[name], alone[name]) for name in alone)


def test_a_teacher_of_other_classes_is_refused_by_name(
    tiny_run: Path, photo_cache: Path, tmp_path: Path
):
    others = write_class_folders(tmp_path / "photos")
    for split in ("train", "validation"):
        shutil.rmtree(others / split / "red")
    config = tiny_config(
        others, photo_cache, tmp_path / "out", teacher=(str(tiny_run),), **WHOLE_NETWORK
    )
    with pytest.raises(UsageError, match=r"knows the classes blue, green, red, but .*blue, green:"):
        fit(config)


def test_a_head_on_cached_features_takes_no_teacher(
    tiny_run: Path, drawn_data: Path, tmp_path: Path
):
    with pytest.raises(UsageError, match="--teacher needs photos"):
        fit(tiny_config(drawn_data, tmp_path / "cache", tmp_path / "out", teacher=(str(tiny_run),)))
    assert not any(tmp_path.iterdir())  # it is refused before a photo is cached


def test_a_missing_teacher_is_refused(drawn_data: Path, photo_cache: Path, tmp_path: Path):
    config = tiny_config(
        drawn_data, photo_cache, tmp_path / "out", teacher=("nowhere",), **WHOLE_NETWORK
    )
    with pytest.raises(UsageError, match="nowhere"):
        fit(config)


def test_a_run_of_a_version_without_teachers_is_resumed(
    drawn_data: Path, photo_cache: Path, tmp_path: Path
):
    config = tiny_config(drawn_data, photo_cache, tmp_path / "old", epochs=1)
    fit(config)
    saved = read_json(config.out / CONFIG)
    for name in ("teacher", "teacher_weight", "teacher_px"):
        del saved[name]
    write_json(config.out / CONFIG, saved)
    fit(replace(config, resume=True))
    assert load_model(config.out).epoch["epoch"] == 1
