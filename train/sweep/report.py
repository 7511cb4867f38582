"""A sweep's record in; its summary, its Markdown page and its picture out."""

import itertools
from collections.abc import Sequence
from typing import IO, Any

Record = dict[str, Any]
Row = dict[str, Any]


def summary(record: Record) -> str:
    """What the terminal shows: the learning rates, the best, the verdict and the advice."""
    rows = record["settings"]
    lines = [f"Learning rates, {_head(_plainest(rows)[0])}:", "", _rates(rows), ""]
    return "\n".join([*lines, *_verdict(record)])


def markdown(record: Record, picture: str) -> str:
    """The whole report, with the picture by its file name."""
    rows, config = record["settings"], record["config"]
    photos = record["photos"]
    seeds = len(config["seeds"])
    order = sorted(range(len(rows)), key=lambda i: -rows[i]["accuracy"])
    table = _table(
        (
            "learning rate", "inner", "dropout", "accuracy", "95 % interval", "sd of seeds",
            "train", "gap", "loss", "p (Holm)", "tied",
        ),
        [_cells(rows[i], is_best=i == record["best"]) for i in order],
    )  # fmt: skip
    where = "the validation split"
    if config["data"]["choose_on"] == "holdout":
        where = f"{config['data']['holdout']:.0%} of each class of train, held out"
    seconds = record["seconds"]
    verdict = "\n".join(_verdict(record))
    return f"""# Sweep: {config["backbone"]}, frozen, at {config["input_px"]} pixels

{len(rows)} settings x {seeds} seeds; Adam, {config["epochs"]} epochs, batch {config["batch"]}.
Trained on {photos["train"]:,} photos, compared on {photos["choosing"]:,}: {where}.
Features took {seconds["features"]:.0f} s, training {seconds["training"]:.0f} s.

{verdict}

## Learning rates

{_head(_plainest(rows)[0]).capitalize()}:

{_rates(rows)}

![Accuracy and gap against the learning rate]({picture})

## All settings, best first

{table}

## How to read this

- **accuracy** is the mean over seeds after the last epoch; no epoch was chosen. **sd of seeds** is
  how far one seed's accuracy is from another's.
- **95 % interval** is Wilson's, for {photos["choosing"]:,} photos: where the accuracy on all photos
  of this kind may be. The intervals of two settings may overlap although one is better, because
  both saw the same photos.
- **gap** is accuracy on train, without dropout, less accuracy on the photos compared on.
- **p (Holm)** is the chance of a difference from the best at least this large, were the two equally
  good: the sign-flip test over the same photos (McNemar's exact test where there is one seed),
  counted whole, corrected by Holm for {record["comparisons"]} comparisons. **tied** is
  {config["alpha"]:g} or more. It takes the trained seeds as they are: others may differ by the sd.
- The best was picked by its accuracy on these photos, which flatters it a little. What a model is
  worth, say from photos that nothing was chosen on.
"""


def _verdict(record: Record) -> list[str]:
    rows = record["settings"]
    best, recommended = rows[record["best"]], rows[record["recommended"]]
    low, high = best["accuracy_interval_95"]
    lines = [
        f"Best: {_name(best)}, accuracy {best['accuracy']:.4f} (95 % {low:.3f} to {high:.3f}).",
    ]
    if len(rows) == 1:
        return lines
    tied = len(record["tied_with_best"]) - 1
    if record["significant_winner"]:
        return [*lines, f"It is significantly better than each of the {len(rows) - 1} others."]
    return [
        *lines,
        f"No significant winner: {tied} of the {len(rows) - 1} others cannot be told from it on "
        f"{record['photos']['choosing']:,} photos.",
        f"Recommended: {_name(recommended)}, accuracy {recommended['accuracy']:.4f}. "
        f"Rule: {record['rule']}",
    ]


def _plainest(rows: list[Row]) -> list[Row]:
    """The rows of the smallest head with the least dropout, by learning rate."""
    key = min((row["parameters"], row["dropout"]) for row in rows)
    return [row for row in rows if (row["parameters"], row["dropout"]) == key]


def _rates(rows: list[Row]) -> str:
    cells = [
        (
            f"{row['lr']:g}",
            f"{row['accuracy']:.4f}",
            "{:.3f} to {:.3f}".format(*row["accuracy_interval_95"]),
            f"{row['train_accuracy']:.4f}",
            f"{row['gap']:+.4f}",
        )
        for row in _plainest(rows)
    ]
    return _table(("learning rate", "accuracy", "95 % interval", "train", "gap"), cells)


def _cells(row: Row, *, is_best: bool) -> tuple[str, ...]:
    return (
        f"{row['lr']:g}",
        f"{row['inner']}",
        f"{row['dropout']:g}",
        f"{row['accuracy']:.4f}",
        "{:.3f} to {:.3f}".format(*row["accuracy_interval_95"]),
        "" if row["accuracy_sd"] is None else f"{row['accuracy_sd']:.4f}",
        f"{row['train_accuracy']:.4f}",
        f"{row['gap']:+.4f}",
        "diverged" if row["loss"] is None else f"{row['loss']:.4f}",
        "best" if is_best else f"{row['p_value_holm']:.4g}",
        "yes" if row["tied"] else "no",
    )


def _table(headings: tuple[str, ...], cells: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    lines = [
        "| " + " | ".join(text.rjust(w) for text, w in zip(line, widths, strict=True)) + " |"
        for line in (headings, *cells)
    ]
    lines.insert(1, "| " + " | ".join("-" * (w - 1) + ":" for w in widths) + " |")
    return "\n".join(lines)


def _name(row: Row) -> str:
    return f"learning rate {row['lr']:g}, {_head(row)}"


def _head(row: Row) -> str:
    inner = f"inner layer of {row['inner']}" if row["inner"] else "no inner layer"
    return f"{inner}, dropout {row['dropout']:g}"


def draw(record: Record, file: IO[bytes]) -> None:
    """Write a PNG: accuracy, and the gap to train, against the learning rate, a line for a head."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from train.evaluate.plots import reaches

    figure = Figure(figsize=(11, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    rows = sorted(record["settings"], key=lambda r: (r["inner"], r["dropout"], r["lr"]))
    sizes = sorted({row["inner"] for row in rows})
    styles = dict(
        zip(
            sorted({r["dropout"] for r in rows}),
            itertools.cycle(("-", "--", ":", "-.")),
            strict=False,
        )
    )
    markers = dict(zip(styles, itertools.cycle("osD^vP"), strict=False))
    for (inner, dropout), line in itertools.groupby(rows, lambda r: (r["inner"], r["dropout"])):
        points = list(line)
        look = {
            "color": f"C{sizes.index(inner)}",
            "linestyle": styles[dropout],
            "marker": markers[dropout],
            "markersize": 4,
        }
        rates = [row["lr"] for row in points]
        mean = [row["accuracy"] for row in points]
        of_seeds = [row["accuracy_of_seeds"] for row in points]
        spread = reaches(mean, [(min(found), max(found)) for found in of_seeds])
        left.errorbar(rates, mean, yerr=spread, capsize=2, label=_head(points[0]), **look)
        right.plot(rates, [row["gap"] for row in points], **look)
    low, high = record["settings"][record["best"]]["accuracy_interval_95"]
    left.axhspan(low, high, color="0.9", label="95 % interval of the best", zorder=0)
    left.set(title="Accuracy (mean and range of seeds)", ylabel="accuracy")
    right.set(title="Gap: train less compared", ylabel="accuracy on train less accuracy")
    for axes in (left, right):
        axes.set(xscale="log", xlabel="learning rate")
        axes.grid(alpha=0.3)
    figure.legend(loc="outside right center", fontsize=8)
    figure.savefig(file, format="png", dpi=110)
