"""The rule of a cascade, and its network in torch and as an ONNX file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from serving.classifier import Classifier, softmax
from serving.contract import Contract
from serving.preprocess import PreprocessSpec
from train.calibration import fit_temperature
from train.cascade import summary, tune
from train.cascade_network import CascadeNetwork, CascadeRule
from train.export import write_onnx
from train.network import Network

CLASSES = ("blue", "green", "red")
PHOTOS = 400


def drawn_logits(seed: int, labels: NDArray[np.int64], margin: float) -> NDArray[np.float32]:
    """(N, C) logits of a network that errs at random; a larger margin errs less."""
    logits = np.random.default_rng(seed).standard_normal((len(labels), len(CLASSES)))
    logits[np.arange(len(labels)), labels] += margin
    return logits.astype(np.float32)


@pytest.fixture
def labels() -> NDArray[np.int64]:
    return np.random.default_rng(5).integers(0, len(CLASSES), PHOTOS)


def test_the_threshold_is_the_lowest_that_keeps_to_the_rule(labels: NDArray[np.int64]):
    first, second = drawn_logits(1, labels, 2.0), drawn_logits(2, labels, 2.0)
    tuned = tune(first, second, labels)
    assert tuned.both_correct > max(tuned.first_correct, tuned.second_correct)
    assert 0 < tuned.alone < PHOTOS

    wide = [one.astype(np.float64) for one in (first, second)]
    alone, other = (softmax(one / fit_temperature(one, labels)) for one in wide)
    both, confidence = (alone + other) / 2, alone.max(axis=1)

    def keeps_to_the_rule(threshold: float) -> bool:
        answered = np.where((confidence >= threshold)[:, None], alone, both)
        row = np.arange(PHOTOS)
        behind = np.log(both[row, labels]) - np.log(answered[row, labels])
        no_fewer = (answered.argmax(1) == labels).sum() >= (both.argmax(1) == labels).sum()
        return bool(no_fewer and behind.mean() <= behind.std(ddof=1) / np.sqrt(PHOTOS))

    below = np.sort(confidence[confidence < tuned.rule.sure_above])
    assert keeps_to_the_rule(tuned.rule.sure_above)
    assert len(below) > 10
    assert not any(keeps_to_the_rule(threshold) for threshold in below)


def test_a_second_network_that_adds_nothing_is_never_asked(labels: NDArray[np.int64]):
    first = drawn_logits(1, labels, 2.0)
    tuned = tune(first, first, labels)
    assert tuned.alone == PHOTOS
    assert tuned.correct == tuned.first_correct


def test_a_first_network_that_is_sure_of_nonsense_never_answers_alone(labels: NDArray[np.int64]):
    first = drawn_logits(1, labels, 0.0)
    first[np.arange(PHOTOS), (labels + 1) % len(CLASSES)] += np.linspace(0, 9, PHOTOS)
    tuned = tune(first, drawn_logits(2, labels, 9.0), labels)
    assert tuned.alone == 0
    assert tuned.rule.sure_above > 1


def test_the_summary_says_what_was_weighed(labels: NDArray[np.int64]):
    tuned = tune(drawn_logits(1, labels, 2.0), drawn_logits(2, labels, 2.0), labels)
    line = summary(tuned)
    for figure in (tuned.first_correct, tuned.second_correct, tuned.both_correct, tuned.correct):
        assert str(figure) in line


def colour_network(seed: int) -> Network:
    """The mean colour of an image through a linear layer of drawn weights."""
    torch.manual_seed(seed)
    head = nn.Linear(3, len(CLASSES))
    nn.init.normal_(head.weight, std=4.0)
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Network(pool, head, train_backbone=True).eval()


def two_networks(rule: CascadeRule) -> CascadeNetwork:
    return CascadeNetwork(colour_network(1), colour_network(2), rule).eval()


@pytest.fixture
def images() -> torch.Tensor:
    """(12, 3, 8, 8): plain colours."""
    colours = torch.randn(12, 3, 1, 1, generator=torch.Generator().manual_seed(3))
    return colours.expand(12, 3, 8, 8).contiguous()


HALF = CascadeRule(first_temperature=2.0, second_temperature=0.5, sure_above=0.8)


def written(network: CascadeNetwork, path: Path) -> Classifier:
    contract = Contract("colours", CLASSES, PreprocessSpec(height_px=8, width_px=8))
    write_onnx(network, contract, path)
    return Classifier.load(path)


@torch.inference_mode()
def test_where_the_first_is_sure_its_answer_stands_and_elsewhere_the_mean(images: torch.Tensor):
    network = two_networks(HALF)
    alone = (network.first(images) / 2.0).softmax(dim=1)
    other = (network.second(images) / 0.5).softmax(dim=1)
    sure = alone.amax(dim=1) >= HALF.sure_above
    assert 0 < sure.sum() < len(images)
    answers = network(images).exp()
    torch.testing.assert_close(answers[sure], alone[sure])
    torch.testing.assert_close(answers[~sure], ((alone + other) / 2)[~sure])


@torch.inference_mode()
@pytest.mark.parametrize("sure_above", [0.0, 0.8, 2.0])
def test_the_file_answers_as_torch_does_one_by_one_and_together(
    sure_above: float, images: torch.Tensor, tmp_path: Path
):
    network = two_networks(CascadeRule(2.0, 0.5, sure_above))
    classifier = written(network, tmp_path / "cascade.onnx")
    expected = network(images).numpy()
    together = classifier.logits(images.numpy())
    np.testing.assert_allclose(together, expected, atol=1e-5)
    one_by_one = [classifier.logits(image[None].numpy())[0] for image in images]
    np.testing.assert_allclose(one_by_one, together, atol=1e-6)


@torch.inference_mode()
def test_the_file_asks_the_second_for_unsure_images_alone(images: torch.Tensor, tmp_path: Path):
    # A second network that knows nothing leaves its mark wherever it is asked.
    network = two_networks(HALF)
    nn.init.constant_(network.second.head.get_parameter("bias"), float("nan"))
    sure = (network.first(images) / 2.0).softmax(dim=1).amax(dim=1).numpy() >= HALF.sure_above
    answers = written(network, tmp_path / "cascade.onnx").logits(images.numpy())
    np.testing.assert_array_equal(np.isnan(answers).any(axis=1), ~sure)


def test_logits_beyond_float32s_exponent_stay_finite(images: torch.Tensor, tmp_path: Path):
    network = two_networks(CascadeRule(1e-3, 1e-3, 2.0))
    assert np.isfinite(written(network, tmp_path / "cascade.onnx").logits(images.numpy())).all()
