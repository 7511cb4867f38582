"""The mean of runs: real ones, of a small network on drawn photos."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training import tiny_config
from train import runs
from train.average import AverageConfig, average
from train.bundle import BundleConfig, bundle
from train.errors import UsageError
from train.evaluate import EvaluateConfig, evaluate
from train.export import ExportConfig, export
from train.fit import fit
from train.run_photos import held_out_photos
from train.saved import load_single

pytestmark = pytest.mark.slow

NETWORK = {"backbone": "resnet18", "train_backbone": True}


@pytest.fixture(scope="module")
def two_runs(
    drawn_data: Path, photo_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("members")
    for name, lr in (("one", 1e-3), ("other", 3e-4)):
        config = tiny_config(
            drawn_data, photo_cache, folder / name, network=NETWORK, epochs=4, lr=lr
        )
        fit(config)
    return folder / "one", folder / "other"


@pytest.fixture(scope="module")
def averaged(two_runs: tuple[Path, Path], photo_cache: Path) -> Path:
    out = two_runs[0].parent / "mean"
    average(AverageConfig(runs=two_runs, out=out, cache=photo_cache))
    return out


def weights(run: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = runs.load_checkpoint(run / runs.MODEL)["weights"]
    return found


def test_every_weight_is_the_mean_of_the_runs(two_runs: tuple[Path, Path], averaged: Path):
    one, other, mean = (weights(run) for run in (*two_runs, averaged))
    trained = [n for n, w in one.items() if w.is_floating_point() and "running_" not in n]
    assert not torch.equal(one["head.0.weight"], other["head.0.weight"])
    for name in trained:
        torch.testing.assert_close(mean[name], (one[name] + other[name]) / 2)


def test_batchnorm_is_measured_on_the_photos_not_averaged(
    two_runs: tuple[Path, Path], averaged: Path, drawn_data: Path, photo_cache: Path
):
    # The first layer's statistics, found once more by hand from what enters that layer.
    from serving.preprocess import PreprocessSpec, normalize
    from train import data

    photos = data.scan(drawn_data).split("train")
    pixels = data.pixels(photos, PreprocessSpec.square(32), photo_cache)
    backbone: Any = load_single(averaged).network.backbone
    with torch.inference_mode():
        entering = backbone.conv1(
            torch.from_numpy(normalize(pixels, PreprocessSpec()))
        )  # (N, 64, H, W)
    wanted = entering.mean(dim=(0, 2, 3))
    measured = backbone.bn1.running_mean
    averaged_mean = sum(weights(run)["backbone.bn1.running_mean"] for run in two_runs) / 2
    # Augmentation resizes from a larger copy and the last batch is left out: near, not the same.
    assert (measured - wanted).abs().max() < (averaged_mean - wanted).abs().max() / 3


def test_the_mean_is_a_run_like_any_other(averaged: Path, drawn_data: Path, photo_cache: Path):
    evaluate(EvaluateConfig(model=averaged, data=drawn_data, cache=photo_cache))
    export(ExportConfig(run=averaged, cache=photo_cache))
    out = averaged.parent / "model"
    bundle(BundleConfig(run=averaged, out=out, golden=out / "golden", cache=photo_cache))
    card = (out / "MODEL_CARD.md").read_text()
    assert "--out RUN1" in card
    assert "--lr 0.0003" in card
    assert "python -m train average RUN1 RUN2 --out RUN" in card


def test_a_mean_counts_as_the_runs_that_it_is_of(
    two_runs: tuple[Path, Path], averaged: Path, photo_cache: Path, tmp_path: Path
):
    average(AverageConfig((averaged, two_runs[0]), tmp_path / "mean", cache=photo_cache))
    one, other, mean = (weights(run) for run in (*two_runs, tmp_path / "mean"))
    wanted = (2 * one["head.0.weight"] + other["head.0.weight"]) / 3
    torch.testing.assert_close(mean["head.0.weight"], wanted)
    members = load_single(tmp_path / "mean").averaged
    assert [member.config.lr for member in members] == [1e-3, 3e-4, 1e-3]


def test_one_run_or_a_taken_folder_is_refused(
    two_runs: tuple[Path, Path], averaged: Path, photo_cache: Path, tmp_path: Path
):
    with pytest.raises(UsageError, match="two runs or more"):
        average(AverageConfig(runs=two_runs[:1], out=tmp_path / "mean", cache=photo_cache))
    with pytest.raises(UsageError, match="holds a run already"):
        average(AverageConfig(runs=two_runs, out=averaged, cache=photo_cache))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"network": NETWORK | {"inner": 8}}, "another network"),
        ({"network": NETWORK, "reading": {"choose_on": "holdout"}}, "other (held-out )?photos"),
    ],
)
def test_runs_that_cannot_be_averaged_are_named(
    changes: dict[str, Any],
    what: str,
    two_runs: tuple[Path, Path],
    drawn_data: Path,
    photo_cache: Path,
    tmp_path: Path,
):
    stranger = tmp_path / "stranger"
    fit(tiny_config(drawn_data, photo_cache, stranger, epochs=1, **changes))
    with pytest.raises(UsageError, match=f"{stranger} has {what} than {two_runs[0]}"):
        average(AverageConfig((two_runs[0], stranger), tmp_path / "mean", cache=photo_cache))


def test_runs_that_held_out_other_photos_are_not_averaged(
    drawn_data: Path, photo_cache: Path, tmp_path: Path
):
    members = []
    for holdout_seed in (0, 1):
        reading = {"choose_on": "holdout", "holdout": 0.3, "holdout_seed": holdout_seed}
        out = tmp_path / f"seed{holdout_seed}"
        fit(tiny_config(drawn_data, photo_cache, out, network=NETWORK, epochs=1, reading=reading))
        members.append(out)
    with pytest.raises(UsageError, match="other held-out photos"):
        average(AverageConfig(tuple(members), tmp_path / "mean", cache=photo_cache))


@pytest.mark.parametrize(("head_seed", "warned"), [(None, True), (5, False)])
def test_runs_of_several_seeds_on_the_same_held_out_photos_are_averaged(
    head_seed: int | None,
    warned: bool,
    drawn_data: Path,
    photo_cache: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    members = []
    network = NETWORK | {"head_seed": head_seed}
    for seed in (1, 2):
        reading = {"choose_on": "holdout", "holdout": 0.3, "holdout_seed": 7}
        out = tmp_path / f"seed{seed}"
        fit(
            tiny_config(
                drawn_data, photo_cache, out, network=network, epochs=1, seed=seed, reading=reading
            )
        )
        members.append(out)
    one, other = (held_out_photos(load_single(run), run, photo_cache) for run in members)
    assert one == other
    average(AverageConfig(tuple(members), tmp_path / "mean", cache=photo_cache))
    assert ("several heads" in capsys.readouterr().out) == warned


@pytest.mark.parametrize(("stages", "kept"), [((2, 2), True), ((2, 0), False)])
def test_batchnorm_is_kept_where_every_run_froze_it_and_measured_elsewhere(
    stages: tuple[int, int], kept: bool, drawn_data: Path, photo_cache: Path, tmp_path: Path
):
    members = []
    for seed, frozen_stages in enumerate(stages):
        out = tmp_path / f"seed{seed}"
        network = NETWORK | {"frozen_stages": frozen_stages, "head_seed": 0}
        fit(
            tiny_config(drawn_data, photo_cache, out, network=network, epochs=1, seed=seed, lr=1e-3)
        )
        # As if the pretrained weights had statistics of their own: `none` leaves 0 and 1.
        checkpoint = runs.load_checkpoint(out / runs.MODEL)
        checkpoint["weights"]["backbone.bn1.running_mean"].fill_(0.25)
        runs.save_checkpoint(out / runs.MODEL, checkpoint)
        members.append(out)
    average(AverageConfig(tuple(members), tmp_path / "mean", cache=photo_cache))
    one, mean = weights(members[0]), weights(tmp_path / "mean")
    first, later = "backbone.bn1.running_mean", "backbone.layer1.0.bn1.running_mean"
    assert torch.equal(mean[first], one[first]) == kept
    assert not torch.equal(mean[later], one[later])
