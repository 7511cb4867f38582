"""The review's page in headless Chromium: by keyboard, on a phone, and against other pages."""

import json
from pathlib import Path

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests.browser import NEEDS_CHROMIUM, SCREENSHOTS, WAIT_S
from tests.photo_folder import write_photo
from tests.reviewing import reviewing
from train.photos.folders import list_folder

pytestmark = NEEDS_CHROMIUM

EVIL = "<img src=x onerror=document.title='pwned'>"


class Page:
    """The page as a person uses it."""

    def __init__(self, driver, url):
        self.driver = driver
        driver.get(url)
        self.title("Photo 1 of")

    def find(self, selector):
        return self.driver.find_element("css selector", selector)

    def title(self, begins: str) -> str:
        """The title, once it begins so and the page is ready for a decision."""

        def is_there(_):
            text = self.find("#title").text
            return text if text.startswith(begins) and not self.is_busy() else False

        return str(WebDriverWait(self.driver, WAIT_S).until(is_there))

    def is_busy(self) -> bool:
        return self.find("body").get_attribute("aria-busy") is not None

    def press(self, *keys: str) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()

    def labels(self) -> list[str]:
        return [b.text for b in self.driver.find_elements("css selector", "#labels button")]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for label in ("blue", "red"):
        write_photo(tmp_path / "photos" / label / "0.jpg", label)
    return tmp_path / "photos"


@pytest.fixture
def unsure(tmp_path: Path) -> Path:
    folder = tmp_path / "unsure"
    for number in range(4):
        write_photo(folder / f"{number}.jpg", "green", width_px=480, height_px=640)
        predictions = [{"label": "red", "probability": 0.6}, {"label": "blue", "probability": 0.4}]
        answer = {"predictions": predictions, "unsure_because": "unfamiliar"}
        (folder / f"{number}.json").write_text(json.dumps(answer))
    return folder


@pytest.fixture
def page(chromium, data, unsure):
    """The page of a review of four photos; at the end, the browser must have no complaint."""
    chromium.set_window_size(1_100, 900)
    chromium.get_log("browser")
    with reviewing(unsure, data) as server:
        yield Page(chromium, server.url)
        severe = [e for e in chromium.get_log("browser") if e["level"] == "SEVERE"]
        assert [e for e in severe if "with a status of 4" not in e["message"]] == []


def reviewed(data: Path) -> list[str]:
    return sorted(e.label for e in list_folder(data).entries if len(e.path.stem) == 32)


def test_a_review_is_done_by_keyboard_and_taken_back(page, data):
    assert page.labels() == ["1\nred\n60 %", "2\nblue\n40 %"]
    page.press("2")
    page.title("Photo 2 of 4")
    page.press("0")
    page.title("Photo 3 of 4")
    page.press("c")
    page.press("Hut 3", Keys.ENTER)  # its digit is no decision
    page.title("Photo 4 of 4")
    assert page.labels()[2] == "3\nHut 3"
    page.press("3")
    assert page.title("All 4") == "All 4 photos are reviewed"
    assert "make model DATA=photos" in page.find("#next").text
    assert reviewed(data) == ["Hut 3", "Hut 3", "blue"]
    for number in (4, 3, 2, 1):
        page.press("u")
        page.title(f"Photo {number} of 4")
        assert page.find("#fault").text == ""
    assert reviewed(data) == []
    assert not page.find("#undo").is_enabled()


def test_a_screen_reader_is_told_what_was_done_and_what_is_shown(page):
    assert (
        page.find("#photo").get_attribute("alt").startswith("Photo 1 of 4. The model's guess: red")
    )
    page.find("#labels button").click()
    page.title("Photo 2 of 4")
    assert page.find("[role=status]#said").text == "Put into red."
    assert page.driver.switch_to.active_element.get_attribute("id") == "title"
    tree = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = ("button", "image", "combobox", "textbox", "checkbox", "progressbar", "group")
    named = {
        node["role"]["value"]: node["name"].get("value", "")
        for node in tree
        if not node["ignored"] and node["role"]["value"] in roles
    }
    assert {"button", "image", "progressbar"} <= named.keys()
    assert all(named.values()), named


def test_everything_can_be_reached_by_tab(page):
    reached = set()
    for _ in range(9):
        page.press(Keys.TAB)
        active = page.driver.switch_to.active_element
        reached.add(active.get_attribute("id") or active.text.split("\n")[-1])
    assert {"60 %", "40 %", "none", "name", "Use it", "keys"} <= reached
    page.find("#labels button").send_keys(Keys.ENTER)
    page.title("Photo 2 of 4")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_phone_shows_it_without_scrolling_sideways(page, dark):
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    size = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        wide = page.driver.execute_script("return document.documentElement.scrollWidth")
        assert wide <= 360
        buttons = page.driver.find_elements("css selector", "button")
        assert all(button.size["height"] >= 44 for button in buttons)
        below = "return arguments[0].getBoundingClientRect().bottom"
        first = page.driver.execute_script(below, page.find("#labels button"))
        assert first <= 740  # photo and first classes are seen at once
        if SCREENSHOTS:
            name = f"review-phone-{'dark' if dark else 'light'}.png"
            page.driver.save_screenshot(str(Path(SCREENSHOTS) / name))
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_keys_can_be_switched_off_and_a_held_key_decides_once(page, data):
    if SCREENSHOTS:
        page.driver.save_screenshot(str(Path(SCREENSHOTS) / "review.png"))
    script = 'document.dispatchEvent(new KeyboardEvent("keydown", {key: "1", repeat: true}))'
    page.driver.execute_script(script)
    page.find("#keys").click()
    page.press("1")
    page.find("#none").click()
    page.title("Photo 2 of 4")
    assert reviewed(data) == []


def test_a_name_that_is_refused_is_told_and_nothing_moves(page, data):
    page.press("c")
    page.press("../out", Keys.ENTER)
    WebDriverWait(page.driver, WAIT_S).until(
        lambda _: "cannot be called" in page.find("#fault").text
    )
    assert page.title("Photo 1 of 4")
    assert reviewed(data) == []


def test_names_are_text_and_nothing_else(chromium, data, unsure, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text(f"path,label\nblue/0.jpg,{EVIL}\nred/0.jpg,red\n")
    (unsure / "0.jpg").rename(unsure / f"{EVIL.replace('/', '')}.jpg")
    chromium.get_log("browser")
    with reviewing(unsure, data, table) as server:
        page = Page(chromium, server.url)
        page.press("2")
        page.title("Photo 2 of 4")
        assert any(EVIL in label for label in page.labels())
        assert page.driver.title == "Photo 2 of 4"
        assert page.driver.find_elements("css selector", "main img:not(#photo)") == []
        assert page.driver.get_log("browser") == []


def test_another_page_cannot_decide_even_if_it_knew_the_address(page, data, tmp_path):
    url = page.driver.current_url
    ours = page.driver.execute_async_script(
        "const [done] = arguments; fetch('state').then((r) => r.json()).then(done)"
    )
    other = tmp_path / "other.html"
    other.write_text("<title>other</title>")
    page.driver.get(other.as_uri())
    script = """
        const [url, body, done] = arguments;
        const ways = ["application/json", "text/plain"].map((type) =>
          fetch(url + "decide", {method: "POST", mode: type === "text/plain" ? "no-cors" : "cors",
            headers: {"Content-Type": type}, body}).then((r) => r.status, () => -1));
        Promise.all(ways).then(done);
    """
    body = json.dumps({"photo": ours["photo"]["id"], "label": "red"})
    assert page.driver.execute_async_script(script, url, body) == [-1, -1]
    assert reviewed(data) == []
    page.driver.get_log("browser")  # its complaints are about the other page


def test_a_review_that_was_ended_says_that_nothing_is_lost(chromium, data, unsure):
    with reviewing(unsure, data) as server:
        page = Page(chromium, server.url)
    page.press("1")
    WebDriverWait(chromium, WAIT_S).until(lambda _: "nothing is lost" in page.find("#fault").text)
    chromium.get_log("browser")
