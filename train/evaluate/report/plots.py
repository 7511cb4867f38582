"""Figures in, pictures of a report out, each drawn for light and dark pages.

Uses matplotlib's Figure objects directly, without pyplot's global state.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from train.evaluate.metrics import wilson_interval

_DPI = 150

# The confusion matrix shows counts and class names up to these numbers of classes.
_MOST_COUNTS, _MOST_NAMES = 25, 60
# The picture of recalls shows at most this many classes, the weakest.
_MOST_RECALLS = 40


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of one picture; `first` and `second` differ for colour-blind readers, too."""

    paper: str
    ink: str
    grid: str
    first: str
    second: str


LIGHT = Palette(paper="#ffffff", ink="#1d2530", grid="#d9dfe7", first="#1f6fb4", second="#c8590b")
DARK = Palette(paper="#181d24", ink="#d7dee8", grid="#38424f", first="#6db3f2", second="#f0a45d")

Draw = Callable[[Palette], Figure]


@dataclass(frozen=True, slots=True)
class Picture:
    """One PNG in both colour schemes, with its file name, title and caption."""

    name: str
    title: str
    caption: str
    light: bytes
    dark: bytes


def picture(name: str, title: str, caption: str, draw: Draw) -> Picture:
    """Draw a picture in both colour schemes."""
    return Picture(name, title, caption, light=png(draw(LIGHT)), dark=png(draw(DARK)))


def png(figure: Figure) -> bytes:
    """The figure as the bytes of a PNG file."""
    buffer = BytesIO()
    with warnings.catch_warnings():
        # Letters that the font lacks are drawn as boxes; the table shows the whole name.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="png", dpi=_DPI, facecolor=figure.get_facecolor())
    return buffer.getvalue()


def learning_curve(
    epochs: Sequence[dict[str, Any]],
    quantity: Literal["loss", "accuracy"],
    chosen_on: str,
    palette: Palette,
) -> Figure:
    """Loss or accuracy over the epochs of a run's record.

    Args:
        epochs: the record's entries.
        quantity: which figure of the entries.
        chosen_on: the photos that the entries' `validation` figures were measured on.
    """
    figure, (axes,) = _figure(palette, 5.6, 3.6)
    lines = (("train", "train", palette.first, "o"), ("validation", chosen_on, palette.second, "s"))
    for key, label, colour, mark in lines:
        known = [e for e in epochs if e.get(f"{key}_{quantity}") is not None]
        if known:
            numbers = [float(e["epoch"]) for e in known]
            values = [float(e[f"{key}_{quantity}"]) for e in known]
            axes.plot(numbers, values, color=colour, marker=mark, markersize=3, label=label)
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss, nats" if quantity == "loss" else "accuracy")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axes, palette)
    return figure


def confusion(counts: Sequence[Sequence[int]], classes: Sequence[str], palette: Palette) -> Figure:
    """The confusion matrix; a cell's colour is its share of the row."""
    matrix = np.array(counts)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = min(2.2 + 0.36 * len(classes), 12)
    figure, (axes,) = _figure(palette, side, side)
    ramp = LinearSegmentedColormap.from_list("shares", [palette.paper, palette.first])
    axes.imshow(shares, cmap=ramp, vmin=0, vmax=1)
    axes.grid(visible=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if len(classes) <= _MOST_NAMES:
        # A dollar sign in a class name must not start mathtext.
        ticks = range(len(classes))
        axes.set_xticks(ticks, [_short(c) for c in classes], rotation=90, parse_math=False)
        axes.set_yticks(ticks, [_short(c) for c in classes], parse_math=False)
    if len(classes) <= _MOST_COUNTS:
        for row, column in zip(*np.nonzero(matrix), strict=True):
            colour = palette.paper if shares[row, column] > 0.5 else palette.ink
            text = str(matrix[row, column])
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    return figure


def reliability(bins: Sequence[dict[str, Any]], palette: Palette) -> Figure:
    """Accuracy against confidence with 95 % intervals, above a histogram of the confidence."""
    figure, (axes, counts) = _figure(palette, 5.6, 5.4, rows=2, heights=(3, 1))
    confidence = [row["confidence"] for row in bins]
    accuracy = [row["accuracy"] for row in bins]
    axes.plot([0, 1], [0, 1], color=palette.ink, linestyle="--", linewidth=1, label="calibrated")
    axes.errorbar(
        confidence,
        accuracy,
        yerr=reaches(accuracy, [row["accuracy_interval_95"] for row in bins]),
        color=palette.first,
        fmt="o-",
        markersize=4,
        capsize=2,
        label="this model",
    )
    axes.set_ylabel("accuracy")
    _legend(axes, palette)
    counts.bar(
        [row["from"] for row in bins],
        [row["photos"] for row in bins],
        width=[row["to"] - row["from"] for row in bins],
        align="edge",
        color=palette.first,
        edgecolor=palette.paper,
    )
    counts.set_xlabel("probability of the answer")
    counts.set_ylabel("photos")
    for each in (axes, counts):
        each.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    return figure


def recalls(rows: dict[str, dict[str, Any]], palette: Palette) -> Figure:
    """The recall of each class with its 95 % interval, the weakest first."""
    known = sorted((row["recall"], label) for label, row in rows.items() if row["photos"])
    labels = [label for _, label in known[:_MOST_RECALLS]]
    recall = [rows[label]["recall"] for label in labels]
    figure, (axes,) = _figure(palette, 6.4, 1.4 + 0.28 * len(labels))
    axes.errorbar(
        recall,
        range(len(labels)),
        xerr=reaches(recall, [rows[label]["recall_interval_95"] for label in labels]),
        color=palette.first,
        fmt="o",
        markersize=5,
        capsize=3,
    )
    names = [f"{_short(label)} ({rows[label]['photos']})" for label in labels]
    axes.set_yticks(range(len(labels)), names, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.02)
    axes.set_xlabel("recall")
    axes.set_ylabel("class (photos)")
    return figure


def coverage(
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int64],
    unsure_below: float,
    palette: Palette,
) -> Figure:
    """Coverage, and accuracy of the answers, over the threshold of `unsure`.

    Args:
        probabilities: (N, C), each row summing to 1.
        labels: (N,).
        unsure_below: the threshold in use, drawn as a line if it is above 0.
    """
    figure, (axes,) = _figure(palette, 6.4, 3.8)
    confidence = probabilities.max(axis=1)  # (N,)
    right = probabilities.argmax(axis=1) == labels
    thresholds = np.linspace(0, 1, 201)
    answered = np.array([(confidence >= threshold).sum() for threshold in thresholds])
    correct = np.array([right[confidence >= threshold].sum() for threshold in thresholds])
    some = answered > 0
    share = correct[some] / answered[some]
    pairs = zip(correct[some], answered[some], strict=True)
    low, high = np.array([wilson_interval(int(c), int(a)) for c, a in pairs]).T
    axes.plot(thresholds, answered / len(labels), color=palette.second, label="coverage")
    axes.plot(thresholds[some], share, color=palette.first, label="accuracy of the answers")
    axes.fill_between(thresholds[some], low, high, color=palette.first, alpha=0.2, linewidth=0)
    if unsure_below > 0:
        axes.axvline(unsure_below, color=palette.ink, linestyle=":", label="threshold in use")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("unsure below this probability")
    axes.set_ylabel("share")
    _legend(axes, palette)
    return figure


def distances(shown: Mapping[str, NDArray[Any]], limit: float, palette: Palette) -> Figure:
    """Histograms of the distances of some sets of photos, each by its name.

    Args:
        shown: (N,) squared distances of each set.
        limit: the squared distance beyond which photos are unfamiliar.
    """
    figure, (axes,) = _figure(palette, 6.4, 3.8)
    roots = {name: np.sqrt(values.clip(min=0)) for name, values in shown.items()}
    farthest = max(float(np.quantile(values, 0.99)) for values in roots.values())
    colours = (palette.ink, palette.first, palette.second)
    looks = [(colour, line) for line in ("-", "--") for colour in colours]
    for (name, values), (colour, line) in zip(roots.items(), looks, strict=False):
        axes.hist(
            values.clip(max=farthest),
            bins=40,
            range=(0, farthest),
            weights=np.full(len(values), 1 / len(values)),
            histtype="step",
            color=colour,
            linestyle=line,
            linewidth=1.4,
            label=f"{name} ({len(values):,})",
        )
    if np.isfinite(limit):
        axes.axvline(limit**0.5, color=palette.ink, linestyle=":", label="threshold in use")
    axes.set_xlabel("distance to the nearest class")
    axes.set_ylabel("share of the photos")
    _legend(axes, palette)
    return figure


def _figure(
    palette: Palette,
    width: float,
    height: float,
    *,
    rows: int = 1,
    columns: int = 1,
    heights: tuple[int, ...] | None = None,
) -> tuple[Figure, list[Axes]]:
    """An empty figure (sizes in inches) in the palette's colours, and its axes in reading order."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor=palette.paper)
    grid = figure.subplots(rows, columns, squeeze=False, height_ratios=heights)
    every: list[Axes] = list(grid.flat)
    for axes in every:
        axes.set_facecolor(palette.paper)
        axes.tick_params(colors=palette.ink, labelsize=9)
        axes.xaxis.label.set_color(palette.ink)
        axes.yaxis.label.set_color(palette.ink)
        axes.grid(color=palette.grid, linewidth=0.6)
        axes.set_axisbelow(True)
        for spine in axes.spines.values():
            spine.set_color(palette.grid)
    return figure, every


def _legend(axes: Axes, palette: Palette) -> None:
    axes.legend(facecolor=palette.paper, edgecolor=palette.grid, labelcolor=palette.ink, fontsize=8)


def reaches(values: Sequence[float], intervals: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """(2, K): how far each interval reaches below and above its value, for errorbar."""
    middle, ends = np.array(values), np.array(intervals).reshape(-1, 2)  # (K,), (K, 2)
    far: NDArray[np.float64] = np.stack([middle - ends[:, 0], ends[:, 1] - middle])
    return far.clip(min=0)  # errorbar refuses rounding errors below 0


def _short(name: str, most: int = 24) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
