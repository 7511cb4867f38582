"""What the demo page says of an answer that is unsure, and why."""

import pytest
from PIL import Image

from serving.app import App
from serving.model.classifier import Classifier
from serving.settings import Settings
from tests.bridge import serving_over_http
from tests.browser import NEEDS_CHROMIUM, Page
from tests.conftest import no_fetch
from tests.drawn import encoded, picture
from tests.tiny_model import FAMILIARITY, YELLOW, write_tiny_model

pytestmark = NEEDS_CHROMIUM


@pytest.fixture(scope="module")
def unsure_page(chromium, tmp_path_factory):
    """The page of a service that knows how familiar photos are and wants a probability of 0.9."""
    model = tmp_path_factory.mktemp("model") / "tiny.onnx"
    write_tiny_model(model, familiarity=FAMILIARITY, unsure_below=0.9)
    with serving_over_http(App(Classifier.load(model), Settings(), no_fetch)) as bridge:
        chromium.get(bridge.url)
        yield Page(chromium)


PICTURES = {
    "unlike the photos I learnt from": Image.new("RGB", (60, 80), YELLOW),
    "No class is likely enough": picture("red").convert("L"),
}


@pytest.mark.parametrize("reason", PICTURES)
def test_unsure_is_said_plainly_with_its_reason(unsure_page, tmp_path, reason):
    photo = tmp_path / f"{len(reason)}.png"
    photo.write_bytes(encoded(PICTURES[reason], "PNG"))
    unsure_page.give(photo)
    assert unsure_page.verdict(of="Unsure: perhaps ").startswith("Unsure: perhaps ")
    assert reason in unsure_page.find("#detail").text
    unsure_page.keep(f"unsure-{len(reason)}")


def test_a_photo_like_those_of_training_is_not_called_unsure(unsure_page, tmp_path):
    photo = tmp_path / "red.jpg"
    photo.write_bytes(encoded(picture("red")))
    unsure_page.give(photo)
    assert unsure_page.verdict(of="red") == "red"
    assert unsure_page.find("#detail").text == ""
