"""A sweep's record in; its summary, its Markdown page and its picture out."""

import itertools
from collections.abc import Sequence
from typing import IO, Any

Record = dict[str, Any]
Row = dict[str, Any]


def summary(record: Record) -> str:
    """The text for the terminal: learning rates, the best setting and the recommendation."""
    rows = record["settings"]
    lines = [f"Learning rates, {_head(_simplest(rows)[0])}:", "", _rates(rows), ""]
    return "\n".join([*lines, *_verdict(record)])


def markdown(record: Record, picture: str) -> str:
    """The whole report; `picture` is the file name of the picture."""
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

{_head(_simplest(rows)[0]).capitalize()}:

{_rates(rows)}

![Accuracy and gap against the learning rate]({picture})

## All settings, best first

{table}

## How to read this

- **accuracy** is the mean over seeds after the last epoch; no epoch was chosen. **sd of seeds** is
  the standard deviation of accuracy between seeds.
- **95 % interval** is Wilson's for {photos["choosing"]:,} photos. The intervals of two settings may
  overlap even if one is better, because both are measured on the same photos.
- **gap** is accuracy on train (without dropout) minus accuracy on the photos compared on.
- **p (Holm)** is the probability of a difference from the best at least this large if the two were
  equally good: an exact sign-flip test over the same photos (McNemar's exact test if there is one
  seed), with Holm's correction for {record["comparisons"]} comparisons. A setting is **tied**
  if p is {config["alpha"]:g} or more. Other seeds than the trained ones may differ by the sd.
- The best was chosen by its accuracy on these photos, so that accuracy is slightly too high.
  Measure the final model on photos that nothing was chosen on.
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
        f"No significant winner: {tied} of the {len(rows) - 1} others are not significantly worse "
        f"on {record['photos']['choosing']:,} photos.",
        f"Recommended: {_name(recommended)}, accuracy {recommended['accuracy']:.4f}. "
        f"Rule: {record['rule']}",
    ]


def _simplest(rows: list[Row]) -> list[Row]:
    """The rows of the smallest head with the least dropout."""
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
        for row in _simplest(rows)
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
    """Write a PNG of accuracy and gap against the learning rate, one line for each head."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from train.evaluate.report.plots import reaches

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
    right.set(title="Gap to train", ylabel="accuracy on train minus accuracy")
    for axes in (left, right):
        axes.set(xscale="log", xlabel="learning rate")
        axes.grid(alpha=0.3)
    figure.legend(loc="outside right center", fontsize=8)
    figure.savefig(file, format="png", dpi=110)
