"""The second output is the same from torch to the handler's answer, and only the file's own."""

import base64
from pathlib import Path

import numpy as np
import onnx
import pytest

from serving.app import App
from serving.errors import ContractError
from serving.model.classifier import Classifier
from serving.settings import Settings
from tests.conftest import no_fetch
from tests.training import tiny_config
from train.evaluate.familiarity import familiar_network
from train.evaluate.inference import infer_images, pixels_of_files
from train.evaluate.verb import EvaluateConfig, evaluate
from train.export.onnx import ExportConfig, export
from train.files import read_json
from train.fit.loop import fit
from train.networks.torch_model import TorchModel
from train.runs.model import load_model


@pytest.fixture(scope="module")
def inner_run(
    drawn_data: Path, photo_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run whose head has an inner layer, of a network that is not MobileNetV2."""
    out = tmp_path_factory.mktemp("inner") / "run"
    network = {"backbone": "resnet18", "inner": 8}
    fit(tiny_config(drawn_data, photo_cache, out, network=network))
    export(ExportConfig(run=out, cache=photo_cache))
    return out


@pytest.fixture(params=["tiny_run", "inner_run"])
def run(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


def photos(data: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted((data / "validation").rglob("*.jpg"))[:6]]


def test_torch_and_the_file_compute_the_same_distances(
    run: Path, drawn_data: Path, photo_cache: Path
):
    classifier, trained = Classifier.load(run / "classifier.onnx"), load_model(run)
    network = familiar_network(trained, classifier.contract, run, photo_cache)
    pixels = pixels_of_files(photos(drawn_data), classifier.contract.preprocess, 10**6)
    expected = infer_images(TorchModel(network, classifier.contract), pixels).distances
    found = infer_images(classifier, pixels).distances
    assert expected is not None
    assert found == pytest.approx(expected, rel=1e-2)


def test_the_answer_says_how_familiar_the_photo_is(run: Path, drawn_data: Path):
    require_answers_of(run / "classifier.onnx", drawn_data)


@pytest.mark.slow
def test_so_does_the_answer_of_an_int8_file(int8_run: Path, drawn_data: Path):
    require_answers_of(int8_run / "classifier.int8.onnx", drawn_data)


def require_answers_of(file: Path, drawn_data: Path) -> None:
    """The handler's familiarity is that of the distances which the file computes."""
    classifier = Classifier.load(file)
    known = classifier.contract.familiarity
    assert known is not None
    app = App(classifier, Settings(), no_fetch)
    for photo in photos(drawn_data):
        answer = app.handle({"image": base64.b64encode(photo).decode()}, "id", remaining_s=30)
        pixels = pixels_of_files([photo], classifier.contract.preprocess, 10**6)
        distances = infer_images(classifier, pixels).distances
        assert distances is not None
        assert answer["familiarity"] == pytest.approx(known.of(float(distances[0])), abs=1e-3)


def test_few_validation_photos_are_joined_by_training_photos_out_of_fold(tiny_run: Path):
    known = Classifier.load(tiny_run / "classifier.onnx").contract.familiarity
    assert known is not None
    validation = read_json(tiny_run / "run.json")["photos"]["choosing"]
    assert known.photos > validation


@pytest.mark.slow
def test_the_int8_file_computes_distances_in_float(int8_run: Path, photo_cache: Path):
    file = int8_run / "classifier.int8.onnx"
    graph = onnx.load(str(file)).graph
    (product,) = [node for node in graph.node if node.name.endswith("linear_1")]
    weights = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert weights[product.input[1]] == onnx.TensorProto.FLOAT
    float32, int8 = Classifier.load(int8_run / "classifier.onnx"), Classifier.load(file)
    random = np.random.default_rng(0).normal(size=(8, 3, 32, 32)).astype(np.float32)
    before, after = float32.infer(random).distances, int8.infer(random).distances
    assert before is not None
    assert np.corrcoef(before, after)[0, 1] > 0.9


def test_a_file_whose_quantiles_were_cut_is_refused_by_name(tiny_run: Path, tmp_path: Path):
    import json

    model = onnx.load(str(tiny_run / "classifier.onnx"))
    (entry,) = model.metadata_props
    contract = json.loads(entry.value)
    contract["familiarity"]["distances"].pop()
    entry.value = json.dumps(contract)
    onnx.save(model, str(tmp_path / "cut.onnx"))
    with pytest.raises(ContractError, match=r"familiarity\.distances"):
        Classifier.load(tmp_path / "cut.onnx")


def test_a_file_without_the_promised_distances_is_refused(tiny_run: Path, tmp_path: Path):
    model = onnx.load(str(tiny_run / "classifier.onnx"))
    del model.graph.output[1]
    onnx.save(model, str(tmp_path / "one.onnx"))
    with pytest.raises(ContractError, match="familiarity"):
        Classifier.load(tmp_path / "one.onnx")


def test_the_report_says_how_many_other_photos_are_unsure(
    tiny_run: Path, drawn_data: Path, photo_cache: Path, tmp_path: Path
):
    others = Path(__file__).parents[3] / "samples"
    evaluate(
        EvaluateConfig(
            model=tiny_run / "classifier.onnx",
            data=drawn_data,
            others=others,
            out=tmp_path,
            cache=photo_cache,
        )
    )
    found = read_json(tmp_path / "report.json")
    assert found["others"]["photos"] == len(list(others.glob("*.jpg")))
    assert 0 <= found["others"]["auroc"] <= 1
    assert (tmp_path / "report-familiarity.png").is_file()
    page = (tmp_path / "report.html").read_text()
    assert "familiarity has steps of" in page
    assert "Least familiar photos" in page
    assert "Photos of other things" in page
