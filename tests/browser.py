"""The demo page in a browser, as a person uses it."""

import os
import shutil
from pathlib import Path

import pytest

NEEDS_CHROMIUM = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="needs Debian's packages chromium and chromium-driver",
    ),
]
# Where to keep screenshots for people to look at; nowhere by default.
SCREENSHOTS = os.environ.get("SCREENSHOTS")
WAIT_S = 20


class Page:
    """The page as a person uses it."""

    def __init__(self, driver):
        self.driver = driver

    def find(self, selector):
        return self.driver.find_element("css selector", selector)

    def give(self, path: Path) -> None:
        self.find("#file").send_keys(str(path))

    def verdict(self, *, of: str = "") -> str:
        """The verdict's text, once the answer is there and the verdict mentions `of`."""
        from selenium.webdriver.support.ui import WebDriverWait

        def is_there(driver):
            text = self.find("#verdict").text
            idle = self.find("body").get_attribute("aria-busy") is None
            return text if idle and "…" not in text and of in text and text else False

        return str(WebDriverWait(self.driver, WAIT_S).until(is_there))

    def keep(self, name: str) -> None:
        if SCREENSHOTS:
            self.driver.save_screenshot(str(Path(SCREENSHOTS) / f"{name}.png"))
