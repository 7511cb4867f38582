"""The demo page in headless Chromium, served by the runtime emulator with the bundled model."""

from pathlib import Path

import pytest

from local.backends import ROOT
from tests.browser import NEEDS_CHROMIUM, Page

pytestmark = NEEDS_CHROMIUM


@pytest.fixture(scope="module")
def bundled(emulate):
    with emulate({"MODEL_PATH": str(ROOT / "model" / "classifier.onnx")}) as gateway:
        yield gateway


def test_a_photo_chosen_on_the_page_is_classified_by_the_emulator(chromium, bundled):
    chromium.set_window_size(900, 1_100)
    chromium.get(bundled.url)
    page = Page(chromium)
    page.give(Path(ROOT / "samples" / "pants.jpg"))
    verdict = page.verdict()
    labels = [item.text.split("\n")[0] for item in chromium.find_elements("css selector", "li")]
    assert len(labels) == 5
    assert labels[0] in verdict
    page.keep("emulator")
