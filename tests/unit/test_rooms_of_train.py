"""The rooms of train/: which may import which. The arrows go one way."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BASE = {"config", "errors", "files"}  # modules of train/ itself, which every room may import

# Each room, with the rooms that it may import.
MAY_IMPORT = {
    "photos": set(),
    "networks": {"photos"},
    "runs": {"photos", "networks"},
    "fit": {"photos", "networks", "runs"},
    "evaluate": {"photos", "networks", "runs"},
    "sweep": {"photos", "networks", "runs", "fit", "evaluate"},
    "export": {"photos", "networks", "runs", "fit", "evaluate"},
    "recipes": {"photos", "networks", "runs", "fit", "evaluate", "sweep", "export"},
}

OURS = {"train", "serving", "bulk", "local", "ops", "benchmarks", "tests", "lambda_function"}
SERVING = {"errors", "settings", "images", "model"}  # what train may import of serving
FETCHING = "train/evaluate/predict.py"  # the one module that may import serving.fetch too


def imported(file: Path) -> set[str]:
    """The full names of the modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {f"{alias.name}.*" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import; write it in full"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imports_of(folder: Path) -> list[tuple[str, list[str]]]:
    """(file, parts of a module's name) of every import of ours below a folder."""
    return [
        (file.relative_to(ROOT).as_posix(), name.split("."))
        for file in sorted(folder.rglob("*.py"))
        for name in sorted(imported(file))
        if name.split(".")[0] in OURS
    ]


def test_every_room_of_train_has_its_arrows():
    rooms = {path.parent.name for path in (ROOT / "train").glob("*/__init__.py")}
    assert rooms == set(MAY_IMPORT)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_the_rooms_before_it(room: str):
    allowed = {room, *MAY_IMPORT[room], *BASE}
    for file, name in imports_of(ROOT / "train" / room):
        if name[0] == "train":
            others = ", ".join(sorted(MAY_IMPORT[room])) or "no other room"
            assert name[1] in allowed, (
                f"{file} imports {'.'.join(name)}, but train/{room} may import only "
                f"config, errors, files and {others}."
            )


@pytest.mark.parametrize("module", sorted(BASE))
def test_what_every_room_imports_imports_no_room(module: str):
    for name in imported(ROOT / "train" / f"{module}.py"):
        parts = name.split(".")
        assert parts[0] != "train" or parts[1] in BASE, (
            f"train/{module}.py imports {name}, but every room imports train/{module}.py: "
            "it may import no room."
        )


def test_train_imports_little_of_serving_and_nothing_else_of_ours():
    for file, name in imports_of(ROOT / "train"):
        assert name[0] in ("train", "serving"), f"{file} imports {'.'.join(name)}"
        allowed = SERVING | {"*"} | ({"fetch"} if file == FETCHING else set())
        assert name[0] != "serving" or name[1] in allowed, (
            f"{file} imports {'.'.join(name)}, but train may import only errors, settings, images "
            f"and model of serving, and {FETCHING} fetch."
        )
