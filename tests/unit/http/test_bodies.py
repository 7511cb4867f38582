"""What happens to an image on its way, and what the service makes of it."""

import base64
import binascii
import gzip
import json
import random
import zlib
from urllib.parse import quote, urlencode

import pytest

from serving.app import App
from serving.settings import Settings
from tests.drawn import encoded, picture
from tests.invocations import JSON, as_json

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
IMAGES = {kind: encoded(picture("red"), kind) for kind in FORMATS}
RED = IMAGES["JPEG"]
URL_ENCODED = {"content-type": "application/x-www-form-urlencoded"}
FORM = {"content-type": "multipart/form-data; boundary=XX"}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def part(headers: str, content: bytes) -> bytes:
    return f"--XX\r\nContent-Disposition: form-data; {headers}\r\n\r\n".encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--XX--\r\n"


# --- content decides before headers


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    "content_type",
    ["application/json", "text/plain", "multipart/form-data", "multipart/form-data; boundary=XX"],
)
def test_an_image_is_an_image_whatever_its_content_type(call, kind, content_type):
    answer = call(body=IMAGES[kind], headers={"content-type": content_type})
    assert answer.json["label"] == "red"


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data; boundary=XX"])
def test_bytes_that_are_no_text_are_left_to_the_decoder(call, content_type):
    heic = b"\0\0\0\x24ftypheic\0\0\0\0mif1heic" + b"\xff" * 100
    answer = call(body=heic, headers={"content-type": content_type})
    assert (answer.status, "HEIC" in answer.json["detail"]) == (422, True)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "image/jpeg", ""])
def test_json_with_a_byte_order_mark_is_json(call, encoding, content_type):
    body = json.dumps({"image": b64(RED)}).encode(encoding)
    assert call(body=body, headers={"content-type": content_type}).json["label"] == "red"


# --- base64


def wrapped(text: str, width: int, gap: str) -> str:
    return gap.join(text[i : i + width] for i in range(0, len(text), width))


SPELLINGS = {
    "spaces for plus signs": lambda data: b64(data).replace("+", " "),
    "the same without padding": lambda data: b64(data).replace("+", " ").rstrip("="),
    "lines": lambda data: base64.encodebytes(data).decode(),
    "lines of 64 with CR": lambda data: wrapped(b64(data), 64, "\r\n"),
    "indented lines": lambda data: wrapped(b64(data), 76, "\n    "),
    "spaces between groups": lambda data: wrapped(b64(data), 76, " "),
    "lines, spaces for plus signs": lambda d: wrapped(b64(d).replace("+", " "), 61, "\n"),
    "URL-safe": lambda data: base64.urlsafe_b64encode(data).decode(),
    "URL-safe without padding": lambda data: base64.urlsafe_b64encode(data).decode().rstrip("="),
    "white space around": lambda data: f"\n  {b64(data)}\n",
    "DATA:": lambda data: "DATA:IMAGE/JPEG;BASE64," + b64(data),
    "a data: URL with a charset": lambda data: "data:image/jpeg;charset=utf-8;base64," + b64(data),
    "a data: URL, encoded": lambda data: "data:image/jpeg;base64," + quote(b64(data), safe=""),
}


def noise(seed: int) -> bytes:
    return random.Random(seed).randbytes(200 + seed)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_base64_in_json_is_understood_in_every_spelling(call, spelling):
    for kind in FORMATS:
        text = SPELLINGS[spelling](IMAGES[kind])
        assert call(**as_json({"image": text})).json["label"] == "red", kind


@pytest.mark.parametrize("spelling", [name for name in SPELLINGS if "data" not in name.lower()])
def test_base64_loses_no_byte_in_any_spelling(spelling):
    from serving.http.bodies import base64_bytes

    for seed in range(60):  # all lengths, and plus signs in all places
        assert base64_bytes(SPELLINGS[spelling](noise(seed))) == noise(seed), f"seed {seed}"


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    "around", ["{}", '"{}"', "{}\n", "data:image/png;base64,{}"], ids=["", "quoted", "line", "data"]
)
@pytest.mark.parametrize("content_type", ["text/plain", "image/jpeg", "application/json"])
def test_a_body_of_base64_is_the_image(call, kind, around, content_type):
    body = around.format(b64(IMAGES[kind])).encode()
    answer = call(body=body, headers={"content-type": content_type}, as_text=True)
    assert answer.json["label"] == "red"


def test_a_body_of_damaged_base64_is_named(call):
    answer = call(body=b64(RED).encode()[:400] + b"!!!", headers={"content-type": "text/plain"})
    assert (answer.status, "in base64" in answer.json["detail"]) == (400, True)


# --- compressed requests


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(RED)),
        ("x-gzip", gzip.compress(RED)),
        ("", gzip.compress(RED)),
        ("deflate", zlib.compress(RED)),
        ("gzip", gzip.compress(json.dumps({"image": b64(RED)}).encode())),
        ("gzip", gzip.compress(form(part('name="f"; filename="a"', RED)))),
        ("gzip", RED),  # which a proxy has inflated
        ("br", RED),
        ("utf-8", RED),
    ],
)
def test_a_compressed_request_is_inflated(call, encoding, body):
    headers = {**FORM, "content-encoding": encoding}
    assert call(body=body, headers=headers).json["label"] == "red"


@pytest.mark.parametrize(
    ("encoding", "body", "status", "said"),
    [
        ("gzip", gzip.compress(bytes(4_500_001)), 413, "inflates to more than"),
        ("gzip", gzip.compress(RED)[:-9], 400, "cut short"),
        ("br", b"\x1b\x03", 415, "with br, which is not read"),
    ],
)
def test_a_request_that_cannot_be_inflated_says_why(call, encoding, body, status, said):
    answer = call(body=body, headers={"content-encoding": encoding})
    assert (answer.status, said in answer.json["detail"]) == (status, True)


# --- bytes that became text


def as_event_text(call, text: str, content_type: str = "image/jpeg"):
    body = text.encode("utf-8", "surrogatepass")
    return call(body=body, headers={"content-type": content_type})


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("content_type", ["image/jpeg", "application/json", "text/plain", ""])
def test_bytes_that_became_text_name_the_binary_media_types(call, kind, content_type):
    answer = as_event_text(call, IMAGES[kind].decode("utf-8", "replace"), content_type)
    assert answer.status == 415
    assert "binary media types" in answer.json["detail"]


def test_a_form_that_became_text_names_the_binary_media_types(call):
    body = form(part('name="f"; filename="a.jpg"', RED)).decode("utf-8", "replace").encode()
    answer = call(body=body, headers=FORM)
    assert (answer.status, "binary media types" in answer.json["detail"]) == (415, True)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("encoding", "errors"),
    [("latin-1", "strict"), ("utf-8", "surrogateescape"), ("cp1252", "browser")],
)
def test_bytes_that_were_kept_as_characters_are_restored(call, kind, encoding, errors):
    data = IMAGES[kind]
    if errors == "browser":  # the five bytes that Windows-1252 leaves out become controls
        text = "".join(bytes([b]).decode("cp1252", "ignore") or chr(b) for b in data)
    else:
        text = data.decode(encoding, errors)
    assert as_event_text(call, text).json["label"] == "red"


@pytest.mark.parametrize("text", ["Grüße \ufffd", "BMW", "GIF89a", "II*", "naïve café"])
def test_a_text_is_no_image_that_was_lost(call, text):
    answer = call(body=text.encode(), headers={"content-type": "text/plain"})
    assert answer.status in (415, 422)
    assert "binary media" not in answer.json["detail"]


def test_curls_d_is_told_what_to_use(call):
    for data in (RED, IMAGES["PNG"]):
        stripped = data.translate(None, b"\r\n\0") + b"x" * 500
        answer = call(body=stripped, headers=URL_ENCODED)
        assert (answer.status, "--data-binary" in answer.json["detail"]) == (422, True)


# --- forms


def decoded_qp(data: bytes) -> bytes:
    return binascii.b2a_qp(data, istext=False)


FILE = 'name="photo"; filename="a.jpg"'
BUTTON = part('name="submit"', b"Upload")
FORMS = {
    "filename* alone": part("name=\"photo\"; filename*=utf-8''%E5%9B%BE.jpg", RED),
    "both names": part("name=photo; filename=a.jpg; filename*=utf-8''a.jpg", RED),
    "no quotes": part("name=photo; filename=a.jpg", RED),
    "a type and no filename": part('name="photo"\r\nContent-Type: image/jpeg', RED),
    "neither type nor filename": part('name="photo"', RED),
    "no name at all": part('filename="a.jpg"', RED),
    "headers in capitals": part(f"{FILE}\r\nCONTENT-TYPE: IMAGE/JPEG", RED),
    "a length for each part": part(f"{FILE}\r\nContent-Length: {len(RED)}", RED),
    "binary": part(f"{FILE}\r\nContent-Transfer-Encoding: binary", RED),
    "base64": part(f"{FILE}\r\nContent-Transfer-Encoding: BASE64", b64(RED).encode()),
    "base64 in lines": part(
        f"{FILE}\r\nContent-Transfer-Encoding: base64", base64.encodebytes(RED)
    ),
    "base64 that is none": part(f"{FILE}\r\nContent-Transfer-Encoding: base64", RED),
    "base64 that is not said": part(FILE, b64(RED).encode()),
    "quoted-printable": part(
        f"{FILE}\r\nContent-Transfer-Encoding: quoted-printable", decoded_qp(IMAGES["BMP"])
    ),
    "an empty url and a button": part('name="url"', b"") + part(FILE, RED) + BUTTON,
    "an empty file beside a file": (
        part('name="b"; filename=""\r\nContent-Type: application/octet-stream', b"")
        + part(FILE, RED)
    ),
    "empty options": part('name="top_k"', b"") + part('name="threshold"', b" ") + part(FILE, RED),
    "a comment": part(FILE, RED) + part('name="comment"', b"BMW, 2 \xe2\x82\xac"),
    "a field with base64": part('name="image"', b64(RED).encode()),
    "a field with base64 and spaces": part('name="image"', b64(RED).replace("+", " ").encode()),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("kind", ["form-data", "mixed"])
def test_a_form_is_read_as_clients_send_it(call, name, kind):
    headers = {"content-type": f'multipart/{kind}; boundary="XX"; charset=utf-8'}
    answer = call(body=form(FORMS[name]), headers=headers)
    assert answer.json["label"] == "red"


def test_a_file_that_is_lost_is_that_items_problem(call):
    lost = RED.decode("utf-8", "replace").encode()
    body = form(part(FILE, RED), part(FILE, lost), part(FILE, b"text"))
    red, second, third = call(body=body, headers=FORM).json["results"]
    assert (red["label"], second["status"], third["status"]) == ("red", 415, 415)
    assert "binary media types" in second["detail"]


@pytest.mark.parametrize("headers", [URL_ENCODED, {"content-type": "text/plain"}, {}])
def test_url_encoded_fields_are_a_form(classifier, call, headers):
    def fetch(url, *, timeout_s):
        assert url == "https://photos.example/a b.jpg?x=1&y=2"
        return encoded(picture("green"))

    app = App(classifier, Settings(), fetch)
    url = urlencode({"url": "https://photos.example/a b.jpg?x=1&y=2", "top_k": 1, "go": ""})
    answer = call(body=url.encode(), headers=headers, to=app).json
    assert (answer["label"], len(answer["predictions"])) == ("green", 1)
    for image in (urlencode({"image": b64(RED)}), f"image={b64(RED)}"):  # plus signs as they are
        assert call(body=image.encode(), headers=headers, as_text=True).json["label"] == "red"


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [(b"comment=hello", 400, "'comment'"), (b"url=", 415, "not an image"), (b"a", 415, "bytes")],
)
def test_url_encoded_fields_without_an_image_say_so(call, body, status, said):
    answer = call(body=body, headers=URL_ENCODED)
    assert (answer.status, said in answer.json["detail"]) == (status, True)
    assert call(body=b"[]", headers=JSON).status == 400
