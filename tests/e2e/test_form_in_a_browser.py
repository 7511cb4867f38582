"""A page's plain form, sent by headless Chromium: its fields, empty ones and button included."""

import json

from tests.browser import NEEDS_CHROMIUM
from tests.drawn import encoded, picture
from tests.e2e.test_page import bridge  # noqa: F401 - a fixture

pytestmark = NEEDS_CHROMIUM

FORM = """
<form method="post" enctype="multipart/form-data" action="{url}predict">
<input type="text" name="url"><input type="text" name="top_k"><input type="file" name="other">
<input type="file" name="photo"><input type="text" name="note" value="x">
<button name="submit" value="Upload">Upload</button></form>
"""


def test_a_form_with_a_file_and_empty_fields_is_answered(chromium, bridge, tmp_path):  # noqa: F811
    photo = tmp_path / "Größe 图.jpg"
    photo.write_bytes(encoded(picture("red")))
    page = tmp_path / "form.html"
    page.write_text(FORM.format(url=bridge.url))
    chromium.get(page.as_uri())
    chromium.find_element("css selector", "[name=photo]").send_keys(str(photo))
    chromium.find_element("css selector", "button").click()
    chromium.implicitly_wait(20)
    answer = json.loads(chromium.find_element("css selector", "pre").text)
    assert answer["label"] == "red"
