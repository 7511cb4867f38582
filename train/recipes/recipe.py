"""A recipe's TOML file in, its checked steps out: verbs, flags and the steps that each refers to.

    about = "one line"

    [steps.teacher]
    verb = "fit"
    backbone = "convnext_tiny"

    [steps.student]
    verb = "fit"
    teacher = ["teacher"]

Every step except `fit` names the run that it works on, `run = "student"`. An export may take the
input size that a `frontier` step chose: `input_px = "size"`. The last step is the bundle.
"""

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from train.config import FitConfig
from train.errors import UsageError
from train.export.bundle import BundleConfig
from train.export.input_size import FrontierConfig
from train.export.onnx import ExportConfig
from train.export.quantize import QuantizeConfig
from train.recipes.flags import Flag, flags_of, nearest, typed

CONFIGS: dict[str, type[Any]] = {
    "fit": FitConfig,
    "frontier": FrontierConfig,
    "export": ExportConfig,
    "quantize": QuantizeConfig,
    "bundle": BundleConfig,
}

CHECKPOINT = "checkpoint"
"""The step that replaces the fitted run if a build begins at a later step."""

SHIPPED = Path(__file__).parent

# Flags that `build` itself sets.
_BUILDS = frozenset(
    {"data", "table", "group_by", "strict", "cache", "cache_gb", "rehash", "out", "resume"}
    | {"int8", "recipe"}
)

# The verbs that a verb needs before it: quantize reads the exported file.
_NEEDED = {"quantize": "export", "bundle": "export"}
_READ = {"quantize": ("export",), "bundle": ("export", "quantize")}


@dataclass(frozen=True, slots=True)
class Step:
    """A verb with its flags.

    Attributes:
        flags: by name, as the verb's config holds them.
        names: earlier steps, by the flag that refers to them: `run`, `start`, `teacher`,
            `input_px`.
        after: other steps whose results the verb reads.
    """

    name: str
    verb: str
    flags: dict[str, Any]
    names: dict[str, tuple[str, ...]]
    after: tuple[str, ...] = ()

    @property
    def uses(self) -> tuple[str, ...]:
        """Every step that this one depends on, once."""
        named = [name for names in self.names.values() for name in names]
        return tuple(dict.fromkeys([*named, *self.after]))

    @property
    def run(self) -> str:
        """The step whose folder this one works in; its own for a fit."""
        return self.names["run"][0] if "run" in self.names else self.name


@dataclass(frozen=True, slots=True)
class Recipe:
    """A file's steps, in the order in which they run."""

    file: Path
    about: str
    steps: tuple[Step, ...]

    @property
    def name(self) -> str:
        """What the recipe is called, and its folder under runs/."""
        return self.file.stem

    def step(self, name: str) -> Step:
        """The step of that name."""
        return next(step for step in self.steps if step.name == name)


def read_recipe(given: str) -> Recipe:
    """Read a recipe by name, or a TOML file.

    Raises:
        UsageError: there is none, or something in it is wrong; the message says what, and the
            nearest known name.
    """
    file = Path(given)
    if not (file.suffix == ".toml" and file.is_file()):
        file = SHIPPED / f"{given.removesuffix('.toml')}.toml"
    if not file.is_file():
        shipped = sorted(path.stem for path in SHIPPED.glob("*.toml"))
        raise UsageError(
            f"--recipe {given} is neither a TOML file nor a recipe; {nearest(given, shipped)}."
        )
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file.name} is not TOML: {error}.") from error
    try:
        for name in found.keys() - {"about", "steps"}:
            raise UsageError(f"has no key `{name}`; {nearest(name, ('about', 'steps'))}")
        steps = tuple(_steps(_table(found.get("steps"), "steps"), file.parent))
        _require_bundle(steps)
    except UsageError as error:
        raise UsageError(f"{file.name}: {error}.") from error
    return Recipe(file, str(found.get("about", "")), steps)


def begun_at(recipe: Recipe, name: str) -> Recipe:
    """The recipe from a step on, with the bundled checkpoint instead of the fitted run.

    Raises:
        UsageError: there is no such step, or a step needs another run than the checkpoint's.
    """
    names = [step.name for step in recipe.steps]
    if name not in names:
        raise UsageError(
            f"--from {name}: {recipe.file.name} has no such step; {nearest(name, names)}."
        )
    final = recipe.steps[-1].run
    kept = recipe.steps[names.index(name) :]
    if any(step.verb == "fit" for step in kept):
        first = next(step.name for step in recipe.steps if step.run == final and step.verb != "fit")
        raise UsageError(
            f"--from {name} would train, but the checkpoint is the trained {final}: the earliest "
            f"step is --from {first}."
        )
    # What the checkpoint holds: the run, and the sizes of it that were compared.
    held = {final} | {s.name for s in recipe.steps if s.verb == "frontier" and s.run == final}
    held -= {step.name for step in kept}
    return Recipe(
        recipe.file, recipe.about, (Step(CHECKPOINT, CHECKPOINT, {}, {}), *_on(kept, held))
    )


def _on(kept: Sequence[Step], held: set[str]) -> Iterator[Step]:
    """The steps, with the checkpoint in the place of those that it holds the results of."""
    known = held | {step.name for step in kept}
    for step in kept:
        for missing in {each for names in step.names.values() for each in names} - known:
            raise UsageError(
                f"--from: steps.{step.name} needs the run of {missing}, which is not the one that "
                "was bundled: build without --from."
            )
        names = {
            flag: tuple(CHECKPOINT if each in held else each for each in each_names)
            for flag, each_names in step.names.items()
        }
        after = tuple(each for each in step.after if each in known - held)
        yield replace(step, names=names, after=after)


def _table(found: Any, where: str) -> dict[str, Any]:
    if not isinstance(found, dict) or not found:
        raise UsageError(f"[{where}] is missing or not a table")
    return found


def _steps(tables: dict[str, Any], folder: Path) -> Iterator[Step]:
    before: list[Step] = []
    for name, found in tables.items():
        step = _step(name, dict(_table(found, f"steps.{name}")), before, list(tables))
        for flag, value in step.flags.items():
            if isinstance(value, Path):
                step.flags[flag] = _beside(folder, f"steps.{name}.{flag}", value)
        before.append(step)
        yield step


def _beside(folder: Path, where: str, path: Path) -> Path:
    """A recipe's paths are relative to its own folder."""
    if not (folder / path).exists():
        raise UsageError(f"{where} is missing: {folder / path}")
    return (folder / path).resolve()


def _step(name: str, table: dict[str, Any], before: Sequence[Step], everyone: list[str]) -> Step:
    where = f"steps.{name}"
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name) or name == CHECKPOINT:
        raise UsageError(
            f"{where} is not a name for a step: it names a folder, begins with a letter, goes on "
            f"with letters, digits, _ and -, and is not `{CHECKPOINT}`"
        )
    verb = str(table.pop("verb", "missing"))
    if verb not in CONFIGS:
        raise UsageError(f"{where}.verb is {verb}; {nearest(verb, CONFIGS)}")
    known = {k: flag for k, flag in flags_of(CONFIGS[verb]).items() if k not in _BUILDS}
    flags: dict[str, Any] = {}
    names: dict[str, tuple[str, ...]] = {}
    for key, value in table.items():
        flag = key.replace("-", "_")
        if flag in _BUILDS:
            raise UsageError(f"{where}.{key} is set by build: leave it out")
        if flag not in known:
            raise UsageError(f"{where} has no flag `{key}`; {nearest(flag, known)}")
        wanted = _named_verb(verb, flag, value)
        if wanted:
            names[flag] = _earlier(f"{where}.{key}", value, wanted, before, everyone)
        else:
            flags[flag] = _value(f"{where}.{key}", known[flag], value)
    if verb != "fit" and "run" not in names:
        raise UsageError(f"{where}.run is missing: give the fit step that it works on")
    return Step(name, verb, flags, names, _read_before(name, verb, names, before))


def _named_verb(verb: str, flag: str, value: Any) -> str:
    """The verb of the steps that a flag refers to; empty if it refers to none."""
    if flag == "run" or (verb == "fit" and flag in ("start", "teacher")):
        return "fit"
    is_chosen = verb == "export" and flag == "input_px" and isinstance(value, str)
    return "frontier" if is_chosen else ""


def _value(where: str, flag: Flag, value: Any) -> Any:
    try:
        return typed(flag.hint, value)
    except ValueError as error:
        raise UsageError(f"{where} takes {error}; found {value!r}") from error


def _earlier(
    where: str, value: Any, verb: str, before: Sequence[Step], everyone: list[str]
) -> tuple[str, ...]:
    """The earlier steps that a flag refers to, all of one verb."""
    several = where.endswith(".teacher")
    given = value if several else [value]
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise UsageError(
            f"{where} takes {'a list of names' if several else 'a name'} of steps; found {value!r}"
        )
    fitting = [step.name for step in before if step.verb == verb]
    for each in given:
        if each in fitting:
            continue
        if each in everyone and each not in [step.name for step in before]:
            raise UsageError(f"{where} names {each}, which comes later: put it before")
        raise UsageError(
            f"{where} names {each}, which is not an earlier {verb} step; {nearest(each, fitting)}"
        )
    return tuple(given)


def _read_before(
    name: str, verb: str, names: dict[str, tuple[str, ...]], before: Sequence[Step]
) -> tuple[str, ...]:
    """The latest step of each verb whose files this one reads."""
    of_run = {step.verb: step.name for step in before if step.names.get("run") == names.get("run")}
    needed = _NEEDED.get(verb)
    if needed and needed not in of_run:
        raise UsageError(f"steps.{name} needs an earlier {needed} step with the same run")
    return tuple(of_run[each] for each in _READ.get(verb, ()) if each in of_run)


def _require_bundle(steps: Sequence[Step]) -> None:
    if [step.name for step in steps if step.verb == "bundle"] != [steps[-1].name]:
        raise UsageError("the last step must be a bundle, and the only one")
