"""A checkpoint or model that is damaged in any way is named by every verb that reads it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.verbs import Places, one_line
from train.__main__ import main
from train.recipes.checkpoint import write_checkpoint

Damage = Callable[[Path], object]


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    for at in range(0, len(content), 61):
        content[at] ^= 0x55
    file.write_bytes(content)


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


DAMAGES: dict[str, Damage] = {
    "cut in half": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "cut to its first bytes": lambda file: file.write_bytes(file.read_bytes()[:20]),
    "its last byte missing": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "flipped bytes": flipped,
    "empty": lambda file: file.write_bytes(b""),
    "a web page": lambda file: file.write_text("<html>sign in</html>"),
    "a folder": a_folder,
    "gone": Path.unlink,
}

# Which verbs read what.
READ = {
    "run/model.pt": (
        *("fit --start", "fit --teacher", "evaluate", "predict", "export", "quantize"),
        *("frontier", "bundle"),
    ),
    "run/last.pt": ("fit --resume",),
    "run/classifier.onnx": ("predict FILE", "evaluate FILE", "quantize", "bundle"),
    "run/config.json": ("fit --resume",),
    "run/run.json": ("evaluate",),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", READ)
def test_a_damaged_file_of_a_run_is_named(
    name: str, damage: str, places: Places, capsys: pytest.CaptureFixture[str]
):
    DAMAGES[damage](places.root / name)
    for verb in READ[name]:
        code = main(places.words(verb))
        said = capsys.readouterr().err
        if (name, damage) in TAKEN:
            assert code == 0, said
            continue
        assert code in (1, 2), verb
        assert Path(name).name in one_line(said, verb.split()[0]), verb


# Without its record, a run of an older version is read; a text of JSON ends in a line break.
TAKEN = {("run/run.json", "gone"), ("run/run.json", "a folder")}
TAKEN |= {(f"run/{name}.json", "its last byte missing") for name in ("run", "config")}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_beside_the_model_is_named(
    damage: str, places: Places, capsys: pytest.CaptureFixture[str]
):
    checkpoint = places.root / "built/model/checkpoint"
    write_checkpoint(places.run, checkpoint)
    DAMAGES[damage](checkpoint / "model.pt")
    words = places.words("build")
    assert main([*words[: words.index("--weights")], "--from", "export"]) == 2
    assert f"{checkpoint / 'model.pt'} is " in one_line(capsys.readouterr().err, "build")
