"""A class activation map: its mean is the logit, and its picture shows where."""

import json
from io import BytesIO

import numpy as np
import onnx
import pytest
from PIL import Image

from serving.errors import ContractError
from serving.model.classifier import Classifier
from serving.model.contract import METADATA_KEY
from serving.model.explanation import LONGEST_PX, drawn_over, in_grey, top_class_maps
from tests.drawn import picture
from tests.tiny_model import CONTRACT, write_tiny_model


def test_the_mean_of_a_map_is_the_highest_logit():
    random = np.random.default_rng(0)
    features = random.normal(size=(5, 8, 7, 6)).astype(np.float32)
    weight = random.normal(size=(4, 8)).astype(np.float32)
    bias = random.normal(size=4).astype(np.float32)
    logits = features.mean(axis=(2, 3)) @ weight.T + bias
    maps = top_class_maps(logits, features, weight, bias)
    assert maps.shape == (5, 7, 6)
    np.testing.assert_allclose(maps.mean(axis=(1, 2)), logits.max(axis=1), atol=1e-5)


def drawn(image: Image.Image, values, box=None) -> Image.Image:
    made = Image.open(BytesIO(drawn_over(in_grey(image, box), np.array(values, np.float32))))
    assert made.format == "PNG"
    return made


def test_orange_lies_where_it_speaks_for_the_label_and_blue_against():
    pixels = np.asarray(drawn(picture("green"), [[4, 0], [0, -4]]), np.int16)
    height, width = pixels.shape[:2]
    top_left, bottom_right = pixels[height // 8, width // 8], pixels[-height // 8, -width // 8]
    assert top_left[0] > top_left[2] + 50
    assert bottom_right[2] > bottom_right[0] + 50
    edge = pixels[height // 8, -width // 8]
    assert np.ptp(edge) < 20  # grey, where it says nothing


@pytest.mark.parametrize(
    ("size", "values"),
    [((4_000, 3_000), [[1, 2], [3, 4]]), ((3, 5), [[0, 0]]), ((900, 1), [[-1.5]])],
    ids=["large", "tiny, nothing said", "a line, of one position"],
)
def test_the_picture_has_the_photos_shape_and_is_small(size, values):
    made = drawn(Image.new("RGB", size, (200, 10, 10)), values)
    assert max(made.size) == LONGEST_PX
    assert (
        made.size[0] / made.size[1] == pytest.approx(size[0] / size[1], rel=0.02) or 1 in made.size
    )


def test_only_the_part_of_the_image_that_the_photo_fills_is_drawn():
    image = Image.new("RGB", (100, 100), "white")
    image.paste((0, 0, 0), (0, 0, 60, 30))
    made = drawn(image, [[0, 0]], box=(0, 0, 60, 30))
    assert made.size == (LONGEST_PX, LONGEST_PX // 2)
    assert np.asarray(made)[:-8, :-8].max() == 0  # the last pixels are interpolated


def test_a_file_that_lacks_what_its_contract_promises_is_refused(tmp_path):
    value = {**CONTRACT.to_json(), "explanation": {"exact": True}}
    path = write_tiny_model(tmp_path / "m.onnx", metadata={METADATA_KEY: json.dumps(value)})
    with pytest.raises(ContractError, match="'explanation' exact"):
        Classifier.load(path)


def test_a_file_of_an_older_contract_answers_and_says_that_it_is_older(tmp_path):
    value = {**CONTRACT.to_json(), "version": 2}
    del value["explanation"]
    path = write_tiny_model(tmp_path / "m.onnx", metadata={METADATA_KEY: json.dumps(value)})
    classifier = Classifier.load(path)
    assert "exported before" in classifier.contract.unexplained_because
    inferred, maps = classifier.explain(np.zeros((1, 3, 32, 24), np.float32))
    assert inferred.logits.shape == (1, 3)
    assert maps is None


def test_an_explanation_is_what_it_was_after_the_file_is_optimised(tmp_path):
    from serving.model.optimize import optimize

    path = write_tiny_model(tmp_path / "m.onnx", explains=True)
    batch = np.random.default_rng(0).normal(size=(2, 3, 32, 24)).astype(np.float32)
    _, before = Classifier.load(path).explain(batch)
    optimize(path)
    _, after = Classifier.load(path).explain(batch)
    assert before is not None
    assert after is not None
    np.testing.assert_allclose(after, before, atol=1e-5)
    assert len(onnx.load(path).graph.output) == 4
