"""A model file replaced by what ONNX Runtime makes of it: it answers as before, only sooner."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from samples import draw
from serving import optimize
from serving.classifier import MADE_FROM_KEY, Classifier
from serving.errors import ContractError
from serving.preprocess import Preprocessor
from tests.tiny_model import write_tiny_cascade, write_tiny_model

ROOT = Path(__file__).parents[2]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_cascade(tmp_path / "model" / "tiny.onnx", sure_above=0.9)


def test_the_bundled_networks_answer_the_sample_pictures_as_before(tmp_path: Path):
    for file in (ROOT / "model").glob("*.onnx"):
        shutil.copyfile(file, tmp_path / file.name)
    optimize.main([str(tmp_path / "classifier.onnx")])
    before = Classifier.load(ROOT / "model" / "classifier.onnx")
    after = Classifier.load(tmp_path / "classifier.onnx")
    for plain, made in zip(before.with_second(), after.with_second(), strict=True):
        assert (plain.is_optimized, made.is_optimized) == (False, True)
        assert (made.version, made.contract) == (plain.version, plain.contract)
        preprocess = Preprocessor(plain.contract.preprocess)
        for garment in plain.contract.classes:
            batch = preprocess(draw.draw(garment))
            np.testing.assert_allclose(made.logits(batch), plain.logits(batch), atol=1e-5)


def test_fewer_nodes_are_left_to_be_fused_when_it_is_loaded(tmp_path: Path):
    shutil.copyfile(ROOT / "model" / "second.int8.onnx", tmp_path / "second.onnx")
    nodes = len(onnx.load(tmp_path / "second.onnx").graph.node)
    optimize.optimize(tmp_path / "second.onnx")
    assert len(onnx.load(tmp_path / "second.onnx").graph.node) < nodes / 2


def test_what_is_optimised_already_stays_as_it_is(model: Path):
    optimize.optimize(model)
    files = {path: path.read_bytes() for path in model.parent.iterdir()}
    optimize.optimize(model)
    assert {path: path.read_bytes() for path in model.parent.iterdir()} == files


def test_a_second_model_that_was_optimised_before_its_first_is_still_the_one_that_it_names(
    model: Path,
):
    optimize.optimize(model.with_name("second.onnx"))
    assert Classifier.load(model).second().is_optimized
    optimize.optimize(model)
    assert Classifier.load(model).is_optimized


def test_a_model_that_would_answer_differently_is_left_as_it_was(
    model: Path, monkeypatch: pytest.MonkeyPatch
):
    files = {path: path.read_bytes() for path in model.parent.iterdir()}
    logits = Classifier.logits

    def shifted(self: Classifier, batch: np.ndarray) -> np.ndarray:
        return logits(self, batch) + 0.01 * self.is_optimized

    monkeypatch.setattr(Classifier, "logits", shifted)
    with pytest.raises(SystemExit, match=r"second\.onnx\.optimized answers differently: by 0\.0"):
        optimize.main([str(model)])
    assert {path: path.read_bytes() for path in model.parent.iterdir()} == files


def test_a_model_that_cannot_be_served_is_refused(tmp_path: Path):
    with pytest.raises(SystemExit, match=r"nowhere\.onnx cannot be read"):
        optimize.main([str(tmp_path / "nowhere.onnx")])
    with pytest.raises(SystemExit, match="has no metadata"):
        optimize.main([str(write_tiny_model(tmp_path / "alien.onnx", metadata={}))])


@pytest.mark.parametrize("made_from", ["", "0" * 63, "G" * 64, "../../model"])
def test_a_file_that_does_not_say_rightly_what_it_was_made_of_is_refused(
    made_from: str, tmp_path: Path
):
    path = write_tiny_model(tmp_path / "tiny.onnx")
    path.write_bytes(path.read_bytes() + optimize._metadata(MADE_FROM_KEY, made_from))
    with pytest.raises(ContractError, match="is no SHA-256 in hex"):
        Classifier.load(path)
