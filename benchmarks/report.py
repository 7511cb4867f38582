"""The figures of all benchmarks in, one table of the goals out: met, not met, or not measured.

    python -m benchmarks.report [--check]

The table stands in the README and in docs/performance.md, between two marker lines; what is around
them is left alone.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.results import RESULTS, Spread, read_machine, read_ratio
from benchmarks.rounds import ROOT

DOCUMENTS = (ROOT / "README.md", ROOT / "docs" / "performance.md")
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


@dataclass(frozen=True, slots=True)
class Goal:
    """What a ratio must be.

    Attributes:
        what: the figure, and what it is divided by.
        benchmark, row: where the ratio stands: benchmarks/results/BENCHMARK.json, its row.
        bound: what the median must reach, or must not exceed where `at_most`.
        aim: what is hoped for beyond the bound, if anything.
    """

    what: str
    benchmark: str
    row: str
    bound: float
    at_most: bool = False
    aim: float | None = None

    def is_met(self, value: float) -> bool:
        """Whether a median reaches the bound."""
        return value <= self.bound if self.at_most else value >= self.bound

    @property
    def wanted(self) -> str:
        """The bound in words."""
        words = f"{'at most' if self.at_most else 'at least'} {self.bound:g}"
        return f"{words} (aim {self.aim:g})" if self.aim is not None else words


GOALS = (
    Goal("handler, 400×533 JPEG: workshop's time / ours", "handlers", "workshop, 400x533", 2.0),
    Goal("handler, 12-megapixel JPEG: workshop's time / ours", "handlers", "workshop, 12mp", 1.8),
    Goal("handler, 400×533 JPEG: torch's time / ours", "handlers", "torch eager, 400x533", 4.0),
    Goal(
        *("inference: our time / OpenVINO int8's", "inference", "OpenVINO int8", 1.2),
        at_most=True,
        aim=1.0,
    ),
    Goal(
        *("p99 / p50 over 5,000 requests: ours / workshop's", "tail"),
        *("p99/p50 of all requests", 1.0),
        at_most=True,
    ),
    Goal(
        *("process to first answer: our time / workshop's", "start", "time, URL", 1.0),
        at_most=True,
        aim=0.9,
    ),
    Goal(
        *("its peak memory: ours / workshop's", "start", "peak memory, URL", 0.75),
        at_most=True,
    ),
    Goal(
        *("size in the image: ours / workshop's", "footprint", "size", 0.85),
        at_most=True,
        aim=0.75,
    ),
    Goal("batch of 16, in process: throughput / 16 requests'", "batch", "in process", 1.5),
    Goal(
        *("batch of 16, in the emulator: throughput / 16 requests'", "batch"),
        *("through the emulator", 1.5),
    ),
    Goal(
        *("the same on two vCPUs: throughput / 16 requests'", "batch"),
        *("through the emulator, two vCPUs", 1.5),
    ),
    Goal("frozen-backbone sweep: workshop's time / ours", "sweep", "all settings", 50),
    Goal(
        *("fine-tuning on a GPU, photos a second: ours / workshop's", "training"),
        *("cuda, workshop's loop", 10),
    ),
    Goal(
        *("fine-tuning on a GPU, photos a second: ours / the step's alone", "training"),
        *("cuda, the step fed from memory", 0.9),
    ),
)


@dataclass(frozen=True, slots=True)
class Config:
    """Write the table of the goals into the pages that show it."""

    results: Path = RESULTS
    """Folder of the benchmarks' figures."""
    documents: tuple[Path, ...] = DOCUMENTS
    """The pages with the two marker lines."""
    check: bool = False
    """Write nothing; exit 1 if a goal is measured and not met."""


def row_of(goal: Goal, found: Spread | str) -> str:
    """One line of the Markdown table; `found` is the ratio, or why there is none."""
    if isinstance(found, str):
        return f"| {goal.what} | {goal.wanted} | | not measured: {_cell(found)} |"
    verdict = "met" if goal.is_met(found.median) else "**not met**"
    return f"| {goal.what} | {goal.wanted} | {found} | {verdict} |"


def table(goals: Iterable[Goal], folder: Path) -> str:
    """The goals as a Markdown table, and the machines that the figures come from."""
    goals = tuple(goals)
    lines = ["| ratio | goal | median (10th to 90th percentile) | |", "| --- | --- | --- | --- |"]
    lines += [row_of(goal, read_ratio(goal.benchmark, goal.row, folder)) for goal in goals]
    machines: dict[str, list[str]] = {}
    for name in dict.fromkeys(goal.benchmark for goal in goals):
        told = read_machine(name, folder)
        if told is not None:
            machines.setdefault(told, []).append(name)
    lines += [f"\n{', '.join(names)}: {told}." for told, names in machines.items()]
    return "\n".join(lines)


def insert(text: str, figures: str) -> str:
    """The page with `figures` between its marker lines.

    Raises:
        ValueError: the page lacks a marker line, or has them in the wrong order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page must have the lines {BEGIN} and {END}, in this order")
    return f"{before}{BEGIN}\n{figures}\n{END}{after}"


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; write it into the page, or with --check judge it."""
    config = tyro.cli(Config, args=arguments, description=Config.__doc__)
    print(table(GOALS, config.results))
    if config.check:
        ratios = [(goal, read_ratio(goal.benchmark, goal.row, config.results)) for goal in GOALS]
        return int(any(isinstance(r, Spread) and not g.is_met(r.median) for g, r in ratios))
    for document in config.documents:
        text = insert(document.read_text(encoding="utf-8"), table(GOALS, config.results))
        document.write_text(text, encoding="utf-8")
    print(f"\nThe table is in {' and '.join(map(str, config.documents))}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
