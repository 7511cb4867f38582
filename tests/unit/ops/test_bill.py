"""What the page says that a month costs is what its quantities and prices come to."""

import re

import pytest

from local.backends import ROOT
from ops import bill

PAGE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")


def rows(heading):
    """The cells of a section's table, below its head."""
    section = PAGE.partition(f" {heading}\n")[2].partition("\n#")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def number(text):
    return float(text.replace(",", ""))


def test_the_worst_month_is_what_the_pages_say():
    section = PAGE.partition("### The worst month\n")[2].partition("\n#")[0]
    total, *parts = (number(told) for told in re.findall(r"\$([\d,]+)", section))
    month = bill.worst_month()
    assert parts == [round(dollars) for dollars in month.values()]
    assert total == pytest.approx(sum(month.values()), rel=0.01)
    (rounded,) = re.findall(r"about \$([\d,]+) a month", (ROOT / "README.md").read_text())
    assert number(rounded) == pytest.approx(total, rel=0.1)


def test_the_worst_months_largest_parts_by_hand():
    month = bill.worst_month()
    # 10/s for 2,678,400 s, 20 units of 512 kB each, at $1 a million
    assert month["the API"] == pytest.approx(535.68)
    # 5 × 2,678,400 s × 1769/1024 GB × $0.0000166667, and 26.784 million requests at $0.20
    assert month["Lambda"] == pytest.approx(385.59 + 5.36, abs=0.01)


def test_the_table_of_predictions_is_near_what_was_measured():
    """Within a quarter: another run of the benchmarks differs by less."""
    told = rows("The bill")
    now = [[c.strip() for c in line.strip("|").split("|")] for line in bill.table().splitlines()]
    assert [row[:2] for row in told] == [row[:2] for row in now[2:]]
    for row, measured in zip(told, now[2:], strict=True):
        for cell, figure in zip(row[3:], measured[3:], strict=True):
            assert number(cell) == pytest.approx(number(figure), rel=0.25)


def test_less_than_a_vcpu_takes_longer_and_more_is_no_faster():
    assert [bill.billed_ms(26.1, memory) for memory in (1_024, 1_769, 3_538)] == [46, 27, 27]


def test_a_million_predictions_by_hand():
    # 1e6 × 0.027 s × 1769/1024 GB × $0.0000166667 + $0.20
    assert bill.compute_dollars(1_000_000, 27, 1_769, "x86_64") == pytest.approx(0.9774, abs=1e-3)
    # five units of 512 kB, 1.2 kB of log, one trace each
    assert bill.around_dollars(1_000_000) == pytest.approx(5 + 0.6 + 5)
