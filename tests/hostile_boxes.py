"""AVIF and HEIC files that cost far more to decode than they weigh, or lie about themselves."""

import struct

from PIL import Image

from tests.drawn import encoded, picture


def avif_that_lies() -> bytes:
    """16 x 16 pixels, says its header; its frame has 4,096 x 4,096."""
    data = encoded(Image.new("RGB", (4_096, 4_096), "teal"), "AVIF", speed=10, quality=30)
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", 16, 16) + data[at + 8 :]


def heic_that_lies() -> bytes:
    data = encoded(picture(width_px=2_000, height_px=1_500), "HEIC", quality=30)
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", 16, 16) + data[at + 8 :]


def heic_that_claims_everything() -> bytes:
    data = encoded(picture(), "HEIC")
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", 65_535, 65_535) + data[at + 8 :]


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def avif_grid(count: int, file_format: str = "AVIF") -> bytes:
    """A grid whose cells all have the bytes of one picture."""
    cell_px, columns = 1_024, count
    cell = encoded(Image.new("RGB", (cell_px, cell_px), "teal"), file_format)
    parts = {kind: _whole_box(cell, kind) for kind in (b"av1C", b"hvcC") if kind in cell}
    codec = b"av01" if file_format == "AVIF" else b"hvc1"
    picture_bytes = cell[cell.index(b"mdat") + 4 :]
    ids = list(range(2, 2 + count))
    infe = b"".join(
        _box(b"infe", struct.pack(">IHH4sB", 2 << 24, i, 0, b"grid" if i == 1 else codec, 0))
        for i in [1, *ids]
    )
    sizes = [_box(b"ispe", struct.pack(">III", 0, cell_px * w, cell_px)) for w in (columns, 1)]
    pixi = _box(b"pixi", struct.pack(">IBBBB", 0, 3, 8, 8, 8))
    properties = _box(b"ipco", b"".join([*sizes, *parts.values(), pixi]))
    ipma = struct.pack(">II", 0, count + 1) + struct.pack(">HBBB", 1, 2, 1, 4)
    ipma += b"".join(struct.pack(">HBBBB", i, 3, 2, 0x83, 4) for i in ids)
    grid = struct.pack(">BBBBHH", 0, 0, 0, columns - 1, cell_px * columns, cell_px)

    def meta(data_at: int) -> bytes:
        iloc = struct.pack(">IBBH", 0, 0x44, 0, count + 1)
        iloc += struct.pack(">HHHII", 1, 0, 1, data_at, len(grid))
        for i in ids:
            iloc += struct.pack(">HHHII", i, 0, 1, data_at + len(grid), len(picture_bytes))
        dimg = _box(b"dimg", struct.pack(f">HH{count}H", 1, count, *ids))
        return _box(
            b"meta",
            struct.pack(">I", 0)
            + _box(b"hdlr", bytes(8) + b"pict" + bytes(13))
            + _box(b"pitm", struct.pack(">IH", 0, 1))
            + _box(b"iloc", iloc)
            + _box(b"iinf", struct.pack(">IH", 0, count + 1) + infe)
            + _box(b"iref", struct.pack(">I", 0) + dimg)
            + _box(b"iprp", properties + _box(b"ipma", ipma)),
        )

    brand = b"avif" if file_format == "AVIF" else b"heic"
    ftyp = _box(b"ftyp", brand + bytes(4) + b"mif1" + brand + b"miaf")
    data_at = len(ftyp) + len(meta(0)) + 8
    return ftyp + meta(data_at) + _box(b"mdat", grid + picture_bytes)


def _whole_box(data: bytes, kind: bytes) -> bytes:
    start = data.index(kind) - 4
    return data[start : start + int.from_bytes(data[start : start + 4], "big")]


def avif_of_a_grid() -> bytes:
    return avif_grid(24)


def heic_of_a_grid() -> bytes:
    return avif_grid(24, "HEIC")
