"""Every shape of tests/folder_shapes.py, inspected and built; both agree on what is in it."""

from pathlib import Path
from typing import Any

import pytest

from serving.model.classifier import Classifier
from tests.folder_shapes import SHAPES, Shape
from tests.small_recipes import small_steps, write_recipe
from train.__main__ import main
from train.files import read_json


def marked(shapes: tuple[Shape, ...]) -> list[Any]:
    """The quick ones, and those whose build takes too long for every run."""
    quick = {shape.name for shape in shapes if shape.built_quickly or shape.taken is None}
    return [
        pytest.param(shape, id=shape.name, marks=() if shape.name in quick else pytest.mark.slow)
        for shape in shapes
    ]


@pytest.mark.parametrize("shape", marked(SHAPES))
def test_a_shape_is_inspected_and_built_alike(
    shape: Shape, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    root = tmp_path / "photos"
    root.mkdir()
    shape.draw(root)
    flags = [flag.replace("DIR", str(root)) for flag in shape.flags]
    reading = ["--data", str(root), "--cache", str(tmp_path / "cache"), *flags]
    code = main(["inspect", *reading])
    inspected = capsys.readouterr()
    building = main(["build", *reading, *outputs(tmp_path)])
    built = capsys.readouterr()
    if shape.taken is None:
        assert (bool(code), bool(building)) == (True, True)
        for said in (inspected.err, built.err):
            assert shape.refused.replace("DIR", str(root)) in said
        return
    assert (code, building) == (0, 0), inspected.err + built.err
    for said in (inspected.out, built.out):
        assert f"passed over: {shape.passed}" in said if shape.passed else "passed" not in said
    assert shape.says in inspected.out
    assert counts(inspected.out) == shape.taken
    train, validation, test = shape.taken
    assert figures(tmp_path) == (train, validation - shape.trained_on, test)


def outputs(folder: Path) -> list[str]:
    steps = small_steps("frozen")
    del steps["quantize"]
    steps["student"].update(backbone="timm/test_resnet", epochs=1)  # as small as a network can be
    recipe = write_recipe(folder / "small.toml", steps)
    places = {"--recipe": recipe, "--out": folder / "runs", "--model": folder / "model"}
    return [*(str(word) for pair in places.items() for word in pair), "--weights", "none"]


def counts(out: str) -> tuple[int, int, int]:
    """Train, validation and test in the table that inspect prints."""
    lines = out.splitlines()
    row = next(n for n, line in enumerate(lines) if line.startswith("all "))
    head = next(line for line in lines if line.startswith("photos "))
    found = dict(zip(head.split()[1:], map(int, lines[row].split()[1:]), strict=True))
    return found["train"], found.get("validation", 0), found.get("test", 0)


def figures(folder: Path) -> tuple[int, int, int]:
    """The photos that the build trained on and reports."""
    report = read_json(folder / "model" / "report.json")
    trained = read_json(folder / "runs" / "student" / "run.json")["photos"]["train"]
    assert Classifier.load(folder / "model" / "classifier.onnx").contract.classes
    measured = {name: split["photos"] for name, split in report["splits"].items()}
    return trained, measured.get("validation", 0), measured.get("test", 0)
