"""Any JSON or bytes, in any event, get a valid answer with a status below 500."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.app import App
from serving.errors import ForbiddenUrlError, RemoteFailedError
from serving.fetch.fetcher import Fetcher
from serving.settings import Settings
from tests.invocations import HTTP_KINDS, answer, event

NAMES = "url image s3 images top_k threshold explain body headers picture".split()
CONTEXT = ["requestContext", "http", "method", "rawPath", "path", "httpMethod", "isBase64Encoded"]
# Every character, also the halves of pairs that JSON can hold and UTF-8 cannot.
ODD = st.sampled_from(["\ud800", "\udfff", "\0", "\r", "\n", "%", "\u202e"])
TEXT = st.lists(st.one_of(st.characters(), ODD), max_size=20).map("".join)
URLS = st.one_of(
    TEXT,
    st.builds("http://{}/{}".format, TEXT, TEXT),
    st.builds("http://photos.example/{}".format, TEXT),
    st.builds("s3://bucket/{}".format, TEXT),
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), URLS, st.just("eA=="))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
        st.dictionaries(TEXT, inner, max_size=2),
    ),
    max_leaves=8,
)
OBJECTS = st.one_of(
    st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=3),
    *(st.fixed_dictionaries({name: URLS}) for name in ("url", "image", "s3")),
    st.fixed_dictionaries({"image": st.just("eA=="), "top_k": SCALARS, "threshold": SCALARS}),
    st.fixed_dictionaries({"images": st.lists(st.one_of(VALUES, st.builds(dict, url=URLS)))}),
)
MANY = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def resolve(host, port):
    raise OSError("no name server in this test")


def fetch_s3(url, *, timeout_s):
    raise RemoteFailedError("no S3 in this test")


@pytest.fixture(scope="module")
def app(classifier):
    return App(classifier, Settings(), Fetcher(Settings(), resolve=resolve), fetch_s3)


@MANY
@given(st.one_of(OBJECTS, VALUES))
def test_any_direct_event_is_answered(app, value):
    answered = app.handle(value, "request-1")
    json.dumps(answered, ensure_ascii=False).encode()
    assert answered.get("status", 200) in {200, 400, 403, 404, 405, 413, 415, 422, 502}


@MANY
@given(st.dictionaries(st.sampled_from(CONTEXT + NAMES), VALUES, max_size=5))
def test_any_event_of_any_shape_is_answered(app, value):
    json.dumps(app.handle(value, "request-1"), ensure_ascii=False).encode()


@MANY
@given(st.sampled_from(HTTP_KINDS), st.one_of(OBJECTS, VALUES))
def test_any_json_body_is_answered(app, kind, value):
    made = event(kind, body=json.dumps(value).encode(), headers={"content-type": "a/json"})
    answered = answer(made, app.handle(made, "request-1"))
    answered.body.encode()
    assert answered.status in {200, 400, 403, 413, 415, 422, 502}


MEDIA_TYPES = st.sampled_from(["", "a/json", "multipart/form-data; boundary=X"])
FORMS = TEXT.map("multipart/form-data; {}".format)


@MANY
@given(st.binary(max_size=300), MEDIA_TYPES | FORMS)
def test_any_bytes_are_answered(app, body, content_type):
    starts = (b"", b"--X\r\n", b"{", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM")
    for start in starts:
        made = event("alb", body=start + body, headers={"content-type": content_type})
        answered = answer(made, app.handle(made, "request-1"))
        assert answered.status in {200, 400, 413, 415, 422}


@MANY
@given(st.sampled_from(HTTP_KINDS), TEXT, TEXT, TEXT, TEXT)
def test_any_request_line_and_header_is_answered(app, kind, method, path, query, header):
    made = event(kind, method, "/" + path, headers={"accept": header, "origin": header})
    if "rawQueryString" in made:
        made["rawQueryString"] = query
    answered = answer(made, app.handle(made, "request-1"))
    answered.body.encode()
    assert answered.status in {200, 204, 400, 404, 405, 406}


def test_the_url_guard_is_the_one_that_is_used(app):
    with pytest.raises(ForbiddenUrlError):
        app._predictor._load._fetch_url("http://127.0.0.1/", timeout_s=1)
