"""The worst month's bill in docs/deploy.md is arithmetic on the template's defaults."""

import json
import re

import pytest

from local.backends import ROOT
from ops import parameters
from serving.errors import ServingError, SetupError

SECONDS = 31 * 86_400
ROW = re.compile(r"^\| ([^|*]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def page():
    return (ROOT / "docs" / "deploy.md").read_text()


@pytest.fixture(scope="module")
def rows(page):
    """What -> (quantity, price, dollars)."""
    return {what: tuple(map(float, numbers)) for what, *numbers in ROW.findall(page)}


def quantity(rows, beginning):
    ((number, _, _),) = [row for what, row in rows.items() if what.startswith(beginning)]
    return number


def test_each_line_is_quantity_times_price(rows):
    assert len(rows) == 9
    for what, (number, price, dollars) in rows.items():
        assert number * price == pytest.approx(dollars, abs=0.006), what


def test_the_total_is_the_sum(rows, page):
    (text,) = re.findall(r"\*\*([\d.]+)\*\* \|$", page, re.MULTILINE)
    total = float(text)
    assert total == pytest.approx(sum(dollars for _, _, dollars in rows.values()), abs=0.001)
    assert f"${total:.0f}" in (ROOT / "README.md").read_text()


def test_the_quantities_follow_from_the_templates_defaults(rows):
    values = parameters.read(ROOT / "template.yaml", {})
    gigabytes = int(values["MemorySizeMb"]) / 1_024
    at_once = int(values["ReservedConcurrency"])
    millions = int(values["ThrottleRatePerSecond"]) * SECONDS / 1e6
    assert quantity(rows, "Lambda, GB-s") == pytest.approx(at_once * SECONDS * gigabytes, abs=1)
    assert quantity(rows, "Lambda, million") == pytest.approx(millions)
    assert quantity(rows, "HTTP API") == pytest.approx(millions)
    assert quantity(rows, "Transfer out") == pytest.approx(millions * 13)
    assert quantity(rows, "Logs") == pytest.approx(millions * 8)
    sampled = SECONDS / 1e6 + 0.05 * (millions - SECONDS / 1e6)
    assert quantity(rows, "X-Ray") == pytest.approx(sampled, abs=1e-3)


def test_the_metrics_are_those_that_the_log_lines_make(rows):
    classes = json.loads((ROOT / "model" / "report.json").read_text())["classes"]
    codes = {error.code for error in leaves(ServingError) if not issubclass(error, SetupError)}
    (row,) = [what for what in rows if what.startswith("Metrics:")]
    assert row == f"Metrics: 10 by model, {len(classes)} labels, {len(codes) + 1} error codes"
    assert quantity(rows, "Metrics") == 10 + len(classes) + len(codes) + 1  # internal_error


def leaves(error: type[ServingError]) -> list[type[ServingError]]:
    below = error.__subclasses__()
    return [leaf for child in below for leaf in leaves(child)] if below else [error]
