"""The table of the benchmarks' goals: whether a goal is met depends on the processor."""

import json
from pathlib import Path

import pytest

from benchmarks.figures.report import (
    BEGIN,
    DOCUMENT,
    END,
    GOALS,
    at_least,
    at_most,
    insert,
    main,
    table,
)
from benchmarks.harness.results import FIGURES, Results, Spread

FASTER = at_least("their time / ours", "one", "a row", 2.0, 1.8)
SMALLER = at_most("our size / theirs", "one", "a row", 0.65, 0.75)
VNNI, AVX2 = ["avx2", "avx512_vnni"], ["avx2"]


def line_of(goal, median: float, flags: list[str], folder: Path) -> str:
    """The table's line for a ratio that was measured on a processor with these flags."""
    file = Results("one", ratios={"a row": Spread(median, median, median, 1)}).write(folder)
    content = json.loads(file.read_text())
    content["machine"] |= {"flags": flags, "processor": "A processor"}
    file.write_text(json.dumps(content))
    return table([goal], folder).splitlines()[2]


@pytest.mark.parametrize(
    ("flags", "goal", "median", "met"),
    [
        (VNNI, FASTER, 1.9, False),
        (VNNI, FASTER, 2.0, True),
        (VNNI, SMALLER, 0.7, False),
        (AVX2, FASTER, 1.9, True),
        (AVX2, FASTER, 1.7, False),
        (AVX2, SMALLER, 0.7, True),
    ],
)
def test_each_kind_of_processor_has_its_own_goal(flags, goal, median, met, tmp_path):
    line = line_of(goal, median, flags, tmp_path)
    assert ("**not met**" not in line) == met
    assert line.endswith(f"| A processor, {'VNNI' if flags == VNNI else 'AVX2 only'} |")


def test_a_row_without_figures_says_why_it_is_unmeasured(tmp_path):
    assert "| unmeasured: its benchmark has not run |" in table([FASTER], tmp_path)
    Results("one", not_measured={"a row": "ImportError: no | such\nthing"}).write(tmp_path)
    assert "| unmeasured: ImportError: no / such thing |" in table([FASTER], tmp_path)


def test_the_report_replaces_only_the_table_of_the_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    main(["--results", str(tmp_path), "--document", str(page)])
    assert page.read_text() == f"before\n{BEGIN}\n{table(GOALS, tmp_path)}\n{END}\nafter\n"


def test_the_page_shows_the_committed_figures():
    text = DOCUMENT.read_text(encoding="utf-8")
    assert insert(text, table(GOALS, FIGURES)) == text
