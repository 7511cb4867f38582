"""What the documentation promises of limits and logs is what the code does."""

import json
import re
from pathlib import Path

from serving.app import App
from serving.images import draft
from serving.images.formats import NAMES
from serving.settings import Settings
from serving.telemetry import NAMESPACE
from tests.conftest import no_fetch
from tests.invocations import event

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


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


def test_the_bundled_models_card_ends_with_its_notes_whose_figures_are_the_reports():
    notes = (DOCS / "clothing-model.md").read_text(encoding="utf-8")
    assert (ROOT / "model" / "MODEL_CARD.md").read_text(encoding="utf-8").endswith("\n\n" + notes)
    report = json.loads((ROOT / "model" / "report.json").read_text(encoding="utf-8"))
    figures = report["splits"]["validation"]
    told = " ".join(notes.partition("## Limits")[0].split())
    assert f"{figures['correct']} of {figures['photos']} photos are right" in told
    assert f"loss {figures['loss']:.3f}, calibration error {figures['ece']:.3f}" in told
