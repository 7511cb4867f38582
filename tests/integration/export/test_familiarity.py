"""The second output is the same from torch to the handler's answer, and only the file's own."""

import base64
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from serving.app import App
from serving.errors import ContractError
from serving.model.classifier import Classifier, session_options
from serving.model.preprocess import normalize
from serving.settings import Settings
from tests.conftest import no_fetch
from tests.photo_folder import write_photos
from tests.training import tiny_config
from train.evaluate.familiarity import familiar_network
from train.evaluate.inference import contract_of, infer_images, pixels_of_files
from train.evaluate.verb import EvaluateConfig, evaluate
from train.export.int8 import Quantizer, Recipe, of_distance
from train.export.onnx import ExportConfig, export
from train.files import read_json
from train.fit.loop import fit
from train.networks.familiarity import FamiliarNetwork
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
    classifier, network = Classifier.load(run / "classifier.onnx"), familiar(run, photo_cache)
    pixels = pixels_of_files(photos(drawn_data), classifier.contract.preprocess, 10**6)
    expected = infer_images(TorchModel(network, classifier.contract), pixels).distances
    found = infer_images(classifier, pixels).distances
    assert found == pytest.approx(expected, rel=1e-3)


def test_the_answer_says_how_familiar_the_photo_is(run: Path, drawn_data: Path):
    require_answers_of(run / "classifier.onnx", drawn_data)


@pytest.fixture
def int8_file(run: Path, drawn_data: Path, photo_cache: Path, tmp_path: Path) -> Path:
    """The run's file in int8, without a gate."""
    spec = Classifier.load(run / "classifier.onnx").contract.preprocess
    train = [file.read_bytes() for file in sorted((drawn_data / "train").rglob("*.jpg"))[::3]]
    pixels = pixels_of_files(train, spec, 10**6)
    quantizer = Quantizer(run / "classifier.onnx", spec, pixels, tmp_path)
    return quantizer.make(Recipe("minmax", "paired", 0))


@pytest.mark.slow
def test_so_does_the_answer_of_an_int8_file(int8_file: Path, drawn_data: Path):
    require_answers_of(int8_file, drawn_data)


@pytest.mark.slow
def test_an_int8_files_distances_are_those_of_its_own_features(
    int8_file: Path, run: Path, drawn_data: Path, photo_cache: Path
):
    """Its features are int8's. The rest is float32, with torch's weights and a corrected bias."""
    own = familiar(run, photo_cache).distance.product.weight
    weight, bias = product_of(int8_file)
    assert np.array_equal(weight, own.numpy())
    spec = Classifier.load(int8_file).contract.preprocess
    batch = normalize(pixels_of_files(photos(drawn_data), spec, 10**6), spec)
    features, found = read_features(int8_file, batch)
    parts = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in features]
    product = np.concatenate(parts, axis=1) @ weight.T + bias  # (N, K + C)
    expected = (product[:, :-3] ** 2).sum(axis=1) + product[:, -3:].min(axis=1)
    assert found == pytest.approx(expected, rel=1e-3)
    before = Classifier.load(run / "classifier.onnx").infer(batch).distances
    assert before is not None
    assert not np.array_equal(found, before)  # it is the int8 file that was read


def product_of(file: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weight (K + C, D) and bias (K + C,) of the distance's matrix product, which are float32."""
    graph = onnx.load(str(file)).graph
    own, stored = set(of_distance(graph)), {each.name: each for each in graph.initializer}
    (product,) = [node for node in graph.node if node.op_type == "Gemm" and node.name in own]
    weight, bias = (onnx.numpy_helper.to_array(stored[name]) for name in product.input[1:])
    assert weight.dtype == bias.dtype == np.float32
    return weight, bias


def familiar(run: Path, cache: Path) -> FamiliarNetwork:
    """The run's network with its distances, fitted again."""
    trained = load_model(run)
    network = familiar_network(trained, contract_of(trained), run, cache)
    assert isinstance(network, FamiliarNetwork)
    return network


def read_features(
    file: Path, batch: NDArray[np.float32]
) -> tuple[list[NDArray[np.float32]], NDArray[np.float32]]:
    """What a file concatenates to its embedding, before it is normalised, and its distances.

    Each part is (N, D): the means of a feature map, or the features. The distance's own nodes are
    followed back from the concatenation to what the quantised part of the network computes.
    """
    model = onnx.load(str(file))
    own = set(of_distance(model.graph))
    makers = {name: node for node in model.graph.node for name in node.output}
    (concat,) = [node for node in model.graph.node if node.op_type == "Concat" and node.name in own]
    sources = []
    for name in concat.input:
        while name in makers and makers[name].name in own:
            name = makers[name].input[0]
        sources.append(name)
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in sources)
    session = onnxruntime.InferenceSession(model.SerializeToString(), session_options(1))
    _, distances, *found = session.run(None, {session.get_inputs()[0].name: batch})
    return [each.mean(axis=(2, 3)) if each.ndim == 4 else each for each in found], distances


def require_answers_of(file: Path, drawn_data: Path) -> None:
    """The handler's familiarity is exactly that of the distance that ONNX Runtime computes."""
    classifier = Classifier.load(file)
    spec, known = classifier.contract.preprocess, classifier.contract.familiarity
    assert known is not None
    session = onnxruntime.InferenceSession(file, session_options(1))
    app = App(classifier, Settings(), no_fetch)
    for photo in photos(drawn_data):
        answer = app.handle({"image": base64.b64encode(photo).decode()}, "id", remaining_s=30)
        batch = normalize(pixels_of_files([photo], spec, 10**6), spec)
        (distance,) = session.run(["distance"], {session.get_inputs()[0].name: batch})[0]
        assert answer["familiarity"] == round(known.of(float(distance)), 4)


def test_few_validation_photos_are_joined_by_training_photos_out_of_fold(tiny_run: Path):
    known = Classifier.load(tiny_run / "classifier.onnx").contract.familiarity
    assert known is not None
    validation = read_json(tiny_run / "run.json")["photos"]["choosing"]
    assert known.photos > validation


@pytest.mark.parametrize("kept", [-1, 1, 0], ids=["one is missing", "one is left", "none is left"])
def test_a_file_whose_quantiles_were_cut_is_refused_by_name(
    tiny_run: Path, tmp_path: Path, kept: int
):
    model = onnx.load(str(tiny_run / "classifier.onnx"))
    (entry,) = model.metadata_props
    contract = json.loads(entry.value)
    contract["familiarity"]["distances"] = contract["familiarity"]["distances"][:kept]
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


def test_the_report_shows_validation_test_and_photos_of_other_things(
    tiny_run: Path, photo_cache: Path, tmp_path: Path
):
    others = Path(__file__).parents[3] / "samples"
    data = write_photos(tmp_path / "data", 3, ("validation", "test"))
    evaluate(
        EvaluateConfig(
            model=tiny_run / "classifier.onnx",
            data=data,
            others=others,
            out=tmp_path,
            cache=photo_cache,
        )
    )
    found = read_json(tmp_path / "report.json")
    assert found["others"]["photos"] == len(list(others.glob("*.jpg")))
    assert 0 <= found["others"]["auroc"] <= 1
    assert list(found["splits"]) == ["validation"]
    assert (tmp_path / "report-familiarity.png").is_file()
    page = (tmp_path / "report.html").read_text()
    assert "familiarity has steps of" in page
    for heading in ("Least familiar photos of validation", "Least familiar photos of test"):
        assert heading in page
    assert "Photos of other things" in page
