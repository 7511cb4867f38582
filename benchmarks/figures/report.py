"""The table of goals in docs/performance.md: each is met, not met, or unmeasured.

    python -m benchmarks.figures.report

It is made from the JSON files beside this module and written between two marker lines of the page.
Goals depend on the processor that measured the row: Lambda has processors with instructions for
int8 products (VNNI) and some with AVX2 only.
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
    """What a ratio must reach, or stay below.

    Attributes:
        what: the figure and what it is divided by, for the table.
        benchmark, row: the ratio is in benchmarks/figures/BENCHMARK.json, under this row.
        vnni, avx2: the goal for the median on a processor with VNNI, and with AVX2 only.
        at_most: the median must not exceed the goal; otherwise it must reach it.
    """

    what: str
    benchmark: str
    row: str
    vnni: float
    avx2: float
    at_most: bool = False

    def bound(self, machine: Mapping[str, Any] | None) -> str:
        """The goal on a machine for the table; both goals if the machine is unknown."""
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
        """Whether a median that was measured on `machine` meets the goal."""
        return value <= self.on(machine) if self.at_most else value >= self.on(machine)


def at_least(what: str, benchmark: str, row: str, vnni: float, avx2: float | None = None) -> Goal:
    """A goal that the ratio must reach. `avx2` defaults to the same as `vnni`."""
    return Goal(what, benchmark, row, vnni, vnni if avx2 is None else avx2)


def at_most(what: str, benchmark: str, row: str, vnni: float, avx2: float | None = None) -> Goal:
    """A goal that the ratio must not exceed. `avx2` defaults to the same as `vnni`."""
    return Goal(what, benchmark, row, vnni, vnni if avx2 is None else avx2, at_most=True)


GOALS = (
    at_least(
        "handler, 400×533 JPEG: workshop's time / ours", "handlers", "workshop, 400x533", 2, 1.8
    ),
    at_least(
        "handler, 12-megapixel JPEG: workshop's time / ours", "handlers", "workshop, 12mp", 2.3
    ),
    at_least(
        "handler, 400×533 JPEG: torch eager's time / ours",
        "handlers",
        "torch eager, 400x533",
        4.5,
        3.3,
    ),
    at_most("p99 of 5,000 mixed photos: ours / workshop's", "tail", "p99", 0.65, 0.7),
    at_most("process to first answer: our time / workshop's", "start", "time", 0.65, 0.75),
    at_most("peak memory until then: ours / workshop's", "start", "peak memory", 0.68),
    at_most("size in the image: ours / workshop's", "footprint", "size", 0.64),
    at_most("inference: our time / OpenVINO int8's", "inference", "OpenVINO int8", 1.1, 1.0),
    at_least(
        "16 photos through the emulator, one vCPU: one request's throughput / 16 requests'",
        "batch",
        "one vCPU",
        1.3,
    ),
    at_least(
        "16 photos through the emulator, two vCPUs: one request's throughput / 16 requests'",
        "batch",
        "two vCPUs",
        1.9,
    ),
    *(
        at_least(f"2,000 photos on {cores}: photos per second / {what}", "classify", row, goal)
        for cores, goal in (("one core", 0.9), ("two cores", 1.8))
        for what, row in (
            ("the workshop's handler in a loop", f"workshop, {cores}"),
            ("torch in batches on one core", f"torch in batches, {cores}"),
        )
    ),
    at_least(
        "fine-tuning on two cores, photos per second: ours / workshop's loop",
        "training",
        "workshop's loop",
        1.5,
    ),
    at_most(
        "training starts again on 20,000 photos of 200 pixels: seconds",
        "photos",
        "second start, 20,000 photos, s",
        2,
    ),
    at_most(
        "its peak memory with 100,000 photos above that with 5,000: GB",
        "photos",
        "peak memory above 5,000 photos', GB",
        0.8,
    ),
    at_least("frozen-backbone sweep: workshop's time / ours", "sweep", "all settings", 50),
    at_least(
        "fine-tuning on a GPU, photos per second: ours / workshop's loop",
        "training_gpu",
        "workshop's loop",
        10,
    ),
    at_least(
        "fine-tuning on a GPU, photos per second: ours / the step fed from memory",
        "training_gpu",
        "the step fed from memory",
        0.9,
    ),
)


@dataclass(frozen=True, slots=True)
class Config:
    """Write the table of goals into docs/performance.md."""

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
    """The goals as a Markdown table, then the cores and versions of each run."""
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
        raise ValueError(f"The page must have the lines {BEGIN} and {END}, in this order.")
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
