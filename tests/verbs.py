"""A folder with all that verbs read, the words of each verb there, and its one line of error."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.photo_folder import flat, in_splits
from tests.small_recipes import small_steps, write_recipe
from tests.training import tiny_config
from train.runs.folder import MODEL

BACKBONE = "timm/test_resnet"  # as small as a network can be
SMALL = f"--backbone {BACKBONE} --weights none --input-px 32 --epochs 1 --workers 0 --threads 1"


def one_line(error: str, verb: str) -> str:
    """The only line of stderr, beside progress bars and what libraries log of themselves."""
    assert "Traceback" not in error
    (line,) = [each for each in re.split(r"[\r\n]+", error) if f"train {verb}: " in each]
    return line


@dataclass(frozen=True, slots=True)
class Places:
    """A folder with photos, a run, and what else verbs read."""

    root: Path

    @property
    def photos(self) -> Path:
        return self.root / "photos"

    @property
    def run(self) -> Path:
        return self.root / "run"

    def words(self, verb: str) -> list[str]:
        """The words of a verb that would do something here."""
        folder, cache = str(self.root), f"--cache {self.root / 'cache'}"
        reads = f"--data {self.photos} {cache}"
        run, photo = str(self.run), str(self.photos / "train/red/0.jpg")
        onnx, weights = f"{run}/classifier.onnx", f"{run}/weights.pt"
        new = f"{SMALL} --out {folder}/new"
        return {
            "inspect": f"inspect {reads}",
            "inspect a table": f"inspect {reads} --table {folder}/labels.csv",
            "fit": f"fit {reads} {new}",
            "fit flat": f"fit --data {folder}/flat {cache} {new}",
            "fit weights": f"fit {reads} {new} --weights {weights}",
            "fit --start": f"fit {reads} {new} --start {run}",
            "fit --teacher": f"fit {reads} {new} --teacher {run} --augment light",
            "fit --resume": f"fit {reads} {SMALL} --out {run} --resume --batch 10 --lr 0.01",
            "evaluate": f"evaluate {run} {reads}",
            "evaluate FILE": f"evaluate {onnx} {reads} --out {folder}/report",
            "predict": f"predict {run} {photo}",
            "predict FILE": f"predict {onnx} {photo}",
            "export": f"export {run} {cache} --out {folder}/x.onnx",
            "quantize": f"quantize {run} {cache}",
            "frontier": f"frontier {run} --sizes 32 48 {cache}",
            "bundle": f"bundle {run} --out {folder}/out/model {cache}",
            "build": f"build {reads} --recipe {folder}/small.toml --out {folder}/runs "
            f"--model {folder}/built/model --weights {BACKBONE}={weights}",
        }[verb].split()


@pytest.fixture(scope="session")
def drawn_places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    """Read-only by agreement."""
    from train.export.onnx import ExportConfig, export
    from train.fit.loop import fit

    places = Places(tmp_path_factory.mktemp("places"))
    in_splits(train=8, validation=4)(places.photos)
    flat(places.root / "flat")
    cache, network = places.root / "cache", {"backbone": BACKBONE}
    for data, run in ((places.photos, places.run), (places.root / "flat", places.root / "other")):
        fit(tiny_config(data, cache, run, epochs=1, network=network))
    export(ExportConfig(run=places.run, cache=cache))
    shutil.copy(places.run / MODEL, places.run / "weights.pt")
    (places.root / "labels.csv").write_text("path,label\ntrain/red/0.jpg,red\n")
    steps = small_steps("frozen")
    steps["student"].update(backbone=BACKBONE, epochs=1)
    write_recipe(places.root / "small.toml", steps)
    return places


@pytest.fixture
def places(drawn_places: Places, tmp_path: Path) -> Places:
    """A copy to spoil; its run still names the photos that it was trained on."""
    return Places(Path(shutil.copytree(drawn_places.root, tmp_path / "places")))
