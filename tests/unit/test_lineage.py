"""The commands that make a model anew, from how it came to be."""

from dataclasses import replace
from pathlib import Path

import pytest

from train.config import DataConfig, FitConfig, NetworkConfig
from train.errors import UsageError
from train.lineage import (
    Training,
    cascade_commands,
    commands,
    fitted,
    read_training,
    to_command,
)


def training(*started_from: Training, hidden: tuple[int, ...] = (), **changes) -> Training:
    config = FitConfig(
        out=Path("somewhere"),
        data=DataConfig(data=Path("photos")),
        network=NetworkConfig(hidden=hidden),
        **changes,
    )
    return Training(replace(config, start="elsewhere" if started_from else ""), started_from)


def test_one_run_is_one_command():
    assert commands([training(epochs=3)]) == [
        "python -m train fit --data DIR --out RUN --epochs 3",
    ]


def test_a_mean_names_its_members():
    assert commands([training(seed=1), training(seed=2)]) == [
        "python -m train fit --data DIR --out RUN1 --seed 1",
        "python -m train fit --data DIR --out RUN2 --seed 2",
        "python -m train average RUN1 RUN2 --out RUN",
    ]


def test_what_several_members_started_from_is_made_once_and_first():
    first = training(epochs=3)
    assert commands([training(first, seed=1), training(first, seed=2)]) == [
        "python -m train fit --data DIR --out RUN1 --epochs 3",
        "python -m train fit --data DIR --out RUN2 --start RUN1 --seed 1",
        "python -m train fit --data DIR --out RUN3 --start RUN1 --seed 2",
        "python -m train average RUN2 RUN3 --out RUN",
    ]


def test_a_run_may_start_from_a_mean():
    assert commands([training(training(seed=1), training(seed=2), epochs=4)]) == [
        "python -m train fit --data DIR --out RUN1 --seed 1",
        "python -m train fit --data DIR --out RUN2 --seed 2",
        "python -m train average RUN1 RUN2 --out RUN3",
        "python -m train fit --data DIR --out RUN --epochs 4 --start RUN3",
    ]


def test_a_pruned_run_is_made_of_another_and_may_be_gone_on_from():
    pruned = Training(
        training(hidden=(16, 8)).config, (training(seed=1), training(seed=2)), pruned_to=0.5
    )
    made = commands([training(pruned, hidden=(16, 8), epochs=4)])
    assert made == [
        "python -m train fit --data DIR --out RUN1 --seed 1",
        "python -m train fit --data DIR --out RUN2 --seed 2",
        "python -m train average RUN1 RUN2 --out RUN3",
        "python -m train prune RUN3 --share 0.5 --out RUN4",
        "python -m train fit --data DIR --out RUN --epochs 4 --start RUN4",
    ]
    assert read_training(pruned.as_json()) == pruned


def test_teachers_are_made_before_the_run_that_they_teach():
    one, two = training(seed=1), training(seed=2)
    config = replace(training(epochs=4).config, teacher=("here", "there"))
    taught = Training(config, taught_by=((one, two), (two,)))
    assert commands([taught]) == [
        "python -m train fit --data DIR --out RUN1 --seed 1",
        "python -m train fit --data DIR --out RUN2 --seed 2",
        "python -m train average RUN1 RUN2 --out RUN3",
        "python -m train fit --data DIR --out RUN --epochs 4 --teacher RUN3 RUN2",
    ]
    assert read_training(taught.as_json()) == taught


def test_a_member_that_counts_twice_is_made_once_and_named_twice():
    one = training(seed=1)
    assert commands([one, one, training(seed=2)])[-1] == (
        "python -m train average RUN1 RUN1 RUN2 --out RUN"
    )


def test_a_training_is_read_as_it_was_written():
    written = training(training(training(seed=1), epochs=2), seed=2)
    assert read_training(written.as_json()) == written


def test_unknown_settings_are_named():
    with pytest.raises(UsageError, match="unknown fields: colour"):
        read_training(training().as_json() | {"colour": "red"})


def test_a_cascades_two_runs_are_made_by_name_and_what_they_share_once():
    kept = DataConfig(data=Path("photos"), choose_on="nothing")
    start = training(epochs=3)
    config = replace(training(seed=1).config, data=kept, start="elsewhere")
    first = [Training(config, (start,)), Training(replace(config, seed=2), (start,))]
    second = [Training(replace(config, seed=3), (start,))]
    assert cascade_commands(first, second) == [
        "python -m train fit --data DIR --out RUN1 --epochs 3",
        "python -m train fit --data DIR --out RUN2 --choose-on nothing --start RUN1 --seed 1",
        "python -m train fit --data DIR --out RUN3 --choose-on nothing --start RUN1 --seed 2",
        "python -m train average RUN2 RUN3 --out FIRST",
        "python -m train fit --data DIR --out SECOND --choose-on nothing --start RUN1 --seed 3",
        "python -m train cascade FIRST SECOND --tuned-on SIBLING --out RUN",
    ]


def test_a_cascade_like_a_model_names_it():
    kept = replace(training().config, data=DataConfig(data=Path("photos"), choose_on="nothing"))
    *_, last = cascade_commands([Training(kept)], [Training(replace(kept, epochs=2))], like=True)
    assert last == "python -m train cascade FIRST SECOND --like MODEL --out RUN"


def test_a_cascade_of_runs_that_held_photos_out_chooses_its_own_rule():
    held = replace(training().config, data=DataConfig(data=Path("photos"), choose_on="holdout"))
    *_, last = cascade_commands([Training(held)], [Training(replace(held, epochs=2))])
    assert last == "python -m train cascade FIRST SECOND --out RUN"


def test_a_cascades_inputs_are_named_where_they_are_not_those_of_training():
    held = replace(training().config, data=DataConfig(data=Path("photos"), choose_on="holdout"))
    runs = [Training(held)], [Training(replace(held, epochs=2))]
    trained_px = held.network.input_px
    *_, last = cascade_commands(*runs, sizes_px=(160, trained_px))
    assert last == "python -m train cascade FIRST SECOND --first-px 160 --out RUN"
    *_, last = cascade_commands(*runs, sizes_px=(trained_px, 192), like=True)
    assert last == "python -m train cascade FIRST SECOND --second-px 192 --like MODEL --out RUN"
    kept = replace(held, data=DataConfig(data=Path("photos"), choose_on="nothing"))
    # SIBLING's rule has the sizes, and `cascade` takes no others beside it.
    *_, last = cascade_commands([Training(kept)], runs[1], sizes_px=(160, 160))
    assert last == "python -m train cascade FIRST SECOND --tuned-on SIBLING --out RUN"


@pytest.mark.parametrize("weights", ["none", "file.pth"])
def test_the_command_of_a_run_of_before_leaves_out_what_changed_nothing(weights: str):
    unused = FitConfig(
        out=Path("somewhere"),
        data=DataConfig(data=Path("photos"), holdout=0.3, holdout_seed=1),
        network=NetworkConfig(weights=weights),
        start="elsewhere",
    )
    assert to_command(unused) == "python -m train fit --data DIR --out RUN --start START"
    held = replace(unused, start="", data=replace(unused.data, choose_on="holdout"))
    assert " --choose-on holdout --holdout 0.3 --holdout-seed 1 --weights " in to_command(held)


def test_a_pruned_run_counts_as_the_trainings_that_it_was_made_of():
    one, two, three = (training(seed=seed) for seed in (1, 2, 3))
    pruned = Training(one.config, (one, two), pruned_to=0.5)
    assert fitted([pruned, three]) == [one, two, three]
