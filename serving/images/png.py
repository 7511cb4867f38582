"""A PNG in, the same PNG with only what its pixels need out.

Texts, profiles and the rest are never inflated, checked or counted: they say nothing about the
pixels. Pillow would inflate them while it opens the file.
"""

import struct

from serving.errors import CostlyImageError

_SIGNATURE_BYTES = 8
# PNG specification, third edition, 5.6: the ancillary chunks that pixels, their transparency and
# their orientation need. Critical chunks, whose name begins with a capital letter, are all kept.
_NEEDED = frozenset({b"tRNS", b"eXIf", b"acTL", b"fcTL"})
_FRAMES = frozenset({b"fcTL", b"fdAT"})
_END = struct.pack(">I4sI", 0, b"IEND", 0xAE426082)

# Chunks are walked through in Python. A PNG has an IDAT chunk for every 8 kB (libpng's default).
_MAX_NEEDED_CHUNKS = 1_000
_MAX_CHUNKS = 20_000
_BYTES_PER_FURTHER_CHUNK = 2_048


def pixels_only(data: bytes) -> bytes:
    """The file up to the end of its first picture, without chunks that the picture does not need.

    A file that is cut short or damaged stays so, for Pillow to find.

    Raises:
        CostlyImageError: it has far too many chunks.
    """
    kept, pictured = [], False
    start = position = _SIGNATURE_BYTES
    further = len(data) // _BYTES_PER_FURTHER_CHUNK
    needed_left, chunks_left = _MAX_NEEDED_CHUNKS + further, _MAX_CHUNKS + further
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        following = position + 12 + length
        if kind == b"IEND":
            break
        chunks_left -= 1
        pictured = pictured or kind == b"IDAT"
        is_critical = kind[:1].isupper()
        if (is_critical or kind in _NEEDED) and not (pictured and kind in _FRAMES):
            needed_left -= 1
        else:
            kept.append(data[start:position])
            start = following
        if min(needed_left, chunks_left) < 0:
            raise CostlyImageError.built("PNG")
        position = following
    if not kept:
        return data
    return b"".join((data[:_SIGNATURE_BYTES], *kept, data[start:]))
