"""An optimised model file gives the same answers and loads faster."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from samples import draw
from serving.errors import ContractError
from serving.model import optimize, origin
from serving.model.classifier import Classifier
from serving.model.preprocess import Preprocessor
from tests.tiny_model import write_tiny_model

BUNDLED = Path(__file__).parents[3] / "model" / "classifier.onnx"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "model" / "tiny.onnx")


def test_the_bundled_model_answers_the_sample_pictures_as_before(tmp_path: Path):
    made = shutil.copyfile(BUNDLED, tmp_path / "made.onnx")
    optimize.main([str(made)])
    before, after = Classifier.load(BUNDLED), Classifier.load(made)
    assert (before.is_optimized, after.is_optimized) == (False, True)
    assert (after.version, after.contract) == (before.version, before.contract)
    preprocess = Preprocessor(before.contract.preprocess)
    for garment in before.contract.classes:
        batch = preprocess(draw.draw(garment))
        np.testing.assert_allclose(after.logits(batch), before.logits(batch), atol=1e-5)
        inferred, maps = after.explain(batch)
        assert maps is not None
        assert maps.mean() == pytest.approx(inferred.logits.max(), abs=1e-3)


def test_fewer_nodes_are_left_to_be_fused_when_it_is_loaded(tmp_path: Path):
    made = shutil.copyfile(BUNDLED, tmp_path / "made.onnx")
    optimize.optimize(made)
    assert len(onnx.load(made).graph.node) < len(onnx.load(BUNDLED).graph.node) / 2


def test_what_is_optimised_already_stays_as_it_is(model: Path):
    optimize.optimize(model)
    files = {path: path.read_bytes() for path in model.parent.iterdir()}
    optimize.optimize(model)
    assert {path: path.read_bytes() for path in model.parent.iterdir()} == files


def test_a_model_that_would_answer_differently_is_left_as_it_was(
    model: Path, monkeypatch: pytest.MonkeyPatch
):
    files = {path: path.read_bytes() for path in model.parent.iterdir()}
    logits = Classifier.logits

    def shifted(self: Classifier, batch: np.ndarray) -> np.ndarray:
        return logits(self, batch) + 0.01 * self.is_optimized

    monkeypatch.setattr(Classifier, "logits", shifted)
    with pytest.raises(
        SystemExit, match=r"tiny\.onnx\.optimized answers differently: logits differ by 0\.0"
    ):
        optimize.main([str(model)])
    assert {path: path.read_bytes() for path in model.parent.iterdir()} == files


def test_a_model_that_cannot_be_served_is_refused(tmp_path: Path):
    with pytest.raises(SystemExit, match=r"nowhere\.onnx cannot be read"):
        optimize.main([str(tmp_path / "nowhere.onnx")])
    with pytest.raises(SystemExit, match="has no metadata"):
        optimize.main([str(write_tiny_model(tmp_path / "alien.onnx", metadata={}))])


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ("", "cannot be read"),
        ("[]", "cannot be read"),
        ("{}", "cannot be read"),
        *(
            (f'{{"made_from_sha256": "{sha256}", "bytes": 1}}', "is not a SHA-256")
            for sha256 in ("", "0" * 63, "G" * 64, "../../model")
        ),
        (f'{{"made_from_sha256": "{"0" * 64}", "bytes": 1}}', "belongs to another model"),
    ],
)
def test_a_wrong_record_of_the_original_is_refused(record: str, told: str, model: Path):
    origin.path_of(model).write_text(record)
    with pytest.raises(ContractError, match=told):
        Classifier.load(model)


def test_the_record_goes_with_the_optimised_file(model: Path):
    version = Classifier.load(model).version
    optimize.optimize(model)
    assert origin.read(model) == version.removeprefix("sha256:")
    write_tiny_model(model, unsure_below=0.5)  # as when someone replaces the file by hand
    with pytest.raises(ContractError, match=r"Delete tiny\.onnx\.json"):
        Classifier.load(model)
