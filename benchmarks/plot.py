"""The figures of the benchmarks in, one picture out: what each contestant takes of our time.

    python -m benchmarks.plot [--out docs/performance.png]

What was not measured has a name that says so and no bar.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.results import RESULTS, Spread, read_ratio
from benchmarks.rounds import ROOT
from train.evaluate.plots import LIGHT, png
from train.files import write_bytes


@dataclass(frozen=True, slots=True)
class Panel:
    """A bar for each contestant, and one for ours.

    Attributes:
        title: what takes the time.
        benchmark: where the ratios stand: benchmarks/results/BENCHMARK.json.
        rows: of each contestant the ratio's row.
        ours_over_theirs: whether the ratio is our time over theirs, not theirs over ours.
    """

    title: str
    benchmark: str
    rows: dict[str, str]
    ours_over_theirs: bool = False


_HANDLERS = ("workshop", "torch eager", "TorchScript, frozen")
_RUNTIMES = (
    *("OpenVINO int8", "OpenVINO float32", "LiteRT int8"),
    *("TorchScript inference", "torch eager inference"),
)
PANELS = (
    Panel(
        "Handler, a 400×533 JPEG",
        "handlers",
        {name: f"{name}, 400x533" for name in _HANDLERS},
    ),
    Panel(
        "Handler, a 12-megapixel JPEG", "handlers", {name: f"{name}, 12mp" for name in _HANDLERS}
    ),
    Panel(
        "Inference alone",
        "inference",
        {name: name for name in _RUNTIMES},
        ours_over_theirs=True,
    ),
)


@dataclass(frozen=True, slots=True)
class Config:
    """Draw the figures of the handlers and the runtimes."""

    results: Path = RESULTS
    """Folder of the benchmarks' figures."""
    out: Path = ROOT / "docs" / "performance.png"
    """The picture to write."""


def figure(panels: Sequence[Panel], results: Path) -> Figure:
    """Bars of each contestant's time over ours, with the 10th to 90th percentile of the rounds."""
    heights = [len(panel.rows) + 1 for panel in panels]
    drawn = Figure(figsize=(8, 0.34 * sum(heights) + 0.75 * len(panels)), layout="constrained")
    drawn.set_facecolor(LIGHT.paper)
    axes = drawn.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for panel, where in zip(panels, axes, strict=True):
        _draw(panel, where, results)
    axes[-1].set_xlabel("time, ours is 1; line: 10th to 90th percentile of the rounds")
    return drawn


def _draw(panel: Panel, axes: Axes, results: Path) -> None:
    axes.set_title(panel.title, loc="left", fontsize="medium", color=LIGHT.ink)
    axes.barh("ours", 1.0, color=LIGHT.second)
    for name, row in panel.rows.items():
        found = read_ratio(panel.benchmark, row, results)
        if isinstance(found, str):
            axes.barh(f"{name}\n(not measured)", 0.0)
            continue
        times = inverse(found) if panel.ours_over_theirs else found
        around = [[times.median - times.p10], [times.p90 - times.median]]
        axes.barh(name, times.median, xerr=around, color=LIGHT.first, ecolor=LIGHT.ink)
        axes.annotate(
            f"{times.median:.2f}",
            (times.p90, name),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            color=LIGHT.ink,
        )
    axes.axvline(1.0, color=LIGHT.second, linewidth=1)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlim(left=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=LIGHT.ink)


def inverse(ratio: Spread) -> Spread:
    """The spread of one over a ratio."""
    return Spread(1 / ratio.median, 1 / ratio.p90, 1 / ratio.p10, ratio.rounds)


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the picture."""
    config = tyro.cli(Config, args=arguments, description=Config.__doc__)
    write_bytes(config.out, png(figure(PANELS, config.results)))
    print(f"The picture is {config.out}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
