"""Changes to an image file that keep its structure: its tags, boxes, segments or chunks."""

import random
import re
import struct
import zlib
from collections.abc import Callable

_NUMBERS = (0, 1, 2, 7, 8, 15, 16, 255, 256, 32_767, 65_535, 2**31 - 1, 2**32 - 1)
_TIFF_KINDS = (1, 2, 3, 4, 5, 7, 12, 13, 16, 17, 18, 99)
_BOXES = re.compile(
    rb"ftyp|meta|hdlr|pitm|iloc|iinf|infe|iref|dimg|auxl|iprp|ipco|ipma|ispe|pixi|av1C|hvcC|irot|"
    rb"imir|clap|colr|auxC|mdat|idat"
)
_MARKERS = re.compile(rb"\xff[\xc0-\xfe]")


def mutate_structure(data: bytes, file_format: str, chance: random.Random) -> bytes:
    """One to three changes of a file in one of `formats.NAMES`."""
    change = _CHANGES.get(file_format, _number)
    for _ in range(chance.randint(1, 3)):
        data = change(data, chance)
    return data


def _number(data: bytes, chance: random.Random, at: int | None = None) -> bytes:
    """Another number somewhere, of 1, 2 or 4 bytes."""
    size = chance.choice((1, 2, 4))
    place = chance.randrange(max(1, min(len(data), 400))) if at is None else at
    number: bytes = (chance.choice(_NUMBERS) % int(256**size)).to_bytes(size, "big")
    if chance.random() < 0.5:
        number = number[::-1]
    changed: bytes = data[:place] + number + data[place + size :]
    return changed


def _tiff(data: bytes, chance: random.Random) -> bytes:
    """Another tag, type, count or value of one entry of the first directory."""
    order = "<" if data[:2] == b"II" else ">"
    if len(data) < 16:
        return data
    start = struct.unpack_from(f"{order}I", data, 4)[0]
    if start + 14 > len(data):
        return _number(data, chance)
    count = struct.unpack_from(f"{order}H", data, start)[0]
    entry = start + 2 + 12 * chance.randrange(max(1, min(count, 40)))
    if entry + 12 > len(data):
        return data
    tag, kind, values, value = struct.unpack_from(f"{order}HHII", data, entry)
    which = chance.randrange(4)
    if which == 0:
        tag = chance.choice((256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 322, 324, 339))
    elif which == 1:
        kind = chance.choice(_TIFF_KINDS)
    elif which == 2:
        values = chance.choice(_NUMBERS)
    else:
        value = chance.choice((*_NUMBERS, 3, 4, 5, 6, 32_773, 34_676, 50_000))
    changed = struct.pack(f"{order}HHII", tag, kind, values, value)
    return data[:entry] + changed + data[entry + 12 :]


def _boxes(data: bytes, chance: random.Random) -> bytes:
    """A box of another size, kind or content, or one that is there twice or not at all."""
    found = list(_BOXES.finditer(data))
    if not found:
        return _number(data, chance)
    box = chance.choice(found)
    size = int.from_bytes(data[box.start() - 4 : box.start()], "big")
    start, end = box.start() - 4, box.start() - 4 + min(size, len(data))
    which = chance.randrange(5)
    if which == 0:
        return data[:start] + struct.pack(">I", chance.choice(_NUMBERS)) + data[start + 4 :]
    if which == 1:
        return data[: box.start()] + chance.choice(found)[0] + data[box.end() :]
    if which == 2:
        return data[:start] + data[end:]
    if which == 3:
        return data[:end] + data[start:end] + data[end:]
    return _number(
        data, chance, chance.randrange(box.end(), max(box.end() + 1, min(end, len(data))))
    )


def _jpeg(data: bytes, chance: random.Random) -> bytes:
    """A segment of another kind, length or content, or one that is there twice or not at all."""
    found = list(_MARKERS.finditer(data))
    if not found:
        return data
    marker = chance.choice(found[:20])
    start = marker.start()
    end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    which = chance.randrange(5)
    if which == 0:
        return data[: start + 1] + bytes([chance.randrange(0xC0, 0xFF)]) + data[start + 2 :]
    if which == 1:
        return data[:start] + data[end:]
    if which == 2:
        return data[:end] + data[start:end] + data[end:]
    return _number(data, chance, start + chance.randint(2, 20))


def _png(data: bytes, chance: random.Random) -> bytes:
    """A chunk of another content, with a right checksum, or one that is there twice or not."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    if not chunks:
        return data
    index = chance.randrange(len(chunks))
    kind, content = chunks[index]
    which = chance.randrange(5)
    if which == 0:
        del chunks[index]
    elif which == 1:
        chunks.insert(chance.randrange(len(chunks) + 1), (kind, content))
    elif which == 2:
        chunks[index] = (chance.choice(chunks)[0], content)
    elif content:
        changed = _number(content, chance, chance.randrange(min(len(content), 20)))
        chunks[index] = (kind, changed)
    return data[:8] + b"".join(
        struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks
    )


def _webp(data: bytes, chance: random.Random) -> bytes:
    """A chunk of another size, kind or content, or one that is there twice or not at all."""
    found = [(m.start(), m[0]) for m in re.finditer(rb"VP8[ LX]|ALPH|ANIM|ANMF|EXIF", data)]
    if not found:
        return data
    start, _ = chance.choice(found)
    size = int.from_bytes(data[start + 4 : start + 8], "little")
    end = start + 8 + size + size % 2
    which = chance.randrange(5)
    if which == 0:
        changed = data[:start] + chance.choice(found)[1] + data[start + 4 :]
    elif which == 1:
        changed = data[:start] + data[end:]
    elif which == 2:
        changed = data[:end] + data[start:end] + data[end:]
    else:
        changed = _number(data, chance, start + chance.randint(4, 30))
    return changed[:4] + struct.pack("<I", max(0, len(changed) - 8)) + changed[8:]


_CHANGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "TIFF": _tiff,
    "AVIF": _boxes,
    "HEIC": _boxes,
    "JPEG": _jpeg,
    "PNG": _png,
    "WEBP": _webp,
}
