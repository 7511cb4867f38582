"""The command line: flags from the configs, one line for what is wrong, exit codes."""

import shlex
from pathlib import Path

import numpy as np
import pytest
import tyro

from serving.model.classifier import Inference
from train.__main__ import VERBS, main
from train.config import FitConfig, from_json, to_json
from train.errors import CheckFailedError, UsageError
from train.export.onnx import compare, require_parity
from train.runs.command import fit_command


def parse(*flags: str) -> FitConfig:
    return tyro.cli(FitConfig, args=["--data", "photos", "--out", "run", *flags])


def test_flags_are_flat_and_named_after_the_fields():
    config = parse("--backbone", "resnet18", "--lr", "0.1", "--progressive-px", "64", "96")
    assert config.network.backbone == "resnet18"
    assert config.lr == 0.1
    assert config.progressive_px == (64, 96)
    assert config.data.data == Path("photos")


def test_a_config_survives_being_saved():
    config = parse("--augment", "strong", "--progressive-px", "64", "96", "--choose-on", "holdout")
    assert from_json(FitConfig, to_json(config)) == config


def test_the_command_of_a_run_trains_with_the_same_settings():
    config = parse(
        *("--augment", "strong", "--progressive-px", "64", "96", "--train-backbone"),
        *("--choose-on", "holdout", "--weights", "weights/my own.pth", "--lr", "0.002"),
        *("--teacher", "runs/one", "runs/two", "--no-deterministic", "--clip-norm", "1.5"),
    )
    command = shlex.split(fit_command(config))
    assert command[:4] == ["python", "-m", "train", "fit"]
    assert tyro.cli(FitConfig, args=command[4:]) == config


def test_the_command_of_a_run_says_nothing_of_the_machine():
    command = fit_command(parse("--weights", "/somewhere/own.pth", "--cache", "/var/cache/photos"))
    assert command == (
        "python -m train fit --data photos --cache photos --weights own.pth --out run"
    )


def test_the_command_of_a_resumed_run_is_the_one_that_began_it():
    assert fit_command(parse("--resume")) == fit_command(parse())


def test_a_saved_config_with_an_unknown_field_is_refused_by_name():
    values = to_json(parse()) | {"learning_speed": 3}
    with pytest.raises(UsageError, match="learning_speed"):
        from_json(FitConfig, values)


@pytest.mark.parametrize(
    "flags",
    [("--epochs", "0"), ("--lr", "0"), ("--dropout", "1"), ("--ema", "1"), ("--batch", "0")],
)
def test_numbers_out_of_range_name_their_flag(flags: tuple[str, str], capsys):
    assert main(["fit", "--data", "photos", "--out", "run", *flags]) == 2
    assert flags[0] in capsys.readouterr().err


def test_every_verb_has_help_and_a_place(capsys):
    for verb in VERBS:
        with pytest.raises(SystemExit) as ended:
            main([verb, "--help"])
        assert ended.value.code == 0
        assert verb in capsys.readouterr().out


def test_no_verb_and_an_unknown_verb_are_wrong_usage(capsys):
    assert main([]) == 2
    assert main(["fix"]) == 2
    assert "fix is not a verb; there are: " in capsys.readouterr().err


def test_a_missing_folder_is_one_line_on_standard_error(capsys, tmp_path: Path):
    assert main(["fit", "--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("train fit: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "actual",
    [
        np.array([[2.0, 1.0], [0.0, 1.5]], np.float32),  # one logit off by half
        np.array([[1.0, 2.0], [0.0, 1.0]], np.float32),  # another top-1
        np.array([[np.nan, 1.0], [0.0, 1.0]], np.float32),
    ],
)
def test_an_export_that_answers_otherwise_fails(actual):
    expected = np.array([[2.0, 1.0], [0.0, 1.0]], np.float32)
    with pytest.raises(CheckFailedError, match="No file was written"):
        require_parity(compare(Inference(expected), Inference(actual)), tolerance=1e-3)
    near = Inference(np.add(expected, 1e-4, dtype=np.float32))
    require_parity(compare(Inference(expected), near), tolerance=1e-3)
