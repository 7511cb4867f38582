"""The demo page in headless Chromium, against the service in this process."""

import shutil
import threading
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.app import App
from serving.errors import ForbiddenUrlError
from serving.settings import Settings
from tests.bridge import serving_over_http
from tests.browser import NEEDS_CHROMIUM, WAIT_S, Page
from tests.drawn import encoded, picture

pytestmark = NEEDS_CHROMIUM
asked_again = threading.Event()


def fetch(url, *, timeout_s):
    if "slow" in url:
        assert asked_again.wait(WAIT_S)
        return encoded(picture("green"))
    if "green" in url:
        return encoded(picture("green"))
    raise ForbiddenUrlError("The URL leads to an address that is not on the public internet.")


@pytest.fixture(scope="module")
def bridge(classifier):
    with serving_over_http(App(classifier, Settings(), fetch)) as running:
        yield running


@pytest.fixture
def page(chromium, bridge):
    """The page, freshly loaded; at the end, nothing must have gone wrong in the browser."""
    chromium.set_window_size(900, 1_100)
    bridge.bodies.clear()
    chromium.get(bridge.url)
    chromium.get_log("browser")
    yield Page(chromium)
    severe = [entry for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"]
    # The browser logs each 4xx answer; anything else, above all a breach of the policy, is a fault.
    assert [
        e for e in severe if "the server responded with a status of 4" not in e["message"]
    ] == []


@pytest.fixture
def red(tmp_path: Path) -> Path:
    path = tmp_path / "red's photo.jpg"
    path.write_bytes(encoded(picture("red", width_px=480, height_px=640)))
    return path


def test_a_chosen_photo_gets_its_verdict_bars_thumbnail_and_timings(page, red):
    page.give(red)
    assert page.verdict() == "red"
    assert [li.text.split("\n")[0] for li in page.driver.find_elements("css selector", "li")] == [
        *("red", "blue", "green"),
    ]
    bars = page.driver.find_elements("css selector", "progress")
    assert float(bars[0].get_attribute("value")) > 0.99
    assert page.find("#thumbnail").size["width"] > 0
    for stage in ("fetch", "decode", "preprocess", "inference", "total"):
        assert stage in page.find("#timings").text
    page.keep("answer")


def test_the_file_is_sent_as_it_is_when_it_fits(page, bridge, red):
    page.give(red)
    page.verdict()
    assert bridge.bodies == [red.read_bytes()]


def test_the_same_call_can_be_copied_and_works_at_a_terminal(page, bridge, red):
    import subprocess

    page.give(red)
    page.verdict()
    command = page.find("#curl").text
    if shutil.which("curl"):
        result = subprocess.run(
            ["sh", "-c", command + " --silent"],
            cwd=red.parent,
            capture_output=True,
            text=True,
            check=True,
        )
        assert '"label":"red"' in result.stdout
    page.find("#copy").click()
    assert page.find("#copy").text.startswith(("Cop", "Selected"))


def test_a_url_is_fetched_by_the_service(page):
    from selenium.webdriver.common.keys import Keys

    page.find("#url").send_keys("https://photos.example/green's.jpg", Keys.ENTER)
    assert page.verdict() == "green"
    assert not page.find("#thumbnail").is_displayed()
    assert "--json" in page.find("#curl").text


def test_a_refusal_is_told_in_the_services_own_words(page):
    from selenium.webdriver.common.keys import Keys

    page.find("#url").send_keys("http://127.0.0.1/", Keys.ENTER)
    assert page.verdict() == "That did not work"
    assert "not on the public internet" in page.find("#detail").text
    page.keep("refused")


def test_a_file_that_is_no_image_is_refused(page, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("no image")
    page.give(text)
    assert page.verdict() == "That did not work"
    assert "JPEG, PNG" in page.find("#detail").text


def test_a_photo_over_the_limit_is_shrunk_and_keeps_its_rotation(page, bridge, tmp_path):
    random = np.random.default_rng(0)
    noise = random.integers(0, 60, (2_400, 3_600, 3), dtype=np.uint8)
    noise[:, :1_800, 0] += 180  # red on the stored left, which orientation 6 turns to the top
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = tmp_path / "large.jpg"
    photo.write_bytes(encoded(Image.fromarray(noise), quality=98, exif=exif))
    assert photo.stat().st_size > 4_500_000
    page.give(photo)
    page.verdict()
    (sent,) = bridge.bodies
    seen = Image.open(BytesIO(sent))
    assert len(sent) < 4_000_000
    assert seen.size == (1_365, 2_048)
    assert seen.getexif().get(0x0112, 1) == 1
    pixels = np.asarray(seen.convert("RGB"), np.int16)
    assert pixels[100:900, :, 0].mean() > pixels[1_200:2_000, :, 0].mean() + 100
    # At a terminal the file itself would be sent, which is too large.
    assert not page.find("#same").is_displayed()


def give_another_way(page, photo: Path, how: str) -> None:
    """Paste or drop a photo."""
    page.driver.execute_async_script(
        """
        const [how, bytes, done] = arguments;
        const file = new File([new Uint8Array(bytes)], "a.jpg", {type: "image/jpeg"});
        const transfer = new DataTransfer();
        transfer.items.add(file);
        const event = how === "paste"
          ? new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true})
          : new DragEvent("drop", {dataTransfer: transfer, bubbles: true});
        document.getElementById("drop").dispatchEvent(event);
        done();
        """,
        how,
        list(photo.read_bytes()),
    )


@pytest.mark.parametrize("how", ["paste", "drop"])
def test_a_photo_can_be_pasted_or_dropped(page, red, how):
    give_another_way(page, red, how)
    assert page.verdict() == "red"


def test_an_answer_that_comes_after_the_next_photos_is_not_shown(page, red):
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    asked_again.clear()
    page.find("#url").send_keys("https://photos.example/slow.jpg", Keys.ENTER)
    WebDriverWait(page.driver, WAIT_S).until(
        lambda _: page.find("#verdict").text == "Fetching it …"
    )
    give_another_way(page, red, "paste")
    assert page.verdict() == "red"
    asked_again.set()  # and the first is answered: green
    script = """
        const [done] = arguments;
        const both = () => performance.getEntriesByType("resource").filter(
            (entry) => entry.name.endsWith("/predict") && entry.responseEnd).length === 2;
        const look = () => both() ? setTimeout(done, 50) : setTimeout(look, 20);
        look();
    """
    page.driver.execute_async_script(script)
    assert page.verdict() == "red"
    assert page.find("#thumbnail").is_displayed()


def test_everything_can_be_reached_by_keyboard(page, red):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    page.give(red)
    page.verdict()
    reached = []
    for _ in range(7):
        ActionChains(page.driver).send_keys(Keys.TAB).perform()
        active = page.driver.switch_to.active_element
        reached.append(active.get_attribute("id") or active.tag_name)
    assert [
        name
        for name in ("choose", "photograph", "url", "button", "pre", "copy")
        if name not in reached
    ] == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_phone_shows_the_page_without_scrolling_sideways(page, red, dark):
    scheme = "dark" if dark else "light"
    page.driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    page.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True},
    )
    try:
        page.give(red)
        page.verdict()
        script = "return [document.documentElement.scrollWidth, innerWidth]"
        wide, seen = page.driver.execute_script(script)
        assert wide <= seen == 360
        ground = page.find("body").value_of_css_property("background-color")
        lightness = sum(int(part) for part in ground.strip("rgba()").split(",")[:3])
        assert lightness < 200 if dark else lightness > 600
        for control in ("#choose", "#photograph", "#copy"):
            assert page.find(control).size["height"] >= 44  # a fingertip
        page.keep(f"phone-{scheme}")
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_the_policy_stops_a_script_that_is_not_the_pages_own(page):
    ran = page.driver.execute_script(
        """
        const script = document.createElement("script");
        script.textContent = "window.intruded = true";
        document.body.append(script);
        return Boolean(window.intruded);
        """
    )
    assert not ran
    entries = page.driver.get_log("browser")
    assert any("Content Security Policy" in entry["message"] for entry in entries)


def test_the_page_asks_nobody_but_the_service(page, bridge, red):
    page.give(red)
    page.verdict()
    script = "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    asked = page.driver.execute_script(script)
    foreign = [u for u in asked if not u.startswith((bridge.url, "blob:", "data:"))]
    assert foreign == []
