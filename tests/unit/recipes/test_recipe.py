"""Recipes as they are read: what each step depends on, and what is refused, by name."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.small_recipes import Tables, small_steps, write_recipe
from train.errors import UsageError
from train.recipes.flags import flags_of
from train.recipes.photos import Part, Photos
from train.recipes.recipe import CHECKPOINT, CONFIGS, SHIPPED, begun_at, read_recipe
from train.recipes.steps import Place, config_of, key_of, read_weights

NAMES = sorted(path.stem for path in SHIPPED.glob("*.toml"))


@pytest.fixture
def steps() -> Tables:
    return small_steps("frozen")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "data", tmp_path / "out", tmp_path / "model", tmp_path / "cache", {})


def refusal(tmp_path: Path, steps: Tables) -> str:
    with pytest.raises(UsageError) as raised:
        read_recipe(str(write_recipe(tmp_path / "own.toml", steps)))
    return str(raised.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_that_ships_has_flags_that_its_verbs_take(name: str, place: Place):
    recipe = read_recipe(name)
    assert recipe.about.endswith(".")
    for step in recipe.steps:
        config_of(recipe, step, place)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"epoch": 3}, "own.toml: steps.student has no flag `epoch`; nearest: epochs."),
        ({"verb": "fitt"}, "steps.student.verb is fitt; nearest: fit."),
        ({"epochs": "three"}, "steps.student.epochs takes a whole number; found 'three'."),
        ({"epochs": True}, "steps.student.epochs takes a whole number; found True."),
        ({"augment": "lihgt"}, "steps.student.augment takes one of none, light"),
        ({"progressive_px": 64}, "steps.student.progressive_px takes a list; found 64."),
        ({"input_px": "size"}, "steps.student.input_px takes a whole number; found 'size'."),
        ({"out": "runs/own"}, "steps.student.out is set by build: leave it out."),
        ({"teacher": ["export"]}, "names export, which comes later: put it before."),
        ({"start": "nobody"}, "names nobody, which is not an earlier fit step; there are none."),
        ({"teacher": "student"}, "takes a list of names of steps; found 'student'."),
    ],
)
def test_what_is_wrong_with_a_fit_is_named(
    tmp_path: Path, steps: Tables, changes: dict[str, Any], told: str
):
    steps["student"] |= changes
    assert told in refusal(tmp_path, steps)


@pytest.mark.parametrize(
    ("step", "changes", "told"),
    [
        ("export", {"run": "studnet"}, "which is not an earlier fit step; nearest: student."),
        ("export", {"run": "quantize"}, "names quantize, which comes later: put it before."),
        ("export", {"input_px": "size"}, "names size, which is not an earlier frontier step;"),
        ("bundle", {"notes": "nowhere.md"}, "steps.bundle.notes is missing: "),
        ("bundle", {"int8": True}, "steps.bundle.int8 is set by build: leave it out."),
    ],
)
def test_what_is_wrong_with_another_verb_is_named(
    tmp_path: Path, steps: Tables, step: str, changes: dict[str, Any], told: str
):
    steps[step] |= changes
    assert told in refusal(tmp_path, steps)


def test_a_step_without_its_run_is_told_to_name_one(tmp_path: Path, steps: Tables):
    del steps["export"]["run"]
    assert "steps.export.run is missing" in refusal(tmp_path, steps)


def test_a_bundle_needs_an_export_before_it(tmp_path: Path, steps: Tables):
    del steps["export"], steps["quantize"]
    assert "steps.bundle needs an earlier export step" in refusal(tmp_path, steps)


def test_the_last_step_is_the_bundle(tmp_path: Path, steps: Tables):
    del steps["bundle"]
    assert "the last step must be a bundle" in refusal(tmp_path, steps)


@pytest.mark.parametrize("name", ["../up", "has space", "3", CHECKPOINT])
def test_a_steps_name_is_a_folders(tmp_path: Path, steps: Tables, name: str):
    named = {f'"{name}"': steps["student"]} | {k: v for k, v in steps.items() if k != "student"}
    assert f"steps.{name} is not a name for a step" in refusal(tmp_path, named)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("steps = 3", r"\[steps\] is missing or not a table"),
        ("about = ", "own.toml is not TOML: "),
        ("abuot = 'x'", "has no key `abuot`; nearest: about"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, text: str, told: str):
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(UsageError, match=told):
        read_recipe(str(tmp_path / "own.toml"))


def test_an_unknown_recipe_is_told_the_nearest():
    with pytest.raises(UsageError, match="nearest: frozen"):
        read_recipe("forzen")


@pytest.mark.parametrize(
    ("changes", "flag"), [({"epochs": 0}, "--epochs"), ({"mixup": 1.0}, "--mixup")]
)
def test_a_value_that_a_config_refuses_names_the_step(
    tmp_path: Path, steps: Tables, place: Place, changes: dict[str, Any], flag: str
):
    steps["student"] |= changes
    recipe = read_recipe(str(write_recipe(tmp_path / "own.toml", steps)))
    with pytest.raises(UsageError, match=rf"own\.toml: steps\.student: {flag}"):
        config_of(recipe, recipe.steps[0], place)


def test_dashes_in_a_flag_are_underscores(tmp_path: Path, steps: Tables, place: Place):
    steps["student"] = {flag.replace("_", "-"): v for flag, v in steps["student"].items()}
    recipe = read_recipe(str(write_recipe(tmp_path / "own.toml", steps)))
    assert config_of(recipe, recipe.steps[0], place).network.input_px == 32


def test_flags_of_nested_configs_stand_beside_the_verbs_own():
    flags = flags_of(CONFIGS["fit"])
    assert (flags["epochs"].inside, flags["backbone"].inside) == ("", "network")
    assert {"network", "out"} & flags.keys() == {"out"}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("resnet18=nowhere.pth", "neither `none` nor BACKBONE=FILE"),
        ("default", "neither `none` nor BACKBONE=FILE"),
        ("resnet81=none", "uses that backbone; nearest: resnet18"),
    ],
)
def test_weights_that_cannot_be_used_are_refused(
    tmp_path: Path, steps: Tables, given: str, told: str
):
    recipe = read_recipe(str(write_recipe(tmp_path / "own.toml", steps)))
    with pytest.raises(UsageError, match=told):
        read_weights((given,), recipe)


def test_a_build_begun_later_works_on_the_checkpoint(tmp_path: Path, steps: Tables):
    recipe = read_recipe(str(write_recipe(tmp_path / "own.toml", steps)))
    later = begun_at(recipe, "quantize")
    assert [step.name for step in later.steps] == [CHECKPOINT, "quantize", "bundle"]
    assert {step.run for step in later.steps} == {CHECKPOINT}
    with pytest.raises(UsageError, match=r"would train, .*the earliest step is --from export"):
        begun_at(recipe, "student")
    with pytest.raises(UsageError, match="nearest: export"):
        begun_at(recipe, "exprot")


def test_a_checkpoint_does_not_take_the_place_of_another_run(tmp_path: Path, steps: Tables):
    export = {"verb": "export", "run": "teacher"}
    steps = {"teacher": steps["student"], "student": steps["student"], "first": export} | steps
    last = steps.pop("bundle")
    steps |= {"second": export, "bundle": last}
    recipe = read_recipe(str(write_recipe(tmp_path / "own.toml", steps)))
    with pytest.raises(UsageError, match=r"steps\.second needs the run of teacher"):
        begun_at(recipe, "quantize")


def photos(train: str = "photos") -> Photos:
    return Photos(("a", "b"), {"student": Part(train, 2, 2)}, Part("others", 2), None)


def keys(file: Path, place: Place, seen: Photos) -> dict[str, str]:
    recipe = read_recipe(str(file))
    found: dict[str, str] = {}
    for step in recipe.steps:
        found[step.name] = key_of(step, config_of(recipe, step, place), seen, found, place)
    return found


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def test_a_step_depends_on_its_settings_and_the_steps_before(
    tmp_path: Path, steps: Tables, place: Place
):
    file = write_recipe(tmp_path / "own.toml", steps)
    before = keys(file, place, photos())
    steps["quantize"]["photos"] = 7
    write_recipe(file, steps)
    assert changed(before, keys(file, place, photos())) == {"quantize", "bundle"}
    steps["student"]["seed"] = 1
    write_recipe(file, steps)
    assert changed(before, keys(file, place, photos())) == set(steps)
    assert changed(before, keys(file, place, photos("more"))) == set(steps)


def test_a_step_does_not_depend_on_where_and_how_fast_it_works(
    tmp_path: Path, steps: Tables, place: Place
):
    file = write_recipe(tmp_path / "own.toml", {**steps, "bundle": steps["bundle"]})
    before = keys(file, place, photos())
    moved = replace(place, out=tmp_path / "moved", data=tmp_path / "copy", cache=tmp_path)
    assert not changed(before, keys(file, moved, photos()))
    steps["student"] |= {"workers": 3, "threads": 2}
    write_recipe(file, steps)
    assert changed(before, keys(file, place, photos())) == {"bundle"}  # its card prints the recipe


def test_a_step_depends_on_the_contents_of_its_weights(tmp_path: Path, steps: Tables, place: Place):
    file, weights = write_recipe(tmp_path / "own.toml", steps), tmp_path / "a.pth"
    weights.write_bytes(b"one")
    with_file = replace(place, weights={"resnet18": str(weights)})
    before = keys(file, with_file, photos())
    copy = weights.rename(tmp_path / "b.pth")
    assert not changed(before, keys(file, replace(place, weights={"": str(copy)}), photos()))
    copy.write_bytes(b"two")
    assert changed(before, keys(file, replace(place, weights={"": str(copy)}), photos()))
