"""The benchmarks' arithmetic on figures worked out by hand, and the table of the goals."""

from typing import Any

import pytest
from benchmarks import photos
from benchmarks.batch import throughput
from benchmarks.contestants import HANDLERS, RUNTIMES
from benchmarks.report import BEGIN, DOCUMENTS, END, GOALS, Goal, insert, main, row_of, table
from benchmarks.results import (
    RESULTS,
    Results,
    Spread,
    latency_ms,
    machine,
    ratio_of_medians,
    read_ratio,
)
from benchmarks.tail import p99_over_p50, turns

FASTER = Goal("their time / ours", "one", "a row", 2.0)
SMALLER = Goal("our size / theirs", "one", "a row", 0.85, at_most=True, aim=0.75)


def test_a_ratio_compares_the_medians_of_each_round():
    theirs = [[2.0, 4.0, 90.0], [9.0], [8.0]]
    ours = [[1.0, 2.0, 3.0], [3.0], [1.0]]

    assert ratio_of_medians(theirs, ours).median == 3.0  # of 2, 3 and 8
    assert ratio_of_medians(theirs, ours).rounds == 3


def test_rounds_that_are_missing_on_one_side_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        ratio_of_medians([[1.0], [1.0]], [[1.0]])


class FakeWorker:
    """Notes what is asked of it; each request takes a second more than the one before."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked: list[str] = []

    def ask(self, request: str, count: int) -> list[float]:
        self.asked += [request] * count
        return [float(len(self.asked) - count + n) for n in range(count)]


def test_every_fifth_request_needs_both_networks_and_a_turns_first_five_are_not_counted():
    running: Any = [FakeWorker("a"), FakeWorker("b")]
    seconds = turns(running, rounds=2)
    for worker in running:
        assert worker.asked == ["400x533", "400x533", "400x533", "400x533", photos.UNSURE] * 22
        assert seconds[worker.name] == [list(range(5, 55)), list(range(60, 110))]


def test_every_goal_of_handlers_and_inference_has_its_contestant():
    rows = {goal.row.partition(",")[0] for goal in GOALS if goal.benchmark == "handlers"}
    assert rows == {"workshop", "torch eager"}
    assert rows | {"ours"} <= set(HANDLERS)
    assert {goal.row for goal in GOALS if goal.benchmark == "inference"} <= set(RUNTIMES)


def test_a_spread_is_the_median_and_the_middle_of_the_rounds():
    spread = Spread.of([float(n) for n in range(101)])

    assert (spread.p10, spread.median, spread.p90, spread.rounds) == (10, 50, 90, 101)
    assert str(spread) == "50.00 (10.00 to 90.00)"


def test_percentiles_are_taken_over_the_requests_of_all_rounds():
    seconds = [[0.001] * 98, [0.003, 0.003]]

    latency = latency_ms(seconds)

    assert latency["requests"] == 100
    assert latency["p50_ms"] == pytest.approx(1)
    assert latency["p99_ms"] == pytest.approx(3)
    assert p99_over_p50(seconds) == pytest.approx(3)


def test_the_gain_of_a_batch_is_the_time_of_the_single_requests_over_its_own():
    assert throughput([[0.1] * 16, [0.2] * 16], [[0.8], [1.6]]).median == pytest.approx(2)


def test_a_goal_that_the_median_reaches_is_met():
    assert row_of(FASTER, Spread(2.0, 1.5, 2.5, 9)).endswith("| 2.00 (1.50 to 2.50) | met |")
    assert row_of(SMALLER, Spread(0.85, 0.85, 0.85, 1)).endswith("| 0.85 | met |")


def test_a_goal_that_the_median_misses_is_not_met_whatever_the_best_round_did():
    assert row_of(FASTER, Spread(1.99, 1.5, 9.0, 9)).endswith("| **not met** |")
    assert row_of(SMALLER, Spread(0.86, 0.1, 0.9, 9)).endswith("| **not met** |")


def test_what_has_no_file_is_not_measured(tmp_path):
    assert (
        table([FASTER], tmp_path)
        .splitlines()[-1]
        .endswith("| not measured: its benchmark has not run |")
    )


def test_a_contestant_that_could_not_run_is_not_measured_and_says_why(tmp_path):
    Results("one", not_measured={"a row": "ImportError: no | such\nthing"}).write(tmp_path)

    assert "| not measured: ImportError: no / such thing |" in table([FASTER], tmp_path)


def test_figures_survive_their_file_and_name_the_machine(tmp_path):
    Results("one", ratios={"a row": Spread(2.5, 2.0, 3.0, 7)}).write(tmp_path)

    assert read_ratio("one", "a row", tmp_path) == Spread(2.5, 2.0, 3.0, 7)
    assert f"one: {machine()['processor']}" in table([FASTER], tmp_path)


def test_the_table_replaces_what_stands_between_the_markers_alone():
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"

    assert insert(page, "new") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"


def test_a_page_without_markers_is_refused():
    with pytest.raises(ValueError, match="figures: begin"):
        insert(f"{END} {BEGIN}", "new")


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_the_pages_show_the_figures_that_are_kept(page):
    text = page.read_text(encoding="utf-8")
    assert insert(text, table(GOALS, RESULTS)) == text


def test_the_report_is_written_into_every_page(tmp_path, capsys):
    pages = [tmp_path / "page.md", tmp_path / "other.md"]
    for page in pages:
        page.write_text(f"{BEGIN}\n{END}\n")

    assert main(["--results", str(tmp_path), "--documents", *map(str, pages)]) == 0

    assert [page.read_text().count("not measured") for page in pages] == [len(GOALS)] * 2
    assert "The table is in" in capsys.readouterr().out


@pytest.mark.parametrize(("median", "status"), [(1.99, 1), (2.0, 0)])
def test_a_check_fails_on_a_goal_that_is_measured_and_not_met(tmp_path, capsys, median, status):
    goal = GOALS[0]
    ratios = {goal.row: Spread(median, median, median, 1)}
    Results(goal.benchmark, ratios=ratios).write(tmp_path)

    assert main(["--results", str(tmp_path), "--check"]) == status
    assert goal.what in capsys.readouterr().out
