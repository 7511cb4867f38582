"""The fit of distances, and the thresholds, on embeddings whose distances are known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from serving.model.classifier import Inference
from tests.tiny_model import CONTRACT
from train.evaluate.familiarity import fit_distance, measured, out_of_fold, with_thresholds
from train.evaluate.metrics import is_unfamiliar, is_unsure


def clusters(
    per_class: int, classes: int = 3, width: int = 8, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Embeddings of classes around points of their own, and their labels."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, width)) * 5
    labels = np.repeat(np.arange(classes), per_class)
    return (centres[labels] + random.normal(size=(len(labels), width))).astype(np.float32), labels


def test_the_distance_is_mahalanobis_to_the_nearest_class():
    embedding, labels = clusters(5_000)
    distance = fit_distance(embedding, labels, 3)
    assert distance is not None
    found = distance(torch.from_numpy(embedding)).numpy()
    means = np.stack([embedding[labels == label].mean(axis=0) for label in range(3)])
    within = embedding - means[labels]
    inverse = np.linalg.inv(np.cov(within.T))
    offsets = embedding[:, None] - means  # (N, 3, 8)
    expected = np.einsum("ncd,de,nce->nc", offsets, inverse, offsets).min(axis=1)
    # The shrinkage is small for this many photos.
    assert found == pytest.approx(expected, rel=0.05, abs=0.05)


@pytest.mark.parametrize("per_class", [2, 5, 20])
@pytest.mark.parametrize("width", [4, 64])
def test_few_photos_and_narrow_features_still_tell_others_apart(per_class: int, width: int):
    embedding, labels = clusters(per_class, classes=2, width=width)
    distance = fit_distance(embedding, labels, 2)
    assert distance is not None
    same = distance(torch.from_numpy(clusters(50, classes=2, width=width, seed=1)[0]))
    other = np.random.default_rng(5).normal(size=(100, width)).astype(np.float32) * 20
    farther = distance(torch.from_numpy(other)) > same.max()
    assert farther.float().mean() > 0.9


def test_a_class_without_photos_is_left_out():
    embedding, labels = clusters(20)
    distance = fit_distance(embedding, labels * 2, 5)  # classes 1 and 3 have none
    assert distance is not None
    assert torch.isfinite(distance(torch.from_numpy(embedding))).all()


def test_photos_that_equal_their_class_mean_give_no_distance():
    embedding, labels = clusters(1)
    assert fit_distance(embedding, labels, 3) is None
    assert fit_distance(np.ones((6, 4), np.float32), np.array([0, 0, 0, 1, 1, 1]), 2) is None


def test_out_of_fold_distances_are_those_of_new_photos_rather_than_of_fitted_ones():
    embedding, labels = clusters(20, width=16)
    distance = fit_distance(embedding, labels, 3)
    assert distance is not None
    fitted = distance(torch.from_numpy(embedding)).mean()
    new = distance(torch.from_numpy(clusters(500, width=16, seed=3)[0])).mean()
    outside = np.mean(out_of_fold(embedding, labels, 3))
    assert fitted < outside
    assert outside == pytest.approx(float(new), rel=0.35)


def test_a_class_with_one_photo_is_not_measured_out_of_fold():
    embedding, labels = clusters(10)
    labels[-1] = 3
    assert len(out_of_fold(embedding, labels, 4)) == 29


def test_both_thresholds_together_call_one_photo_in_twenty_unsure():
    random = np.random.default_rng(4)
    inferred = Inference(
        random.normal(size=(400, 3)).astype(np.float32) * 3,
        random.random(400).astype(np.float32) * 9,
    )
    contract = with_thresholds(CONTRACT, inferred)
    assert is_unfamiliar(inferred, contract).mean() == pytest.approx(0.04, abs=0.005)
    assert is_unsure(inferred, contract).mean() == pytest.approx(0.05, abs=0.005)


def test_without_distances_the_probability_alone_makes_one_in_twenty_unsure():
    inferred = Inference(np.random.default_rng(4).normal(size=(400, 3)).astype(np.float32))
    contract = with_thresholds(replace(CONTRACT, unsure_below=0.9), inferred)
    assert contract.familiarity is None
    assert is_unsure(inferred, contract).mean() == pytest.approx(0.05, abs=0.005)


def test_more_photos_than_the_contract_lists_are_held_as_quantiles():
    distances = np.random.default_rng(0).random(10_000)
    known = measured(distances)
    assert known.photos == 10_000
    assert known.of(float(np.quantile(distances, 0.9))) == pytest.approx(0.1, abs=0.003)
