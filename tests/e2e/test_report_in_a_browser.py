"""The report as a browser shows it: on a desk and on a phone, by day and by night."""

import json
import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from tests.photo_folder import write_photo, write_photos
from tests.tiny_model import write_tiny_model
from train.__main__ import main

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs Chromium and its driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    yield started
    started.quit()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The page of a tiny model on drawn photos with two mistakes."""
    folder = tmp_path_factory.mktemp("report")
    write_photos(folder / "data", 3, ("validation",))
    for number in range(2):
        write_photo(folder / f"data/validation/red/mislabelled-{number}.jpg", "blue")
    model = write_tiny_model(folder / "tiny.onnx", unsure_below=0.6)
    flags = ["--data", str(folder / "data"), "--cache", str(folder / "cache")]
    assert main(["evaluate", str(model), *flags]) == 0
    return (folder / "report.html").as_uri()


def show(browser, url: str, *, width_px: int, scheme: str = "light") -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    size = {"width": width_px, "height": 900, "deviceScaleFactor": 1, "mobile": width_px < 600}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(url)


@pytest.mark.parametrize("width_px", [360, 768, 1400])
def test_the_page_is_never_wider_than_the_screen(browser, report, width_px):
    show(browser, report, width_px=width_px)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width_px


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_picture_and_thumbnail_is_shown(browser, report, scheme):
    show(browser, report, width_px=1400, scheme=scheme)
    images = browser.find_elements(By.TAG_NAME, "img")
    assert len(images) == 6  # four pictures, two mistakes
    for image in images:
        browser.execute_script("arguments[0].scrollIntoView(); return arguments[0].decode()", image)
        assert int(image.get_property("naturalWidth")) > 0


def test_the_pictures_follow_the_pages_colours(browser, report):
    shown = {}
    for scheme in ("light", "dark"):
        show(browser, report, width_px=1400, scheme=scheme)
        picture = browser.find_element(By.CSS_SELECTOR, "figure img")
        shown[scheme] = picture.get_property("currentSrc")
    assert shown["light"] != shown["dark"]


def test_the_browser_has_nothing_to_complain_of(browser, report):
    show(browser, report, width_px=1400)
    complaints = browser.get_log("browser")
    assert not complaints, json.dumps(complaints)
