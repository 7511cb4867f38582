"""Embeddings of training photos in, the distance that a model computes out; and distances of photos
that it was not trained on in, what the contract compares with out.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh
from sklearn.covariance import ledoit_wolf_shrinkage

from serving.model.classifier import Inference, calibrated
from serving.model.contract import Contract
from serving.model.familiarity import MAX_DISTANCES, Familiarity
from train.errors import UsageError
from train.evaluate.metrics import is_unfamiliar
from train.networks.familiarity import EMBEDDING, Distance, Embedding, FamiliarNetwork
from train.networks.features import cached_features
from train.networks.transfer import Network
from train.photos.manifest import Labels
from train.runs.model import TrainedModel
from train.runs.photos import trained_photos

# Of the bundled model, 512 directions found as many other photos as 256, at twice the cost.
_DIRECTIONS = 256

# Of embeddings of length 1. Where photos differ less, float32's rounding errors, about 1e-6, would
# show in the distances, so these directions are left out.
_SMALLEST_VARIANCE = 1e-5

# Shares of the photos that the model was not trained on: those that are unfamiliar, and those that
# are unsure for either reason.
UNFAMILIAR_SHARE, UNSURE_SHARE = 0.04, 0.05

# With fewer photos than this to measure distances on, those of training are taken out-of-fold.
ENOUGH_PHOTOS = 100
_FOLDS = 5


def familiar_network(
    trained: TrainedModel, contract: Contract, run: Path, cache: Path, root: Path | None = None
) -> Network | FamiliarNetwork:
    """The run's network with its distances, fitted on the photos that it was trained on.

    The bare network, and a line that says so, if the photos are missing or too few, or hardly
    differ for this network.
    """
    embedding, rows, labels = _embedded(trained, contract, run, cache, root)
    distance = fit_distance(rows, labels, len(contract.classes)) if len(rows) else None
    if distance is None:
        print("no familiarity: photos of train are missing, too few, or alike for this network")
        return trained.network
    return FamiliarNetwork(embedding, distance)


def out_of_fold_distances(
    trained: TrainedModel,
    contract: Contract,
    unseen: int,
    run: Path,
    cache: Path,
    root: Path | None = None,
) -> list[float]:
    """Distances to add to those of the `unseen` photos; none if these are ENOUGH_PHOTOS."""
    if unseen >= ENOUGH_PHOTOS:
        return []
    _, rows, labels = _embedded(trained, contract, run, cache, root)
    return out_of_fold(rows, labels, len(contract.classes)) if len(rows) else []


def _embedded(
    trained: TrainedModel, contract: Contract, run: Path, cache: Path, root: Path | None
) -> tuple[Embedding, NDArray[np.float32], Labels]:
    """The run's embedding, and its rows (N, D) and labels (N,) for the training photos."""
    spec = contract.preprocess
    embedding = Embedding(trained.network, spec.height_px).eval()
    try:
        photos = trained_photos(trained, run, cache, root)
    except UsageError:  # the folder has no train, such as one of new photos alone
        return embedding, np.empty((0, 0), np.float32), np.empty(0, np.int64)
    cpu = torch.device("cpu")
    rows = cached_features(embedding, photos, spec, cache, cpu, kind=EMBEDDING)
    return embedding, rows, photos.labels()


def fit_distance(embedding: NDArray[np.float32], labels: Labels, classes: int) -> Distance | None:
    """The distance to the nearest class among (N, D) embeddings of training photos.

    The directions are the leading ones of the pooled within-class covariance, at most as many as
    the photos determine; their variances are shrunk towards the mean variance by the share of
    Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices",
    which is small for many photos. Classes without photos are left out.

    None if the photos hardly differ from their class means, so that there are no directions.
    """
    wide = embedding.astype(np.float64)
    centre = wide.mean(axis=0)
    wide -= centre
    present = [label for label in range(classes) if (labels == label).any()]
    means = np.stack([wide[labels == label].mean(axis=0) for label in present])  # (P, D)
    within = wide - means[np.searchsorted(present, labels)]  # (N, D)
    rank = min(within.shape[1], len(within) - len(present))
    if rank < 1:
        return None
    covariance = within.T @ within / (len(within) - len(present))
    dimensions, kept = len(covariance), min(_DIRECTIONS, rank)
    variances, directions = eigh(
        covariance, subset_by_index=[dimensions - kept, dimensions - 1]
    )  # (K,), (D, K)
    told_apart = variances > _SMALLEST_VARIANCE
    variances, directions = variances[told_apart], directions[:, told_apart]
    if not len(variances):
        return None
    share = ledoit_wolf_shrinkage(within, assume_centered=True)
    mean_variance = float(np.trace(covariance)) / dimensions
    variances = (1 - share) * variances + share * mean_variance
    directions /= np.sqrt(variances)
    projected = means @ directions  # (P, K)
    weight = np.concatenate([directions.T, -2 * projected @ directions.T])  # (K + P, D)
    bias = -weight @ centre  # (K + P,)
    bias[len(variances) :] += (projected**2).sum(axis=1)
    return Distance(
        torch.from_numpy(weight.astype(np.float32)),
        torch.from_numpy(bias.astype(np.float32)),
        classes=len(present),
    )


def out_of_fold(embedding: NDArray[np.float32], labels: Labels, classes: int) -> list[float]:
    """Distances of training photos, each by a fit to the other folds; empty if there are too few.

    The network itself was trained on these photos, so they lie somewhat nearer than new ones.
    """
    of_fold = np.zeros(len(labels), dtype=np.int64)  # (N,): each class's photos in turn
    for label in range(classes):
        of_class = np.flatnonzero(labels == label)
        of_fold[of_class] = np.arange(len(of_class)) % _FOLDS
    found: list[float] = []
    for fold in range(_FOLDS):
        rest = of_fold != fold
        held = ~rest & np.isin(labels, labels[rest])  # a class's only photo has no class mean
        distance = fit_distance(embedding[rest], labels[rest], classes) if rest.any() else None
        if distance is not None and held.any():
            found += distance(torch.from_numpy(embedding[held])).tolist()
    return found


def with_thresholds(
    contract: Contract, inferred: Inference, others: Sequence[float] = ()
) -> Contract:
    """The contract with what familiarity compares with, and both thresholds of `unsure`.

    UNFAMILIAR_SHARE of the photos are less familiar than the one threshold, and the one of
    probability is the highest at which at most UNSURE_SHARE are unsure for either reason.

    Args:
        contract: with its temperature; its thresholds are replaced.
        inferred: of N photos that the model was not trained on, by the file that is served.
        others: more distances, if N is small.
    """
    familiarity = None
    if inferred.distances is not None:
        familiarity = measured(np.append(inferred.distances, others))
    contract = replace(contract, familiarity=familiarity, unsure_below=0.0)
    unfamiliar = is_unfamiliar(inferred, contract)  # (N,)
    confidence = calibrated(inferred.logits, contract).max(axis=1)[~unfamiliar]
    most = UNSURE_SHARE * len(unfamiliar) - unfamiliar.sum()
    return replace(contract, unsure_below=share_threshold(confidence, most))


def measured(distances: NDArray[np.floating[Any]]) -> Familiarity:
    """What new distances are compared with, from (N,) measured ones."""
    ordered = np.sort(distances.astype(np.float64))
    if len(ordered) > MAX_DISTANCES:
        # The middles of as many equal parts, so that neither end is an extreme.
        shares = (np.arange(MAX_DISTANCES) + 0.5) / MAX_DISTANCES
        ordered = np.quantile(ordered, shares)
    rounded = tuple(float(f"{each:.6g}") for each in ordered)
    return Familiarity(len(distances), rounded, UNFAMILIAR_SHARE)


def share_threshold(confidence: NDArray[np.float64], most: float) -> float:
    """The highest of (N,) probabilities that has at most `most` others below it; 0 if N is 0."""
    ordered = np.sort(confidence)
    return float(ordered[min(int(max(most, 0)), len(ordered) - 1)]) if len(ordered) else 0.0
