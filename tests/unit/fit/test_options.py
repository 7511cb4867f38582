"""Options of training: nonsense is refused by its flag, and none is passed over in silence."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.training import tiny_config
from train.__main__ import main
from train.config import FitConfig, from_json, to_json
from train.errors import UsageError
from train.fit.loop import fit
from train.fit.options import require_used


@pytest.mark.parametrize(
    "flags",
    [
        ("--seed", "-1"),
        ("--seed", str(2**64)),
        ("--holdout-seed", "-1"),
        ("--label-smoothing", "2"),
        ("--label-smoothing", "-0.1"),
        ("--threads", "-3"),
        ("--progressive-px", "0"),
        ("--clip-norm", "-1"),
        ("--weight-decay", "-1"),
        ("--head-lr-factor", "-1"),
        ("--batchnorm-momentum", "5"),
        ("--mixup", "-1"),
        ("--cutmix", "nan"),
        ("--lr", "inf"),
        ("--dropout", "1"),
        ("--accumulate", "0"),
    ],
)
def test_fit_refuses_nonsense_in_one_line(flags: tuple[str, str], capsys):
    assert main(["fit", "--data", "photos", "--out", "run", *flags]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"train fit: {flags[0]} takes ")
    assert "found ." not in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "flags", [("--threads", "-1"), ("--holdout-seed", "-1"), ("--lr", "inf"), ("--holdout", "2")]
)
def test_sweep_refuses_nonsense_in_one_line(flags: tuple[str, str], capsys):
    assert main(["sweep", "--data", "photos", "--out", "sweep", *flags]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"train sweep: {flags[0]} takes ")
    assert f"found {float(flags[1]):g}" in error.replace("(", "").replace(",)", "")


@pytest.mark.parametrize(
    ("verb", "flags"),
    [
        ("export", ("run", "--input-px", "-5")),
        ("export", ("run", "--input-px", "0")),
        ("frontier", ("run", "--sizes", "-4")),
        ("fit", ("--data", "photos", "--out", "run", "--input-px", "31")),
    ],
)
def test_an_input_size_that_no_network_takes_is_refused(verb: str, flags: tuple[str, ...], capsys):
    assert main([verb, *flags]) == 2
    error = capsys.readouterr().err
    assert error == f"train {verb}: {flags[-2]} takes a number 32 or more; found {flags[-1]}.\n"


def settings(**changes) -> FitConfig:
    return tiny_config(Path("photos"), Path("cache"), Path("run"), **changes)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"mixup": 0.2}, "--mixup"),
        ({"cutmix": 1.0}, "--cutmix"),
        ({"progressive_px": (32,)}, "--progressive-px"),
        ({"teacher_weight": 0.6}, "--teacher-weight"),
        ({"mix_share": 0.5, "augment": "light"}, "--mix-share"),
        ({"patience": 2, "reading": {"choose_on": "nothing"}}, "--patience"),
        ({"teacher": ("run",)}, "--teacher needs photos"),
        ({"progressive_px": (32, 40, 48, 56), "augment": "light"}, "--progressive-px"),
        ({"reading": {"holdout": 0.3}}, "--holdout has no effect with --choose-on validation"),
        (
            {"reading": {"choose_on": "nothing", "holdout_seed": 1}},
            "--holdout-seed .* --choose-on nothing",
        ),
        ({"start": "run", "network": {"weights": "file.pth"}}, "--weights file.pth .* --start run"),
        ({"flip": "none"}, "--flip none has no effect"),
        ({"class_weights": True, "sampling": "balanced"}, "leave one of them out"),
        ({"choose_by": "f1", "keep": "last"}, "--choose-by f1 has no effect"),
        ({"choose_by": "loss", "reading": {"choose_on": "nothing"}}, "--choose-by loss has no"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(
    changes: dict[str, Any], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)  # where the run would be made if it were not
    with pytest.raises(UsageError, match=named):
        fit(settings(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"mixup": 0.2, "cutmix": 1.0, "progressive_px": (32, 40, 48), "augment": "light"},
        {"mixup": 0.2, "progressive_px": (32,), "network": {"train_backbone": True}},
        {"teacher": ("run",), "teacher_weight": 0.6, "augment": "light"},
        {"cutmix": 1.0, "mix_share": 0.5, "augment": "light"},
        {"patience": 2, "reading": {"choose_on": "holdout"}},
        {"reading": {"choose_on": "nothing"}},
        {"reading": {"choose_on": "holdout", "holdout": 0.3, "holdout_seed": 1}},
        {"reading": {"holdout": 0.1, "holdout_seed": 0}},
        {"start": "run", "network": {"weights": "none"}},
        {"start": "run", "network": {"weights": "default"}},
        {"network": {"weights": "file.pth"}},
        {"flip": "none", "augment": "trivial", "sampling": "balanced", "choose_by": "f1"},
        {"choose_by": "loss", "keep": "last", "patience": 2},
    ],
)
def test_options_that_do_something_are_taken(changes: dict[str, Any]):
    require_used(settings(**changes))


@pytest.mark.parametrize("older", [{"mixup": 0.2}, {"tensorboard": True}])
def test_a_saved_run_with_an_option_that_did_nothing_still_loads(older: dict[str, Any]):
    config = from_json(FitConfig, to_json(settings()) | older)
    assert config == settings(mixup=older.get("mixup", 0.0))


@pytest.mark.parametrize("saved", [[], 3, {"data": 1}, {"out": 5}, {"epochs": "ten"}])
def test_a_saved_config_that_is_damaged_is_refused(saved: Any):
    values = to_json(settings()) | saved if isinstance(saved, dict) else saved
    with pytest.raises(UsageError, match="The saved config is"):
        from_json(FitConfig, values)


def test_a_tracker_that_is_not_installed_is_named_with_the_command(tmp_path: Path, capsys):
    missing = next(name for name in ("wandb", "mlflow") if not find_spec(name))
    flags = ["--data", str(tmp_path), "--out", str(tmp_path / "run"), "--tracker", missing]
    assert main(["fit", *flags]) == 2
    error = capsys.readouterr().err
    assert f"--tracker {missing} needs its package: pip install {missing}" in error
    assert error.count("\n") == 1


def test_a_step_of_one_photo_is_refused_where_batch_norm_is_trained(
    drawn_data: Path, photo_cache: Path, tmp_path: Path
):
    network = {"backbone": "resnet18", "train_backbone": True}
    config = tiny_config(drawn_data, photo_cache, tmp_path / "run", network=network, batch=1)
    with pytest.raises(UsageError, match=r"--batch 1 .* batch-norm"):
        fit(config)


def test_a_step_of_one_photo_trains_a_head(drawn_data: Path, photo_cache: Path, tmp_path: Path):
    fit(tiny_config(drawn_data, photo_cache, tmp_path / "run", batch=1, epochs=1))


def test_the_sweeps_help_says_what_draws_the_held_out_share(capsys):
    with pytest.raises(SystemExit):
        main(["sweep", "--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "Each setting is trained once with each seed." in text
