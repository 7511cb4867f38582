"""Which URLs may be fetched, before anything is resolved."""

import pytest

from serving.errors import ForbiddenUrlError, InvalidRequestError
from serving.fetch import urls
from serving.settings import Settings

SETTINGS = Settings()


def test_a_plain_url_is_taken_apart():
    target = urls.parse("HTTPS://Example.COM/a/b.jpg?size=2&x=%20#top", SETTINGS)
    assert (target.scheme, target.host, target.port) == ("https", "example.com", 443)
    assert target.path == "/a/b.jpg?size=2&x=%20"
    assert target.address is None


def test_letters_outside_ascii_in_the_path_are_percent_encoded():
    assert urls.parse("http://example.com/höse.jpg", SETTINGS).path == "/h%C3%B6se.jpg"


@pytest.mark.parametrize("around", [" ", "\n", "\r\n", "\t ", "\u00a0", "\ufeff", "\u200b"])
def test_white_space_around_a_url_is_dropped(around):
    target = urls.parse(f"{around}http://example.com/a.jpg{around}", SETTINGS)
    assert (target.url, target.path) == ("http://example.com/a.jpg", "/a.jpg")


def test_a_url_without_a_path_asks_for_the_root():
    assert urls.parse("http://example.com?q=1", SETTINGS).path == "/?q=1"


def test_an_address_in_brackets_or_dots_is_recognised():
    assert str(urls.parse("http://[2606:4700::1111]/", SETTINGS).address) == "2606:4700::1111"
    assert str(urls.parse("http://8.8.8.8/", SETTINGS).address) == "8.8.8.8"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "photo.jpg",
        "//example.com/a.jpg",
        "http:///a.jpg",
        "http:example.com",
        "http://:80/",
        "http://example.com:99999/",
        "http://example.com:eighty/",
        "http://[::1",
        "http://[example.com]/",
        "http://exa mple.com/",
        "http://example.com/a b.jpg",
        "http://example.com/a\nb.jpg",
        "http://example.com\\@127.0.0.1/",
        "http://example.com/" + "a" * 8_000,
    ],
)
def test_a_url_that_is_not_absolute_is_an_invalid_request(url):
    with pytest.raises(InvalidRequestError):
        urls.parse(url, SETTINGS)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("file:///etc/passwd", "scheme"),
        ("ftp://example.com/a.jpg", "scheme"),
        ("gopher://example.com/", "scheme"),
        ("data:image/png;base64,AAAA", "scheme"),
        ("http://user:secret@example.com/", "credentials"),
        ("http://@example.com/", "credentials"),
        ("http://example.com:22/", "port"),
        ("http://example.com:0/", "port"),
        ("http://2130706433/", "unusual spelling"),
        ("http://0x7f000001/", "unusual spelling"),
        ("http://0x7f.1/", "unusual spelling"),
        ("http://017700000001/", "unusual spelling"),
        ("http://0177.0.0.1/", "unusual spelling"),
        ("http://127.1/", "unusual spelling"),
        ("http://127.0.0.1./", "unusual spelling"),
        ("http://127.0.0.01/", "unusual spelling"),
        ("http://１２７.０.０.１/", "ASCII"),
        ("http://①②⑦.⓪.⓪.①/", "ASCII"),
        ("http://localhost./", "plain DNS name"),
        ("http://%31%32%37.0.0.a/", "plain DNS name"),
        ("http://-example.com/", "plain DNS name"),
        ("http://exa$mple.com/", "plain DNS name"),
        ("http://a..com/", "plain DNS name"),
        ("http://" + "a" * 64 + ".com/", "plain DNS name"),
        ("http://[fe80::1%25eth0]/", "interface"),
    ],
)
def test_what_must_not_be_fetched_is_forbidden_and_says_why(url, said):
    with pytest.raises(ForbiddenUrlError, match=said):
        urls.parse(url, SETTINGS)


def test_brackets_hold_an_ipv6_address_and_never_a_name():
    with pytest.raises(InvalidRequestError, match="not an IPv6 address"):
        urls.parse("http://[v1.localhost]/", SETTINGS)


def test_no_port_list_means_any_port():
    assert urls.parse("http://example.com:8080/", Settings(fetch_ports=frozenset())).port == 8080


def test_only_the_allowed_hosts_are_accepted():
    settings = Settings(fetch_allowed_hosts=frozenset({"photos.example"}))
    assert urls.parse("http://PHOTOS.example/a", settings).host == "photos.example"
    with pytest.raises(ForbiddenUrlError, match="host"):
        urls.parse("http://evil.photos.example/a", settings)


def test_a_lone_surrogate_is_not_a_url():
    with pytest.raises(InvalidRequestError):
        urls.parse("http://example.com/\ud800", SETTINGS)
