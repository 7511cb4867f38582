"""Which media type an Accept header asks for."""

import pytest

from serving.answers.accept import choose

JSON, TEXT = "application/json", "text/plain"


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/json", JSON),
        ("text/plain", TEXT),
        ("TEXT/Plain ; q=0.9", TEXT),
        ("text/*", TEXT),
        ("text/plain, application/json", JSON),
        ("application/json;q=0.5, text/plain", TEXT),
        ("text/plain;q=0.5, */*", JSON),
        ("application/json;q=0, */*", TEXT),
        ("text/html, application/xhtml+xml, */*;q=0.8", JSON),
        ("image/png", None),
        ("application/json;q=0, text/plain;q=0", None),
        ("*/*;q=0", None),
        ("nonsense", JSON),
        ("application/json;q=often", JSON),
    ],
)
def test_the_client_gets_the_offered_type_that_it_prefers(accept, chosen):
    assert choose(accept, (JSON, TEXT)) == chosen
