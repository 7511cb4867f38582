"""The demo page's switch: which parts of a photo speak for the answer, also without a mouse."""

import pytest

from serving.app import App
from serving.model.classifier import Classifier
from serving.settings import Settings
from tests.bridge import serving_over_http
from tests.browser import NEEDS_CHROMIUM, Page
from tests.drawn import encoded, picture
from tests.e2e.test_page import bridge, fetch, page  # noqa: F401 - fixtures
from tests.tiny_model import write_tiny_model

pytestmark = NEEDS_CHROMIUM


@pytest.fixture(scope="module")
def explaining(tmp_path_factory):
    path = write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx", explains=True)
    with serving_over_http(App(Classifier.load(path), Settings(), fetch)) as running:
        yield running


@pytest.fixture
def left(tmp_path):
    """A photo that is red on its left."""
    image = picture("red", width_px=480, height_px=640)
    image.paste((20, 20, 20), (240, 0, 480, 640))
    path = tmp_path / "left.jpg"
    path.write_bytes(encoded(image))
    return path


@pytest.fixture
def explaining_page(chromium, explaining):
    chromium.set_window_size(900, 1_300)
    chromium.get(explaining.url)
    chromium.get_log("browser")
    page = Page(chromium)  # noqa: F811
    wait(page, lambda: page.find("#switch").is_displayed())
    yield page
    assert chromium.get_log("browser") == []  # above all no breach of the policy


def wait(page, condition) -> None:  # noqa: F811
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(page.driver, 20).until(lambda _: condition())


def test_the_switch_by_keyboard_explains_the_photo_that_was_given(explaining_page, left):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    explaining_page.give(left)
    assert explaining_page.verdict() == "red"
    assert not explaining_page.find("#explained").is_displayed()
    explaining_page.find("#url").click()
    for _ in range(2):  # the button, then the switch
        ActionChains(explaining_page.driver).send_keys(Keys.TAB).perform()
    assert explaining_page.driver.switch_to.active_element.get_attribute("id") == "explain"
    ActionChains(explaining_page.driver).send_keys(Keys.SPACE).perform()
    wait(explaining_page, lambda: explaining_page.find("#explained").is_displayed())
    explaining_page.keep("explained")


def test_a_screen_reader_is_told_what_the_map_shows(explaining_page, left):
    explaining_page.find("#switch").click()
    explaining_page.give(left)
    explaining_page.verdict()
    assert "strongest part is" in explaining_page.find("#map").get_attribute("alt")
    said = explaining_page.find("#where").text
    assert "Orange parts speak for red" in said
    assert "left." in said
    assert explaining_page.find("#explain").get_attribute("role") == "switch"
    script = "return document.getElementById('map').naturalWidth"
    assert explaining_page.driver.execute_script(script) == 168  # it was decoded
    assert "explain=1" in explaining_page.find("#curl").text


def test_switched_off_the_map_is_gone(explaining_page, left):
    explaining_page.find("#switch").click()
    explaining_page.give(left)
    wait(explaining_page, lambda: explaining_page.find("#explained").is_displayed())
    explaining_page.find("#switch").click()
    wait(explaining_page, lambda: not explaining_page.find("#explained").is_displayed())
    assert explaining_page.verdict() == "red"
    assert "explain=1" not in explaining_page.find("#curl").text


def test_a_model_that_cannot_explain_has_no_switch(page):  # noqa: F811
    wait(page, lambda: "It knows" in page.find("#about").text)
    assert not page.find("#switch").is_displayed()
