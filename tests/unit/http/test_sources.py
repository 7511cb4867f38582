"""Every way of naming an image in a request."""

import base64
import json
from collections.abc import Callable

import pytest

from serving.app import App
from serving.settings import Settings
from tests.drawn import encoded, picture
from tests.invocations import as_json

BOUNDARY = "----boundary"
FORM = {"content-type": f'multipart/form-data; boundary="{BOUNDARY}"'}


def form(*parts: tuple[str, bytes]) -> bytes:
    """A form of parts, each the text of its Content-Disposition's parameters and its content."""
    lines = [
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; {named}\r\n\r\n".encode() + content
        for named, content in parts
    ]
    return b"\r\n".join([*lines, f"--{BOUNDARY}--\r\n".encode()])


# --- base64


def unpadded(encode: Callable[[bytes], bytes], data: bytes) -> str:
    """A file as base64 that would end in padding, without it."""
    padded = encode(data + b"\0" * ((1 - len(data)) % 3)).decode()
    assert padded.endswith("==")
    return padded.rstrip("=")


@pytest.mark.parametrize(
    "spelling",
    [
        lambda data: base64.b64encode(data).decode(),
        lambda data: "data:image/jpeg;base64," + base64.b64encode(data).decode(),
        lambda data: "data:;BASE64," + base64.b64encode(data).decode(),
        lambda data: base64.urlsafe_b64encode(data).decode(),
        lambda data: unpadded(base64.urlsafe_b64encode, data),
        lambda data: unpadded(base64.b64encode, data),
        lambda data: base64.encodebytes(data).decode(),
    ],
    ids=[
        *("plain", "data URL", "data URL without type", "URL-safe", "URL-safe without padding"),
        *("without padding", "broken into lines"),
    ],
)
def test_base64_is_accepted_in_its_usual_spellings(call, red_jpeg, spelling):
    assert call(**as_json({"image": spelling(red_jpeg)})).json["label"] == "red"


def test_json_is_recognised_by_its_brace_under_any_content_type(call, red_jpeg):
    body = json.dumps({"image": base64.b64encode(red_jpeg).decode()}).encode()
    headers = {"content-type": "application/x-www-form-urlencoded"}  # what curl -d says
    assert call(body=b" \n" + body, headers=headers).json["label"] == "red"
    assert call(body=body, headers={"content-type": "application/vnd.x+json"}).status == 200


# --- forms


def test_a_form_with_one_file_gets_one_answer(call, red_jpeg):
    body = form(('name="file"; filename="a.jpg"', red_jpeg))
    assert call(body=body, headers=FORM).json["label"] == "red"


def test_a_form_with_several_files_gets_an_answer_for_each_in_order(call, red_jpeg):
    blue = encoded(picture("blue"), "PNG")
    body = form(
        ('name="file"; filename="a.jpg"', red_jpeg),
        ('name="top_k"', b"1"),
        ('name="other"; filename="b.png"', blue),
        ('name="file"; filename="c.txt"', b"text"),
    )
    red, second, failed = call(body=body, headers=FORM).json["results"]
    assert (red["label"], second["label"]) == ("red", "blue")
    assert len(red["predictions"]) == 1
    assert (failed["status"], failed["code"]) == (415, "unsupported_image")


def test_a_forms_text_field_may_hold_a_url(classifier, call):
    app = App(classifier, Settings(), lambda url, *, timeout_s: encoded(picture("green")))
    body = form(('name="url"', b"https://example.com/a.jpg"))
    assert call(body=body, headers=FORM, to=app).json["label"] == "green"


@pytest.mark.parametrize(
    ("body", "headers", "said"),
    [
        (form(), FORM, "no image"),
        (form(('name="file"; filename=""', b"")), FORM, "no image"),
        (form(('name="file"', b"\xff\xd8")), FORM, "filename"),
        (form(('name="comment"', b"hello")), FORM, "'comment'"),
        (form(('name="url"', b""), ('name="go"', b"Upload")), FORM, "'go'"),
        (form(('name="url"', b" \r\n")), FORM, "no image"),
        (
            form(('name="f"; filename="f"\r\nContent-Transfer-Encoding: base64', b"!")),
            FORM,
            "base64",
        ),
        (form(('name="top_k"', b"many"), ('name="f"; filename="f"', b"x")), FORM, "'top_k'"),
        (form(('name="f"; filename="f"', b"x"))[:-10], FORM, "cut short"),
        (b"no form at all", FORM, "not valid multipart"),
        (b"no form", {"content-type": "multipart/form-data"}, "boundary"),
        (b"no form", {"content-type": "multipart/form-data; boundary=\u20ac"}, "boundary"),
        (b"no form", {"content-type": "multipart/form-data; boundary=x; \ud800=1"}, "boundary"),
        (form(*[('name="top_k"', b"1")] * 301), FORM, "more than 300"),
    ],
)
def test_a_form_that_holds_no_image_says_what_is_missing(call, body, headers, said):
    answer = call(body=body, headers=headers)
    assert answer.status == 400
    assert said in answer.json["detail"]
