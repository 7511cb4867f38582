"""The table of the benchmarks' goals: what is met depends on the processor."""

import json
from pathlib import Path

import pytest
from benchmarks.report import BEGIN, DOCUMENT, END, GOALS, at_least, at_most, insert, main, table
from benchmarks.results import RESULTS, Results, Spread

FASTER = at_least("their time / ours", "one", "a row", 2.0, 1.8)
SMALLER = at_most("our size / theirs", "one", "a row", 0.65, 0.75)


def verdict(goal, median: float, flags: list[str], folder: Path) -> str:
    """The table's line of a goal whose ratio was measured on a processor with these flags."""
    file = Results("one", ratios={"a row": Spread(median, median, median, 1)}).write(folder)
    content = json.loads(file.read_text())
    content["machine"] |= {"flags": flags, "processor": "A processor"}
    file.write_text(json.dumps(content))
    return table([goal], folder).splitlines()[2]


@pytest.mark.parametrize(
    ("goal", "median", "met"), [(FASTER, 1.9, False), (FASTER, 2.0, True), (SMALLER, 0.7, False)]
)
def test_a_processor_with_vnni_is_held_to_the_stricter_goal(goal, median, met, tmp_path):
    line = verdict(goal, median, ["avx2", "avx512_vnni"], tmp_path)
    assert ("**not met**" not in line) == met
    assert line.endswith("| A processor, VNNI |")


@pytest.mark.parametrize(
    ("goal", "median", "met"), [(FASTER, 1.9, True), (FASTER, 1.7, False), (SMALLER, 0.7, True)]
)
def test_a_processor_with_avx2_alone_has_a_goal_of_its_own(goal, median, met, tmp_path):
    line = verdict(goal, median, ["avx2"], tmp_path)
    assert ("**not met**" not in line) == met
    assert line.endswith("| A processor, AVX2 alone |")


def test_a_row_without_figures_is_unmeasured_and_says_why(tmp_path):
    assert "| unmeasured: its benchmark has not run |" in table([FASTER], tmp_path)
    Results("one", not_measured={"a row": "ImportError: no | such\nthing"}).write(tmp_path)
    assert "| unmeasured: ImportError: no / such thing |" in table([FASTER], tmp_path)


@pytest.mark.parametrize(("median", "status"), [(0.1, 1), (100.0, 0)])
def test_a_check_fails_on_a_goal_that_is_not_met(tmp_path, median, status):
    goal = GOALS[0]
    ratios = {goal.row: Spread(median, median, median, 1)}
    Results(goal.benchmark, ratios=ratios).write(tmp_path)
    assert main(["--results", str(tmp_path), "--check"]) == status


def test_the_report_replaces_the_table_and_nothing_else(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert main(["--results", str(tmp_path), "--document", str(page)]) == 0
    assert page.read_text() == f"before\n{BEGIN}\n{table(GOALS, tmp_path)}\n{END}\nafter\n"


def test_the_page_shows_the_figures_that_are_kept():
    text = DOCUMENT.read_text(encoding="utf-8")
    assert insert(text, table(GOALS, RESULTS)) == text
