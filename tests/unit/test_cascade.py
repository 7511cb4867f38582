"""The rule of a cascade, and what its two networks come to together."""

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.classifier import softmax
from serving.contract import Contract, Second
from serving.preprocess import PreprocessSpec, normalize
from train.calibration import fit_temperature
from train.cascade import summary, tune
from train.inference import image_logits

CLASSES = ("blue", "green", "red")
PHOTOS = 400
SIZES_PX = (160, 224)


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
    tuned = tune(first, second, labels, SIZES_PX)
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


def test_answers_that_are_certain_give_the_rule_that_labels_give(labels: NDArray[np.int64]):
    first, second = drawn_logits(1, labels, 2.0), drawn_logits(2, labels, 2.0)
    certain = np.eye(len(CLASSES))[labels]
    assert tune(first, second, certain, SIZES_PX) == tune(first, second, labels, SIZES_PX)


def test_the_rule_is_fitted_to_what_a_model_holds_for_likely(labels: NDArray[np.int64]):
    first, second = drawn_logits(1, labels, 2.0), drawn_logits(2, labels, 2.0)
    wide = [one.astype(np.float64) for one in (first, second)]
    answers = (softmax(wide[0] / 0.7) + softmax(wide[1] / 0.8)) / 2
    tuned = tune(first, second, answers, SIZES_PX)
    # Both together, at the temperatures that are fitted, answer nearly as the model does.
    assert tuned.both_correct == pytest.approx(answers.max(axis=1).sum(), rel=1e-3)
    assert tuned.correct >= tuned.both_correct
    assert tuned.correct > tuned.first_correct
    assert 0 < tuned.alone < PHOTOS
    assert f"{tuned.correct:.1f} right" in summary(tuned)


def test_a_second_network_that_adds_nothing_is_never_asked(labels: NDArray[np.int64]):
    first = drawn_logits(1, labels, 2.0)
    tuned = tune(first, first, labels, SIZES_PX)
    assert tuned.alone == PHOTOS
    assert tuned.correct == tuned.first_correct


def test_a_first_network_that_is_sure_of_nonsense_never_answers_alone(labels: NDArray[np.int64]):
    first = drawn_logits(1, labels, 0.0)
    first[np.arange(PHOTOS), (labels + 1) % len(CLASSES)] += np.linspace(0, 9, PHOTOS)
    tuned = tune(first, drawn_logits(2, labels, 9.0), labels, SIZES_PX)
    assert tuned.alone == 0
    assert tuned.rule.sure_above > 1


def test_the_summary_says_what_was_weighed(labels: NDArray[np.int64]):
    first, second = drawn_logits(1, labels, 2.0), drawn_logits(2, labels, 2.0)
    tuned = tune(first, second, labels, SIZES_PX)
    line = summary(tuned)
    for figure in (tuned.first_correct, tuned.second_correct, tuned.both_correct, tuned.correct):
        assert f" {figure:.0f}" in line


class Drawn:
    """A model whose logits for a picture are drawn from its pixels' size and mean."""

    def __init__(self, contract: Contract, seed: int, then: "Drawn | None" = None) -> None:
        self.contract, self._seed, self._then = contract, seed, then
        self.asked: list[int] = []

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self.asked.append(len(batch))
        weights = np.random.default_rng(self._seed).standard_normal((3, len(CLASSES)))
        pooled = batch.mean(axis=(2, 3)) * batch.shape[3] / 8
        logits: NDArray[np.float32] = (4 * pooled @ weights).astype(np.float32)
        return logits

    def second(self) -> "Drawn":
        assert self._then is not None
        return self._then


def contract_at(px: int, temperature: float, second: Second | None = None) -> Contract:
    spec = PreprocessSpec.square(px)
    return Contract("drawn", CLASSES, spec, temperature=temperature, second=second)


@pytest.mark.parametrize("sure_above", [0.0, 0.8, 2.0])
def test_where_the_first_is_sure_its_answer_stands_and_elsewhere_the_mean(sure_above: float):
    second = Drawn(contract_at(16, 0.5), seed=2)
    rule = Second("second.onnx", "0" * 64, sure_above)
    first = Drawn(contract_at(8, 2.0, rule), seed=1, then=second)
    colours = np.random.default_rng(3).integers(0, 256, (12, 1, 1, 3), dtype=np.uint8)

    def pixels_of(spec: PreprocessSpec) -> NDArray[np.uint8]:
        return np.broadcast_to(colours, (12, spec.height_px, spec.width_px, 3))

    answers = softmax(image_logits(first, pixels_of).astype(np.float64) / 2.0)
    models = (first, second)
    batches = [normalize(pixels_of(m.contract.preprocess), m.contract.preprocess) for m in models]
    alone, other = (
        softmax(m.logits(batch).astype(np.float64) / m.contract.temperature)
        for m, batch in zip(models, batches, strict=True)
    )
    sure = alone.max(axis=1) >= sure_above
    assert (0 < sure.sum() < 12) == (sure_above == 0.8)
    np.testing.assert_allclose(answers[sure], alone[sure], atol=1e-6)
    np.testing.assert_allclose(answers[~sure], ((alone + other) / 2)[~sure], atol=1e-6)
    assert sum(second.asked[:-1]) == (~sure).sum()  # the last is this test's own


def test_networks_without_a_mistake_keep_their_temperatures_and_the_summary_says_why(
    labels: NDArray[np.int64],
):
    faultless = (9 * np.eye(len(CLASSES))[labels]).astype(np.float32)
    tuned = tune(faultless, drawn_logits(2, labels, 2.0), labels, SIZES_PX)
    assert tuned.rule.first_temperature == 1.0
    assert "so few mistakes cannot calibrate" in summary(tuned)
    other = tune(drawn_logits(1, labels, 2.0), drawn_logits(2, labels, 2.0), labels, SIZES_PX)
    assert "cannot calibrate" not in summary(other)
