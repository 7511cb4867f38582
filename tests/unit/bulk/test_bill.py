"""What the page says that many photos cost is what their times and prices come to."""

import pytest

from bulk import bill
from bulk.bill import Machine
from bulk.runs import Progress
from local.backends import ROOT

PAGE = (ROOT / "docs" / "bulk.md").read_text(encoding="utf-8")


def test_a_million_photos_by_hand():
    # 1e6 × 0.010 s × 1769/1024 GB × $0.0000166667, and 2,000 requests
    compute = 0.28793 + 0.0004
    # two transitions a shard; a GET a photo; two GETs and two PUTs a shard
    around = 0.10 + 0.40 + 0.0016 + 0.02
    assert bill.million_dollars(100, 1_769) == pytest.approx(compute + around, abs=1e-4)


def test_part_of_a_vcpu_does_its_part_and_two_do_what_was_measured():
    rates = {"1": 100.0, "2": 170.0}
    found = [bill.photos_per_s(rates, memory_mb) for memory_mb in (1_024, 1_769, 3_538)]
    assert found == pytest.approx([57.89, 100, 170], abs=0.01)


def test_children_cost_what_they_took():
    assert bill.shard_dollars(0, 0, Machine(1_769)) == 0
    # 1,000 s × 1769/1024 GB × $0.0000166667 + 10 × ($0.0000002 + 2 × $0.000025)
    assert bill.shard_dollars(10, 1_000, Machine(1_769)) == pytest.approx(0.029295, abs=1e-5)


def test_the_pages_table_is_near_what_was_measured():
    """Within a quarter: another run of the benchmark differs by less."""

    def cells(text):
        rows = [line for line in text.splitlines() if line.startswith(("| 400x", "| 12mp"))]
        return [
            [cell.strip().replace(",", "") for cell in row.strip("|").split("|")] for row in rows
        ]

    told, now = cells(PAGE), cells(bill.table())
    assert [row[:2] for row in told] == [row[:2] for row in now]
    for row, measured in zip(told, now, strict=True):
        for cell, figure in zip(row[2:], measured[2:], strict=True):
            assert float(cell) == pytest.approx(float(figure), rel=0.25)


@pytest.mark.parametrize(
    ("progress", "line"),
    [
        (
            Progress("RUNNING", 2_000, 200, 100, 0, 50.0, 0.204),
            "200 of 2,000 shards, 100 running · 2,000 photos/s · $0.20 so far · 8 min left",
        ),
        (
            Progress("RUNNING", 20, 10, 2, 1, 5.0, None),
            "10 of 20 shards, 2 running, 1 failed · 1,000 photos/s · 5 s left",
        ),
        (
            Progress("SUCCEEDED", 20, 20, 0, 0, 10.0, 0.0),
            "20 of 20 shards, 0 running · 1,000 photos/s · $0.00 so far",
        ),
        (Progress("RUNNING", 0, 0, 0, 0, 0.0, None), "0 of 0 shards, 0 running · 0 photos/s"),
    ],
)
def test_progress_is_one_line(progress, line):
    assert progress.line(500) == line
