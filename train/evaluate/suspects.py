"""Photos in; labels that look wrong, and pairs of photos that look the same, out.

A linear classifier on the features of a network judges each photo without having seen it, its
copies or its near-copies. What it finds is for a person to look at: unusual photos are among it.
"""

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from train.evaluate.report.gallery import thumbnail
from train.networks.alike import Features, Indices, Looks, alike
from train.photos.findings import Finding
from train.photos.folders import printable
from train.photos.manifest import Labels, Manifest, Photo
from train.photos.sides import units_of

_FOLDS = 5

# Inverse strength of the regularisation, of standardised features; divided by their number. Of 20
# swapped labels among 3,409 clothing photos, 16.4 were in the first 40 (mean of 8 draws, each photo
# by itself); with three times as much 15.9, with shrunk discriminant analysis 14.9.
_C = 4.0

# A label is doubted if another class is at least so many times as probable.
_STRONGLY = 2.0


@dataclass(frozen=True, slots=True)
class Suspect:
    """A photo whose label a model that was not trained on it contradicts.

    Attributes:
        likely: the class that the model takes it for.
        probability, label_probability: of that class and of the label's, 0..1.
    """

    photo: Photo
    likely: str
    probability: float
    label_probability: float


@dataclass(frozen=True, slots=True)
class Double:
    """Two photos that look the same, in different classes or splits; a photo of train is first."""

    first: Photo
    second: Photo

    @property
    def differ_in(self) -> str:
        """What they differ in."""
        return "classes" if self.first.label != self.second.label else "splits"


@dataclass(frozen=True, slots=True)
class Doubts:
    """Photos whose label to check, the most suspicious first, and doubles, the most alike first.

    Doubles in two classes come first: one of the two labels is wrong.
    """

    root: Path
    suspects: tuple[Suspect, ...]
    doubles: tuple[Double, ...]

    def findings(self) -> Iterator[Finding]:
        """What to print of each; not of copies, which need no network to be found."""
        for each in self.suspects:
            found = (
                f"{printable(each.photo.path)} looks like {each.likely} "
                f"({each.probability:.0%}; {each.photo.label} {each.label_probability:.0%})"
            )
            yield Finding("a label to check", found, "look at it; move it if the label is wrong")
        for pair in self.doubles:
            if pair.first.sha256 != pair.second.sha256:
                kind = f"photos that look the same in two {pair.differ_in}"
                names = f"{printable(pair.first.path)}, {printable(pair.second.path)}"
                yield Finding(kind, names, "look at both; if they show the same, keep one")

    def summary(self) -> str:
        """How many there are of each, in one line."""
        counts = Counter(pair.differ_in for pair in self.doubles)
        return (
            f"labels to check: {len(self.suspects)}; pairs that look the same: "
            f"{counts['classes']} in two classes, {counts['splits']} in two splits"
        )

    def section(self, most: int) -> str:
        """At most `most` of each as HTML, with the photos.

        Raises:
            RequestError: a photo cannot be decoded.
        """
        suspects = "".join(_item(each, self.root) for each in self.suspects[:most])
        doubles = "".join(_pair(each, self.root) for each in self.doubles[:most])
        return (
            f"<h2>Labels to check</h2>\n<p>{self._told(len(self.suspects), most, 'photo')} A model "
            "that was not trained on them takes them for another class. The most suspicious come "
            "first: wrong labels, but also photos that are only unusual.</p>\n"
            f'<ul class="gallery">{suspects}</ul>\n'
            f"<h2>Photos that look the same</h2>\n<p>{self._told(len(self.doubles), most, 'pair')} "
            "If both show the same thing: in two classes, one of the labels is wrong; in two "
            "splits, the model is measured on what it has learnt.</p>\n"
            f'<ul class="gallery pairs">{doubles}</ul>\n'
        )

    @staticmethod
    def _told(found: int, most: int, what: str) -> str:
        first = f", the first {most} of them here" if found > most else ""
        return f"{found:,} {what}{'' if found == 1 else 's'}{first}."


def _item(suspect: Suspect, root: Path) -> str:
    photo = suspect.photo
    return (
        f'<li>{_image(photo, root)}<p><span class="wrong">{escape(suspect.likely)} '
        f"{suspect.probability:.0%}</span><br>is {escape(photo.label)} "
        f'{suspect.label_probability:.0%}</p><p class="soft name">{_name(photo)}</p></li>'
    )


def _pair(pair: Double, root: Path) -> str:
    return (
        f"<li>{_image(pair.first, root)}{_image(pair.second, root)}"
        f'<p><span class="wrong">in two {pair.differ_in}</span></p>'
        f'<p class="soft name">{_name(pair.first)}<br>{_name(pair.second)}</p></li>'
    )


def _image(photo: Photo, root: Path) -> str:
    source = thumbnail(root / photo.path)
    return f'<img src="{source}" alt="{escape(photo.label)}" loading="lazy">'


def _name(photo: Photo) -> str:
    return escape(printable(photo.path))


def find_doubts(photos: Manifest, looks: Looks, judged: NDArray[np.bool_] | None = None) -> Doubts:
    """The labels to check and the doubles among N photos.

    `judged`: (N,), the photos whose labels are looked at; all if not given.
    """
    first, second = alike(looks)
    log_probabilities = out_of_fold(
        looks.features, photos.labels(), _units(photos, first, second), len(photos.classes)
    )
    if judged is not None:
        log_probabilities[~judged] = np.nan
    suspects = tuple(_suspects(photos, log_probabilities))
    pairs = zip(first.tolist(), second.tolist(), strict=True)
    doubles = (Double(*_train_first(photos.photos[i], photos.photos[j])) for i, j in pairs)
    apart = [
        d for d in doubles if (d.first.label, d.first.split) != (d.second.label, d.second.split)
    ]
    return Doubts(photos.root, suspects, tuple(sorted(apart, key=lambda pair: pair.differ_in)))


def _train_first(one: Photo, other: Photo) -> tuple[Photo, Photo]:
    return (other, one) if other.split == "train" != one.split else (one, other)


def _suspects(photos: Manifest, log_probabilities: NDArray[np.float64]) -> Iterator[Suspect]:
    """The photos whose label is doubted, the largest ratio of the probabilities first."""
    labels = photos.labels()
    own = log_probabilities[np.arange(len(labels)), labels]  # (N,)
    judged = np.flatnonzero(np.isfinite(own))
    best = log_probabilities.max(axis=1)
    ratio = best[judged] - own[judged]
    order = np.argsort(-ratio, kind="stable")
    for i in judged[order[ratio[order] >= np.log(_STRONGLY)]].tolist():
        likely = photos.classes[log_probabilities[i].argmax()]
        yield Suspect(photos.photos[i], likely, float(np.exp(best[i])), float(np.exp(own[i])))


def out_of_fold(
    features: Features, labels: Labels, units: Indices, classes: int
) -> NDArray[np.float64]:
    """(N, C): log-probabilities of each photo, by a classifier fitted to the other folds.

    The photos of a unit are in one fold. The row of a photo is not finite where nothing was learnt
    of its class, such as for a class's only photo.
    """
    found = np.full((len(labels), classes), -np.inf)
    fold = _folds(labels, units)
    for each in range(_FOLDS):
        held, rest = fold == each, fold != each
        known = np.unique(labels[rest])
        if len(known) < 2 or not held.any():
            continue
        classifier = make_pipeline(StandardScaler(), LogisticRegression(C=_C / features.shape[1]))
        with warnings.catch_warnings():  # it is near enough to rank photos
            warnings.simplefilter("ignore", ConvergenceWarning)
            classifier.fit(features[rest], labels[rest])
        found[np.ix_(held, known)] = classifier.predict_log_proba(features[held])
    return found


def _folds(labels: Labels, units: Indices) -> Indices:
    """(N,): the fold of each photo; the units of each class are dealt in turns."""
    _, first, unit = np.unique(units, return_index=True, return_inverse=True)
    order = np.random.default_rng(0).permutation(len(first))
    order = order[np.argsort(labels[first[order]], kind="stable")]
    fold = np.empty(len(first), np.int64)
    fold[order] = np.arange(len(order)) % _FOLDS
    return fold[unit]


def _units(photos: Manifest, first: Indices, second: Indices) -> Indices:
    """(N,): the number of each photo's unit: copies, groups, and photos that look the same.

    Where chains of photos that look the same would join more than a fold's share, they are not
    joined.
    """
    count = len(photos.photos)
    known = np.array(units_of([(photo.sha256, photo.group) for photo in photos.photos]))
    edges = (np.ones(len(first), bool), (known[first], known[second]))
    _, joined = connected_components(coo_array(edges, shape=(count, count)), directed=False)
    units: Indices = joined[known].astype(np.int64)
    too_large = np.bincount(units)[units] * _FOLDS > count
    return np.where(too_large, count + known, units)
