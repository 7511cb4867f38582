"""Who may ask the review's server for what; and photos that come from S3."""

import http.client
import json
from urllib.parse import urlsplit

import boto3
import pytest
from moto import mock_aws

from local.errors import ReviewError
from local.review.source import Bucket
from tests.drawn import encoded, picture
from tests.photo_folder import write_photo
from tests.reviewing import reviewing


@pytest.fixture
def server(tmp_path):
    for label in ("blue", "red"):
        write_photo(tmp_path / "data" / label / "0.jpg", label, width_px=8, height_px=8)
    write_photo(tmp_path / "unsure" / "0.jpg", width_px=8, height_px=8)
    with reviewing(tmp_path / "unsure", tmp_path / "data") as started:
        yield started


def ask(server, path, body=None, method="", **headers):
    """Status, headers and body, asked as the page asks unless `headers` say otherwise."""
    place = urlsplit(server.url)
    sent = {"host": place.netloc}
    if body is not None:
        sent |= {"origin": f"http://{place.netloc}", "content-type": "application/json"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=10)
    connection.putrequest(method or ("GET" if body is None else "POST"), path, skip_host=True)
    for name, value in (sent | {"content-length": str(len(body or b""))}).items():
        connection.putheader(name, value)
    connection.endheaders(body)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, response.headers, content


def secret(server) -> str:
    return str(urlsplit(server.url).path)


def decision(server, label="red") -> bytes:
    state = json.loads(ask(server, secret(server) + "state")[2])
    return json.dumps({"photo": state["photo"]["id"], "label": label}).encode()


def test_the_page_lets_only_its_own_code_and_photos_in(server):
    status, headers, body = ask(server, secret(server))
    assert status == 200
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert b"http" not in body
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"


def test_a_decision_from_the_page_is_taken(server):
    status, _, body = ask(server, secret(server) + "decide", decision(server))
    assert (status, json.loads(body)["done"]) == (200, 1)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://127.0.0.1:1"},
        {"host": "evil.example"},
        {"host": "127.0.0.1.evil.example:80"},
        {"host": ""},
        {"content_type": "text/plain"},
        {"content_type": "application/x-www-form-urlencoded"},
    ],
)
def test_a_decision_from_elsewhere_is_refused(headers, server):
    status, _, _ = ask(server, secret(server) + "decide", decision(server), **headers)
    assert status in (403, 415)
    assert json.loads(ask(server, secret(server) + "state")[2])["done"] == 0


@pytest.mark.parametrize("path", ["/", "/state", "/x/state", "/photo/x", "//", "/../state"])
def test_without_the_secret_there_is_nothing(path, server):
    status, _, body = ask(server, path)
    assert status == 404
    assert b"address" in body


@pytest.mark.parametrize(
    "path", ["../../../etc/passwd", "photo/../../data/red/0.jpg", "photo/0.jpg", "page.html"]
)
def test_no_path_leads_to_a_file(path, server):
    status, _, body = ask(server, secret(server) + path)
    assert status in (404, 409)
    assert json.loads(body).keys() == {"message"}


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b'"x"', b"{}", b'{"photo": 1, "label": "red"}', b"[" * 9_000),
        b'{"photo": "x", "label": 3}',
    ],
)
def test_a_malformed_decision_is_a_400(body, server):
    assert ask(server, secret(server) + "decide", body)[0] == 400


def test_a_refused_label_is_told_in_words(server):
    status, _, body = ask(server, secret(server) + "decide", decision(server, "../out"))
    assert status == 422
    assert "cannot be called" in json.loads(body)["message"]


def test_it_listens_on_loopback_only(server):
    assert server.server_address[0] == "127.0.0.1"


@pytest.fixture
def s3(monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="kept-photos")
        yield client


def test_photos_of_a_bucket_come_with_their_answers(s3):
    for key, body in {
        "unsure/2026-11-30/b.jpg": encoded(picture()),
        "unsure/2026-11-30/b.json": b'{"label": "red"}',
        "unsure/2026-11-29/a.png": b"x",
        "unsure/notes.txt": b"no photo",
        "unsure2/c.jpg": b"of another prefix",
    }.items():
        s3.put_object(Bucket="kept-photos", Key=key, Body=body)
    source = Bucket("s3://kept-photos/unsure")
    assert source.names() == ["2026-11-29/a.png", "2026-11-30/b.jpg"]
    assert source.read("2026-11-30/b.jpg") == encoded(picture())
    assert source.answer("2026-11-30/b.jpg") == {"label": "red"}
    assert source.answer("2026-11-29/a.png") == {}


def test_a_bucket_that_cannot_be_read_is_named(s3):
    with pytest.raises(ReviewError, match=r"s3://none/.*NoSuchBucket.*s3:ListBucket"):
        Bucket("s3://none/x").names()
