"""A sample of the table of every event with every input, through AWS's runtime emulator.

The whole table goes through the handler (tests/integration/test_inputs.py). Here each kind of input
passes real HTTP, the gateway, the emulator and the runtime's own client; and each kind of event
passes the last two. Every row names the one status that it takes, so none of them is a 500.
"""

import base64
import json

import pytest

from tests import invocations
from tests.client import send
from tests.drawn import encoded, picture
from tests.invocations import HTTP_KINDS

RED, BLUE = encoded(picture("red")), encoded(picture("blue"), "PNG")
GREEN = encoded(picture("green"), "WEBP")
JSON, FORM = "application/json", "multipart/form-data; boundary=XX"


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def in_json(**fields) -> bytes:
    return json.dumps(fields).encode()


def form(*files: bytes) -> bytes:
    head = b'--XX\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    return b"".join(head + file + b"\r\n" for file in files) + b"--XX--\r\n"


def mobile(*parts: tuple[str, bytes]) -> bytes:
    """A form as a phone's HTTP client builds it: a length and a type in each part."""
    lines = [
        f"--XX\r\n{head}\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data + b"\r\n"
        for head, data in parts
    ]
    return b"".join(lines) + b"--XX--\r\n"


NAMED = 'Content-Disposition: form-data; name="photo"'
TEXT = "Content-Transfer-Encoding: 8bit\r\nContent-Type: text/plain; charset=UTF-8"
OTHER_FORMS = {
    "Android, a file and a text": mobile(
        (f'{NAMED}; filename="IMG_1.jpg"\r\nContent-Type: image/*', RED),
        (f'Content-Disposition: form-data; name="top_k"\r\n{TEXT}', b"2"),
        (f'Content-Disposition: form-data; name="note"\r\n{TEXT}', "für dich".encode()),
    ),
    "Android, a body without a filename": mobile((f"{NAMED}\r\nContent-Type: image/jpeg", RED)),
    "iOS, a name outside ASCII": mobile(
        (f"{NAMED}; filename*=UTF-8''%E5%9B%BE.jpg\r\nContent-Type: image/jpeg", RED)
    ),
    "base64 in a part": mobile(
        (
            f'{NAMED}; filename="a.jpg"\r\nContent-Transfer-Encoding: base64',
            base64.encodebytes(RED),
        )
    ),
    "a browser's empty fields": mobile(
        ('Content-Disposition: form-data; name="url"', b""),
        ('Content-Disposition: form-data; name="b"; filename=""', b""),
        (f'{NAMED}; filename="a.jpg"\r\nContent-Type: image/jpeg', RED),
        ('Content-Disposition: form-data; name="submit"', b"Upload"),
    ),
}


@pytest.mark.parametrize("name", OTHER_FORMS)
def test_a_form_of_another_client_is_answered_over_http(tiny, name):
    answer = send(f"{tiny.url}/predict", "POST", OTHER_FORMS[name], content_type=FORM)
    assert outcome(answer.json()) == "red"


def outcome(value):
    """What an answer comes down to: its label, or its status, or those of its items."""
    if "results" in value:
        return [outcome(result) for result in value["results"]]
    return value.get("label", value.get("status"))


BATCH = in_json(
    images=[
        {"image": base64_of(RED)},
        {"image": "!"},
        {"image": base64_of(b"no image")},
        {"url": "http://127.0.0.1/"},
        {"image": base64_of(GREEN)},
    ]
)

# body, Content-Type -> what comes out
BODIES = {
    "a JPEG": (RED, "image/jpeg", "red"),
    "a PNG": (BLUE, "image/png", "blue"),
    "a WebP": (GREEN, "image/webp", "green"),
    "a PNG that is said to be a JPEG": (BLUE, "image/jpeg", "blue"),
    "a form of one file": (form(RED), FORM, "red"),
    "a form of two files": (form(RED, BLUE), FORM, ["red", "blue"]),
    "a form with a bad file": (form(RED, b"text"), FORM, ["red", 415]),
    "base64": (in_json(image=base64_of(RED)), JSON, "red"),
    "a JPEG that is said to be JSON": (RED, JSON, "red"),
    "base64 as text": (base64_of(RED).encode(), "text/plain", "red"),
    "JSON with a byte-order mark": (b"\xef\xbb\xbf" + in_json(image=base64_of(RED)), JSON, "red"),
    "a text that was an image": (RED.decode("utf-8", "replace").encode(), "text/plain", 415),
    "a data URL": (in_json(image="data:image/webp;base64," + base64_of(GREEN)), JSON, "green"),
    "a batch with bad items": (BATCH, JSON, ["red", 400, 415, 403, "green"]),
    "an empty body": (b"", "image/jpeg", 400),
    "broken JSON": (b'{"image": ', JSON, 400),
    "JSON that is not UTF-8": (b'{"image": "\xff"}', JSON, 400),
    "an unknown field": (in_json(picture="x"), JSON, 400),
    "two references": (in_json(image=base64_of(RED), url="https://x.example/"), JSON, 400),
    "a form cut short": (form(RED)[:-20], FORM, 400),
    "a form without boundary": (form(RED), "multipart/form-data", 400),
    "a bad option": (in_json(image=base64_of(RED), top_k="many"), JSON, 400),
    "a refused URL": (in_json(url="http://127.0.0.1/"), JSON, 403),
    "a refused URL with a port": (in_json(url="https://[::1]:9001/2018-06-01/"), JSON, 403),
    "a batch too large": (in_json(images=[{"image": "eA=="}] * 17), JSON, 413),
    "a body too large": (bytes(4_600_000), "image/jpeg", 413),
    "a text": (b"dear photo", "text/plain", 415),
    "a PDF": (b"%PDF-1.7\n", "application/pdf", 415),
    "a truncated PNG": (BLUE[: len(BLUE) // 2], "image/png", 422),
    "a truncated WebP": (GREEN[: len(GREEN) // 2], "image/webp", 422),
}


@pytest.mark.parametrize("name", BODIES)
def test_an_input_is_answered_over_http(tiny, name):
    body, content_type, wanted = BODIES[name]
    answer = send(f"{tiny.url}/predict", "POST", body, content_type=content_type)
    assert outcome(answer.json()) == wanted
    assert answer.status == (wanted if isinstance(wanted, int) else 200)


@pytest.mark.parametrize("name", ["base64", "a batch with bad items", "a form of two files"])
@pytest.mark.parametrize("kind", HTTP_KINDS)
def test_each_kind_of_event_is_answered_by_the_emulator(tiny, kind, name):
    body, content_type, wanted = BODIES[name]
    event = invocations.event(kind, body=body, headers={"content-type": content_type})
    result = json.loads(tiny.backend.invoke(json.dumps(event).encode()))
    assert outcome(invocations.answer(event, result).json) == wanted


@pytest.mark.parametrize("name", ["a data URL", "a batch with bad items", "a refused URL"])
def test_a_direct_invocation_is_answered_by_the_emulator(tiny, name):
    event, _, wanted = BODIES[name]
    assert outcome(json.loads(tiny.backend.invoke(event))) == wanted


@pytest.mark.parametrize("body", [b"null", b"[1]", b"7", b'"x"', b"{}"])
def test_an_event_of_no_kind_is_a_mistake_not_a_failure(tiny, body):
    assert json.loads(tiny.backend.invoke(body))["status"] == 400


def test_top_k_and_threshold_reach_the_answer_from_the_query(tiny):
    answer = send(f"{tiny.url}/predict?top_k=2&threshold=1", "POST", RED).json()
    assert answer["predictions"][0]["label"] == "red"
    assert (len(answer["predictions"]), answer["unsure"]) == (2, True)


def test_top_k_and_threshold_reach_the_answer_from_the_body(tiny):
    body = in_json(image=base64_of(RED), top_k=1, threshold=0)
    answer = send(f"{tiny.url}/predict", "POST", body, content_type=JSON).json()
    assert (len(answer["predictions"]), answer["unsure"]) == (1, False)


@pytest.mark.parametrize("query", ["top_k=0", "top_k=1000", "top_k=x", "threshold=2"])
def test_an_option_out_of_range_is_a_400(tiny, query):
    assert send(f"{tiny.url}/predict?{query}", "POST", RED).status == 400


def test_a_person_at_a_terminal_gets_text(tiny):
    answer = send(f"{tiny.url}/predict", "POST", RED, accept="text/plain")
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.body.decode().startswith("red")


def test_a_mistake_is_answered_in_text_when_preferred(tiny):
    answer = send(f"{tiny.url}/predict", "POST", b"hello", accept="text/plain")
    assert answer.body.decode().startswith("415 ")
    assert answer.status == 415


@pytest.mark.parametrize("accept", ["*/*", "application/*", "text/html, */*;q=0.1"])
def test_clients_that_accept_anything_get_json(tiny, accept):
    answer = send(f"{tiny.url}/predict", "POST", RED, accept=accept)
    assert (answer.headers["content-type"], answer.json()["label"]) == (JSON, "red")


def test_a_media_type_that_is_not_offered_is_a_406(tiny):
    answer = send(f"{tiny.url}/predict", "POST", RED, accept="image/png")
    assert (answer.status, answer.json()["code"]) == (406, "not_acceptable")


@pytest.mark.parametrize(
    ("path", "media_type"),
    [("/", "text/html"), ("/health", JSON), ("/model", JSON), ("/openapi.json", JSON)],
)
def test_each_route_answers_get_and_head_alike(tiny, path, media_type):
    got, head = send(f"{tiny.url}{path}"), send(f"{tiny.url}{path}", "HEAD")
    assert (got.status, head.status) == (200, 200)
    assert got.headers["content-type"].startswith(media_type)
    assert head.headers["content-type"] == got.headers["content-type"]
    assert (bool(got.body), head.body) == (True, b"")


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("OPTIONS", "/predict", 204, "POST, OPTIONS"),
        ("OPTIONS", "/health", 204, "GET, HEAD, OPTIONS"),
        ("GET", "/predict", 405, "POST, OPTIONS"),
        ("HEAD", "/predict", 405, "POST, OPTIONS"),
        ("DELETE", "/model", 405, "GET, HEAD, OPTIONS"),
        ("PUT", "/", 405, "GET, HEAD, OPTIONS"),
        ("PATCH", "/openapi.json", 405, "GET, HEAD, OPTIONS"),
        ("GET", "/nowhere", 404, None),
        ("POST", "/predict/", 404, None),
        ("OPTIONS", "/nowhere", 404, None),
    ],
)
def test_a_method_is_answered_as_http_says(tiny, method, path, status, allow):
    answer = send(f"{tiny.url}{path}", method)
    assert (answer.status, answer.headers.get("allow")) == (status, allow)
