"""Every way of naming an image in a request, alone and several at once."""

import base64
import json
import threading

import pytest

from serving.app import App
from serving.errors import RemoteFailedError
from serving.settings import Settings
from tests.conftest import no_fetch
from tests.drawn import encoded, picture

BOUNDARY = "----boundary"
FORM = {"content-type": f'multipart/form-data; boundary="{BOUNDARY}"'}


def form(*parts: tuple[str, bytes]) -> bytes:
    """A form of parts, each the text of its Content-Disposition's parameters and its content."""
    lines = [
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; {named}\r\n\r\n".encode() + content
        for named, content in parts
    ]
    return b"\r\n".join([*lines, f"--{BOUNDARY}--\r\n".encode()])


def as_json(value):
    return {"body": json.dumps(value).encode(), "headers": {"content-type": "application/json"}}


# --- base64


@pytest.mark.parametrize(
    "spelling",
    [
        lambda data: base64.b64encode(data).decode(),
        lambda data: "data:image/jpeg;base64," + base64.b64encode(data).decode(),
        lambda data: "data:;BASE64," + base64.b64encode(data).decode(),
        lambda data: base64.urlsafe_b64encode(data).decode(),
        lambda data: base64.encodebytes(data).decode(),
    ],
    ids=["plain", "data URL", "data URL without type", "URL-safe", "broken into lines"],
)
def test_base64_is_taken_in_its_usual_spellings(call, red_jpeg, spelling):
    assert call(**as_json({"image": spelling(red_jpeg)})).json["label"] == "red"


def test_json_is_known_by_its_brace_when_the_client_calls_it_something_else(call, red_jpeg):
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
        (form(('name="file"', b"\xff\xd8\xff")), FORM, "filename"),
        (form(('name="comment"', b"hello")), FORM, "'comment'"),
        (form(('name="top_k"', b"many"), ('name="f"; filename="f"', b"x")), FORM, "'top_k'"),
        (form(('name="f"; filename="f"', b"x"))[:-10], FORM, "cut short"),
        (b"no form at all", FORM, "no valid multipart"),
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


# --- batches


def test_a_batch_mixes_references_and_each_fails_for_itself(classifier, call, red_jpeg):
    def fetch(url, *, timeout_s):
        if "green" in url:
            return encoded(picture("green"))
        raise RemoteFailedError("gone")

    app = App(classifier, Settings(), fetch)
    images = [
        {"url": "https://example.com/green.jpg"},
        {"image": base64.b64encode(red_jpeg).decode()},
        {"url": "https://example.com/gone.jpg"},
        {"image": "!"},
        {"picture": "x"},
        "https://example.com/",
        {"image": base64.b64encode(encoded(picture("blue"), "WEBP")).decode()},
    ]
    answer = call(to=app, **as_json({"images": images, "top_k": 1}))
    assert answer.status == 200
    results = answer.json["results"]
    assert [r.get("label", r.get("status")) for r in results] == [
        *("green", "red", 502, 400, 400, 400, "blue"),
    ]
    assert "images[4]" in results[4]["detail"]
    assert all(len(r["predictions"]) == 1 for r in results if "label" in r)


def test_a_batch_of_one_is_still_a_list(call, red_jpeg):
    images = [{"image": base64.b64encode(red_jpeg).decode()}]
    assert [r["label"] for r in call(**as_json({"images": images})).json["results"]] == ["red"]


def test_a_batch_gives_the_same_answers_as_its_images_alone(call):
    colours = ["red", "green", "blue", "red"]
    images = [
        {"image": base64.b64encode(encoded(picture(c, seed=i))).decode()}
        for i, c in enumerate(colours)
    ]
    together = call(**as_json({"images": images})).json["results"]
    alone = [call(**as_json(image)).json for image in images]
    assert [r["predictions"] for r in together] == [r["predictions"] for r in alone]
    assert [r["label"] for r in together] == colours


def test_what_is_no_picture_is_left_out_of_the_inference(classifier, monkeypatch, call, red_jpeg):
    sizes = []
    logits = classifier.logits

    def counted(batch):
        sizes.append(len(batch))
        return logits(batch)

    monkeypatch.setattr(classifier, "logits", counted)
    image = {"image": base64.b64encode(red_jpeg).decode()}
    call(**as_json({"images": [image, {"image": "eA=="}, image, image]}))
    assert sizes == [1, 1, 1]


def test_a_batch_is_fetched_side_by_side(classifier, call, red_jpeg):
    together = threading.Barrier(4, timeout=5)  # breaks unless four fetches wait at once

    def fetch(url, *, timeout_s):
        together.wait()
        return red_jpeg

    app = App(classifier, Settings(), fetch)
    images = [{"url": f"https://example.com/{i}"} for i in range(4)]
    results = call(to=app, **as_json({"images": images})).json["results"]
    assert [r["label"] for r in results] == ["red"] * 4


def test_a_batch_over_the_limit_is_refused_with_the_limit(classifier, call):
    app = App(classifier, Settings(batch_max_items=2), no_fetch)
    answer = call(to=app, **as_json({"images": [{"url": "https://example.com/"}] * 3}))
    assert answer.status == 413
    assert "at most 2" in answer.json["detail"]


def test_a_direct_invocation_takes_a_batch_too(app, red_jpeg):
    made = {"images": [{"image": base64.b64encode(red_jpeg).decode()}, {"image": "eA=="}]}
    red, failed = app.handle(made, "request-1")["results"]
    assert (red["label"], failed["status"]) == ("red", 415)


def test_an_unforeseen_failure_of_one_fetch_fails_the_batch_and_is_logged(classifier, call, capsys):
    def fetch(url, *, timeout_s):
        raise RuntimeError("inside")

    app = App(classifier, Settings(), fetch)
    assert call(to=app, **as_json({"images": [{"url": "x"}] * 2})).status == 500
    assert "inside" in capsys.readouterr().out


def test_the_images_of_a_large_batch_are_inferred_one_by_one_and_answered_in_order(
    app, classifier, monkeypatch
):
    sizes, logits = [], type(classifier).logits

    def counted(self, batch):
        sizes.append(len(batch))
        return logits(self, batch)

    monkeypatch.setattr(type(classifier), "logits", counted)
    colours = ["red", "green", "blue", "blue", "green", "red", "green", "red", "blue"]
    images = [{"image": base64.b64encode(encoded(picture(c))).decode()} for c in colours]
    answer = app.handle({"images": images}, request_id="request-1")
    assert [result["label"] for result in answer["results"]] == colours
    assert sizes == [1] * 9
