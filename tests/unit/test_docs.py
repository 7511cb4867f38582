"""What the pages say of logs, images and errors is what the code does, and their links resolve."""

import json
import re
from pathlib import Path

import pytest

from serving.app import App
from serving.errors import ServingError, SetupError, UnservedMessageError
from serving.images import draft
from serving.images.formats import NAMES
from serving.settings import Settings
from serving.telemetry import NAMESPACE
from tests.conftest import no_fetch
from tests.invocations import event

ROOT = Path(__file__).parents[2]
DOCS, README = ROOT / "docs", ROOT / "README.md"
PAGES = (README, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md")))


def test_every_field_of_a_log_line_is_documented(classifier, capsys, red_jpeg):
    app = App(classifier, Settings(), no_fetch)
    app.handle(event("alb", body=red_jpeg), "request-1")
    app.handle(event("alb", body=b"junk"), "request-1")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    told = set(re.findall(r"`(\w+)`", (DOCS / "logs.md").read_text(encoding="utf-8")))
    fields = {name for line in lines for name in line} - {"level", "message", "_aws"}
    assert fields <= told
    assert {name for line in lines for found in line["images"] for name in found} <= told
    assert NAMESPACE in told


def test_every_supported_image_format_is_documented():
    text = (DOCS / "images.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1].strip().upper() for line in text.splitlines() if line[:1] == "|"]
    assert set(NAMES) <= set(rows)
    assert f"off by more than {draft.CLOSE_TOLERANCE} of 255" in text


def test_the_readme_has_every_error_with_its_status():
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    raised = coded(SetupError) | coded(UnservedMessageError)  # none of these is an answer
    assert set(rows) == coded(ServingError) - raised


def coded(error: type[ServingError]) -> set[tuple[str, str]]:
    """The status and code of an error and of those below it, without those that only group."""
    own = {(str(int(error.status)), error.code)} if "code" in vars(error) else set()
    return own.union(*(coded(below) for below in error.__subclasses__()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_or_a_heading(page):
    broken = []
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8").replace("\n", " ")):
        place, _, heading = link.partition("#")
        if "://" in link:
            continue
        target = page.parent / place if place else page
        if not target.exists() or (heading and heading not in headings(target)):
            broken.append(link)
    assert broken == []


def headings(page: Path) -> set[str]:
    """The names that GitHub gives to a page's headings."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
