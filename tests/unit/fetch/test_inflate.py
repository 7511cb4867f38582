"""Bodies with a Content-Encoding: the honest, the mislabelled and the bombs."""

import gzip
import zlib

import pytest

from serving.errors import TooLargeError
from serving.fetch.inflate import InflateError, inflated
from tests.drawn import encoded, picture

JPEG = encoded(picture("red"))
PLAIN = {kind: encoded(picture("red"), kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP")}
PLAIN["TIFF"] = encoded(picture("red"), "TIFF")


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(JPEG, mtime=0)),
        ("GZIP", gzip.compress(JPEG, mtime=0)),
        ("x-gzip", gzip.compress(JPEG, mtime=0)),
        ("gzip", gzip.compress(JPEG[:99], mtime=0) + gzip.compress(JPEG[99:], mtime=0)),
        ("gzip", gzip.compress(JPEG, mtime=0) + bytes(512)),
        ("deflate", zlib.compress(JPEG)),
        ("deflate", raw_deflate(JPEG)),
        ("gzip, aws-chunked", gzip.compress(JPEG, mtime=0)),
        ("aws-chunked,gzip", gzip.compress(JPEG, mtime=0)),
        ("deflate, gzip", gzip.compress(zlib.compress(JPEG), mtime=0)),
    ],
)
def test_a_compressed_body_is_inflated(encoding, body):
    assert inflated(body, encoding, max_bytes=len(JPEG)) == JPEG


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize(
    "encoding", ["utf-8", "none", "binary", "aws-chunked", "image/jpeg", "", " , ", "gzip"]
)
def test_a_plain_body_passes_whatever_its_encoding_is_called(kind, encoding):
    assert inflated(PLAIN[kind], encoding, max_bytes=5) == PLAIN[kind]


@pytest.mark.parametrize("kind", PLAIN)
def test_a_plain_body_that_is_called_deflate_passes(kind):
    assert inflated(PLAIN[kind], "deflate", max_bytes=10**6) == PLAIN[kind]


@pytest.mark.parametrize(
    ("encoding", "body", "said"),
    [
        ("gzip", gzip.compress(JPEG, mtime=0)[:-20], "cut short"),
        ("gzip", gzip.compress(JPEG, mtime=0)[:10] + b"\xff" * 90, "damaged"),
        ("gzip", gzip.compress(JPEG, mtime=0)[:-8] + bytes(8), "damaged"),
        ("deflate", zlib.compress(JPEG)[:-20], "cut short"),
        ("br", b"\x1b\x03", "with br, which is not read"),
        ("zstd", b"\x28\xb5\x2f\xfd", "with zstd, which is not read"),
        ("gzip, gzip, gzip, gzip", gzip.compress(JPEG, mtime=0), "too often"),
    ],
)
def test_a_body_that_cannot_be_inflated_says_why(encoding, body, said):
    with pytest.raises(InflateError, match=said):
        inflated(body, encoding, max_bytes=10**6)


def test_the_limit_counts_bytes_after_inflating():
    for encoding, body in (
        ("gzip", gzip.compress(JPEG, mtime=0)),
        ("deflate", zlib.compress(JPEG)),
    ):
        assert inflated(body, encoding, max_bytes=len(JPEG)) == JPEG
        with pytest.raises(TooLargeError, match=f"{len(JPEG) - 1:,} bytes"):
            inflated(body, encoding, max_bytes=len(JPEG) - 1)


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(bytes(50_000_000), mtime=0),
        gzip.compress(gzip.compress(bytes(50_000_000), mtime=0)),
    ],
    ids=["once", "twice"],
)
def test_a_bomb_is_not_inflated_beyond_the_limit(body):
    with pytest.raises(TooLargeError):
        inflated(body, "gzip, gzip", max_bytes=40_000)
