"""What the documentation promises of limits and logs is what the code does."""

import json
import re
from pathlib import Path

from serving import draft, image
from serving.app import App
from serving.settings import Settings
from serving.telemetry import NAMESPACE
from tests.conftest import no_fetch
from tests.invocations import event

DOCS = Path(__file__).parents[2] / "docs"


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


def test_every_type_of_image_that_is_taken_is_documented():
    text = (DOCS / "images.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1].strip().upper() for line in text.splitlines() if line[:1] == "|"]
    assert set(image.FORMATS) <= set(rows)
    assert f"off by more than {draft.CLOSE_TOLERANCE} of 255" in text
