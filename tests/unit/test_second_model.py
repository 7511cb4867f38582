"""A model with a second one, which is asked as well where the first is not sure."""

import base64
import json
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serving.app import App
from serving.classifier import Classifier
from serving.contract import Contract, Second
from serving.errors import ContractError
from serving.image import Decoded, decode, decode_scaled
from serving.preprocess import Preprocessor, PreprocessSpec
from serving.settings import Settings
from tests.conftest import no_fetch
from tests.drawn import encoded
from tests.tiny_model import CONTRACT, SPEC, write_tiny_cascade

SURE, UNSURE = (250, 0, 0), (90, 100, 80)
GOOD: dict[str, Any] = {"file": "second.onnx", "sha256": "0" * 64, "sure_above": 0.9}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_cascade(tmp_path / "model" / "tiny.onnx", sure_above=0.9)


def answer_to(app: App, *colours: tuple[int, int, int]) -> Any:
    images = [{"image": base64.b64encode(encoded(plain(c))).decode()} for c in colours]
    return app.handle({"images": images} if len(images) > 1 else images[0], "request-1")


def plain(colour: tuple[int, int, int]) -> Image.Image:
    return Image.new("RGB", (64, 80), colour)


def probabilities(classifier: Classifier, colour: tuple[int, int, int]) -> np.ndarray:
    picture = decode(encoded(plain(colour)), max_pixels=10_000)
    batch = Preprocessor(classifier.contract.preprocess)(picture)
    row: np.ndarray = classifier.probabilities(classifier.logits(batch))[0]
    return row


def listed(answer: dict[str, Any]) -> np.ndarray:
    by_label = {p["label"]: p["probability"] for p in answer["predictions"]}
    return np.array([by_label[label] for label in CONTRACT.classes])


def service(model: Path) -> App:
    return App(Classifier.load(model), Settings(), no_fetch)


def test_a_sure_image_is_answered_by_the_first_and_the_second_is_not_even_read(model: Path):
    app, first = service(model), Classifier.load(model)
    model.with_name("second.onnx").unlink()
    np.testing.assert_allclose(listed(answer_to(app, SURE)), probabilities(first, SURE), atol=1e-6)


def test_an_unsure_image_is_answered_by_the_mean_of_both_each_at_its_own_size(model: Path):
    first = Classifier.load(model)
    second = first.second()
    assert second.contract.preprocess.size_px != first.contract.preprocess.size_px
    mean = (probabilities(first, UNSURE) + probabilities(second, UNSURE)) / 2
    assert np.abs(mean - probabilities(first, UNSURE)).max() > 0.01
    answer = answer_to(service(model), UNSURE)
    np.testing.assert_allclose(listed(answer), mean, atol=1e-5)
    assert set(answer["timings_ms"]) == {"fetch", "decode", "preprocess", "inference"}


WIDER = replace(SPEC, width_px=48)


@pytest.mark.parametrize(("second_spec", "is_kept"), [(SPEC, False), (WIDER, True)])
def test_a_picture_waits_only_for_a_second_model_that_wants_another_input(
    second_spec: PreprocessSpec, is_kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    model = write_tiny_cascade(tmp_path / "tiny.onnx", sure_above=0.9, preprocess=second_spec)
    app = service(model)
    answer_to(app, UNSURE)  # loads the second model
    logits, decoded, waiting = Classifier.logits, [], []

    def decode(data: bytes, **wanted: Any) -> Decoded:
        found = decode_scaled(data, **wanted)
        decoded.append(weakref.ref(found.image))
        return found

    def counted(self: Classifier, batch: np.ndarray) -> np.ndarray:
        waiting.append(decoded[0]() is not None)
        return logits(self, batch)

    monkeypatch.setattr("serving.predict.image.decode_scaled", decode)
    monkeypatch.setattr(Classifier, "logits", counted)
    answer_to(app, SURE)
    assert waiting == [is_kept]


@pytest.mark.parametrize(
    ("second_spec", "file_format", "size", "times"),
    [
        (SPEC, "JPEG", (1_040, 1_040), 1),
        (WIDER, "JPEG", (300, 300), 2),  # of 300 pixels an eighth does for 32, not for 48
        (WIDER, "JPEG", (100, 100), 1),
        (WIDER, "PNG", (300, 300), 1),
        (WIDER, "PNG", (1_040, 1_040), 2),  # too large to be kept
    ],
)
def test_an_image_is_decoded_anew_only_where_another_scale_is_wanted_or_it_was_too_large_to_keep(
    second_spec: PreprocessSpec,
    file_format: str,
    size: tuple[int, int],
    times: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    model = write_tiny_cascade(tmp_path / "tiny.onnx", sure_above=2.0, preprocess=second_spec)
    app, sizes = service(model), []

    def counted(data: bytes, *, max_pixels: int, for_size: tuple[int, int], close: bool) -> Decoded:
        sizes.append(for_size)
        return decode_scaled(data, max_pixels=max_pixels, for_size=for_size, close=close)

    answer_to(app, UNSURE)  # loads the second model
    monkeypatch.setattr("serving.predict.image.decode_scaled", counted)
    file = encoded(Image.new("RGB", size, UNSURE), file_format)
    answer = app.handle({"image": base64.b64encode(file).decode()}, "request-1")
    assert "label" in answer
    assert sizes == [SPEC.size_px, second_spec.size_px][:times]


def test_each_image_of_a_batch_is_answered_as_it_is_alone(model: Path):
    app = service(model)
    colours = [SURE, UNSURE, SURE, (80, 90, 100), UNSURE, SURE]
    together = answer_to(app, *colours)["results"]
    alone = [answer_to(app, colour) for colour in colours]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(listed(one), listed(other), atol=1e-6)


def test_the_log_tells_of_each_image_whether_the_second_was_asked(
    model: Path, capsys: pytest.CaptureFixture[str]
):
    answer_to(service(model), SURE, UNSURE)
    line, *_ = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert [image["asked_second"] for image in line["images"]] == [False, True]
    assert line["asked_second"] == [0, 1]
    told = [m["Name"] for d in line["_aws"]["CloudWatchMetrics"] for m in d["Metrics"]]
    assert "asked_second" in told


def test_a_second_that_is_missing_is_refused_at_init(model: Path):
    model.with_name("second.onnx").unlink()
    with pytest.raises(ContractError, match="which is not beside it"):
        Classifier.load(model)


def test_a_second_that_is_another_file_fails_the_request_and_the_log_says_why(
    model: Path, capsys: pytest.CaptureFixture[str]
):
    app = service(model)
    write_tiny_cascade(model.with_name("other.onnx"), sure_above=0.9, name="another")
    problem = answer_to(app, UNSURE)
    assert (problem["status"], problem["code"]) == (500, "internal_error")
    assert "second" not in problem["detail"]
    assert "is not the file that the contract's field 'second' names" in capsys.readouterr().out
    assert answer_to(app, SURE)["label"] == "red"


@pytest.mark.parametrize(
    "changes", [{"classes": ("blue", "green", "violet")}, {"second": Second(**GOOD)}]
)
def test_a_second_that_does_not_go_with_the_first_is_refused(changes: dict[str, Any], model: Path):
    classifier = Classifier.load(write_tiny_cascade(model, sure_above=0.9, **changes))
    with pytest.raises(ContractError, match="other classes than the first model, or a second"):
        classifier.second()


def test_threads_that_need_the_second_at_once_load_it_once(model: Path):
    classifier = Classifier.load(model)
    with ThreadPoolExecutor(4) as pool:
        seconds = list(pool.map(lambda _: classifier.second(), range(8)))
    assert len({id(second) for second in seconds}) == 1


def test_a_model_without_a_second_says_so(classifier: Classifier):
    with pytest.raises(ContractError, match="no field 'second'"):
        classifier.second()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("file", 5),
        ("file", "../second.onnx"),
        ("file", "..\\second.onnx"),
        ("file", ""),
        ("sha256", "0"),
        ("sha256", None),
        ("sure_above", -0.1),
        ("sure_above", None),
    ],
)
def test_a_field_of_the_second_that_cannot_be_honoured_is_refused_by_name(field: str, value: Any):
    contract = {**CONTRACT.to_json(), "version": 2, "second": {**GOOD, field: value}}
    with pytest.raises(ContractError, match=f"'second.{field}'"):
        Contract.from_json(contract)


@pytest.mark.parametrize("change", [{"second": GOOD}, {"version": 2}, {"version": 3}])
def test_the_version_says_whether_there_is_a_second(change: dict[str, Any]):
    with pytest.raises(ContractError, match="'version'"):
        Contract.from_json(CONTRACT.to_json() | change)


def test_a_contract_with_a_second_survives_being_written_and_read(model: Path):
    contract = Classifier.load(model).contract
    assert contract.second is not None
    assert Contract.from_json(json.loads(json.dumps(contract.to_json()))) == contract


def test_a_snapshot_holds_the_second(model: Path, monkeypatch: pytest.MonkeyPatch):
    import lambda_function

    classifier = Classifier.load(model)
    monkeypatch.setattr(lambda_function, "classifier", classifier)
    lambda_function.warm_up()
    model.with_name("second.onnx").unlink()
    assert classifier.second().contract.preprocess.width_px == 48
