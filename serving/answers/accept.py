"""An Accept header and the media types on offer in, the one to answer with out.

The rules are those of RFC 9110, section 12.5.1.
"""

from collections.abc import Sequence
from functools import lru_cache


@lru_cache(maxsize=32)  # a client sends the same header each time
def choose(accept: str, offered: tuple[str, ...]) -> str | None:
    """The offered media type that the client prefers; of equals, the one offered first.

    Args:
        accept: the header as received; an empty or unreadable one accepts everything.
        offered: media types without parameters, the server's preferred one first.

    Returns:
        One of `offered`, or None when the client accepts none of them.
    """
    ranges = [known for part in accept.split(",") if (known := _range(part)) is not None]
    if not ranges:
        return offered[0]
    best = max(offered, key=lambda media_type: _quality(media_type, ranges))  # first of equals
    return best if _quality(best, ranges) > 0 else None


def _range(part: str) -> tuple[str, float] | None:
    """`text/*;q=0.5` -> ("text/*", 0.5); None for anything that is not a media range."""
    media_range, *parameters = (piece.strip().lower() for piece in part.split(";"))
    if media_range.count("/") != 1:
        return None
    quality = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = min(max(float(value), 0.0), 1.0)
            except ValueError:
                return None
    return media_range, quality


def _quality(media_type: str, ranges: Sequence[tuple[str, float]]) -> float:
    """The quality that the most specific matching range gives to a media type; 0 without one."""
    kind = media_type.partition("/")[0]
    for candidate in (media_type, f"{kind}/*", "*/*"):
        for media_range, quality in ranges:
            if media_range == candidate:
                return quality
    return 0.0
