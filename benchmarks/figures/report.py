"""The figures of all benchmarks in, one table of the goals out: met, not met, or unmeasured.

    python -m benchmarks.figures.report

The table is written into docs/performance.md between two marker lines; the rest of the page is left
as it is. Goals depend on the processor that a row was measured on: with instructions for int8
products (VNNI) or with AVX2 only, both of which Lambda has.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks.harness.results import (
    FIGURES,
    has_vnni,
    processor,
    read,
    read_ratio,
    surroundings,
)
from benchmarks.harness.rounds import ROOT

DOCUMENT = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
_HEADINGS = ("row", "ours / baseline", "ratio (10th to 90th percentile)", "goal", "", "processor")


@dataclass(frozen=True, slots=True)
class Goal:
    """What a ratio must be.

    Attributes:
        what: the figure, and what it is divided by.
        benchmark, row: where the ratio is: benchmarks/figures/BENCHMARK.json, its row.
        vnni, avx2: what the median must reach, or must not exceed where `at_most`, on a processor
            with VNNI and on one with AVX2 only.
    """

    what: str
    benchmark: str
    row: str
    vnni: float
    avx2: float
    at_most: bool = False

    def bound(self, machine: Mapping[str, Any] | None) -> str:
        """The goal on a machine in words; both goals where the machine is not known."""
        word = "≤" if self.at_most else "≥"
        if machine is not None:
            return f"{word} {self.on(machine):g}"
        if self.vnni == self.avx2:
            return f"{word} {self.vnni:g}"
        return f"{word} {self.vnni:g}; AVX2 only {word} {self.avx2:g}"

    def on(self, machine: Mapping[str, Any]) -> float:
        """The goal on a machine."""
        return self.vnni if has_vnni(machine) else self.avx2

    def is_met(self, value: float, machine: Mapping[str, Any]) -> bool:
        """Whether a median reaches the goal on the machine that it was measured on."""
        return value <= self.on(machine) if self.at_most else value >= self.on(machine)


def at_least(what: str, benchmark: str, row: str, vnni: float, avx2: float | None = None) -> Goal:
    """A ratio that must reach a goal, which is the same on both processors by default."""
    return Goal(what, benchmark, row, vnni, vnni if avx2 is None else avx2)


def at_most(what: str, benchmark: str, row: str, vnni: float, avx2: float | None = None) -> Goal:
    """A ratio that must not exceed a goal, which is the same on both processors by default."""
    return Goal(what, benchmark, row, vnni, vnni if avx2 is None else avx2, at_most=True)


GOALS = (
    at_least(
        *("handler, 400×533 JPEG: workshop's time / ours", "handlers", "workshop, 400x533"),
        *(2.0, 1.8),
    ),
    at_least(
        "handler, 12-megapixel JPEG: workshop's time / ours", "handlers", "workshop, 12mp", 2.3
    ),
    at_least(
        *("handler, 400×533 JPEG: torch eager's time / ours", "handlers", "torch eager, 400x533"),
        *(4.5, 3.3),
    ),
    at_most("p99 of 5,000 mixed photos: ours / workshop's", "tail", "p99", 0.65, 0.7),
    at_most("process to first answer: our time / workshop's", "start", "time", 0.65, 0.75),
    at_most("its peak memory: ours / workshop's", "start", "peak memory", 0.68),
    at_most("size in the image: ours / workshop's", "footprint", "size", 0.64),
    at_most("inference: our time / OpenVINO int8's", "inference", "OpenVINO int8", 1.1, 1.0),
    at_least(
        *("batch of 16 through the emulator, one vCPU: throughput / 16 requests'", "batch"),
        *("through the emulator", 1.3),
    ),
    at_least(
        *("batch of 16 through the emulator, two vCPUs: throughput / 16 requests'", "batch"),
        *("through the emulator, two vCPUs", 1.9),
    ),
    at_least(
        *("fine-tuning on two cores, photos a second: ours / workshop's loop", "training"),
        *("workshop's loop", 1.5),
    ),
    at_least("frozen-backbone sweep: workshop's time / ours", "sweep", "all settings", 50),
    at_least(
        *("fine-tuning on a GPU, photos a second: ours / workshop's loop", "training_gpu"),
        *("workshop's loop", 10),
    ),
    at_least(
        *("fine-tuning on a GPU, photos a second: ours / the step fed from memory", "training_gpu"),
        *("the step fed from memory", 0.9),
    ),
)


@dataclass(frozen=True, slots=True)
class Config:
    """Write the table of the goals into the page that shows it."""

    results: Path = FIGURES
    """Folder of the benchmarks' figures."""
    document: Path = DOCUMENT
    """The page with the two marker lines."""


def row_of(goal: Goal, folder: Path) -> str:
    """One line of the Markdown table."""
    content, ratio = read(goal.benchmark, folder), read_ratio(goal.benchmark, goal.row, folder)
    if content is None or isinstance(ratio, str):
        return _line(goal.what, "", "", goal.bound(None), f"unmeasured: {ratio}", "")
    machine = content["machine"]
    verdict = "met" if goal.is_met(ratio.median, machine) else "**not met**"
    both = content["sides"].get(goal.row, "")
    return _line(goal.what, both, str(ratio), goal.bound(machine), verdict, processor(machine))


def table(goals: Iterable[Goal], folder: Path) -> str:
    """The goals as a Markdown table, and what else the figures depend on."""
    goals = tuple(goals)
    lines = [_line(*_HEADINGS), _line(*("---" for _ in _HEADINGS))]
    lines += [row_of(goal, folder) for goal in goals]
    machines: dict[str, list[str]] = {}
    for name in dict.fromkeys(goal.benchmark for goal in goals):
        content = read(name, folder)
        if content is not None:
            machines.setdefault(surroundings(content["machine"]), []).append(name)
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


def _line(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', '/').replace(chr(10), ' ') for cell in cells)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table and write it into the page."""
    config = tyro.cli(Config, args=arguments, description=Config.__doc__)
    figures = table(GOALS, config.results)
    print(figures)
    text = insert(config.document.read_text(encoding="utf-8"), figures)
    config.document.write_text(text, encoding="utf-8")
    print(f"\nThe table is in {config.document}.")


if __name__ == "__main__":
    main()
