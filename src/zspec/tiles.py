"""Images that are compressed row by row with gzip (FITS standard 4.0, section 10).

cfitsio takes three times as long for them and, where a tile is damaged, may never come back; here
zlib says what is wrong. Other algorithms, and pixels that were quantized or scaled, are left to it.
"""

from __future__ import annotations

import gzip
import math
import mmap
import re
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zspec import headers
from zspec.damage import brief
from zspec.headers import Part

KINDS = {8: "u1", 16: ">i2", 32: ">i4", -32: ">f4", -64: ">f8"}
"""numpy's types, by ZBITPIX."""
AT_ONCE = 1 << 20
"""Bytes of a gzipped file that are unpacked at once."""
SCALED = {"BSCALE", "BZERO", "BLANK", "ZBLANK", "ZMASKCMP", "THEAP"}
"""Cards of pixels that are not as they stand in the tiles, or of a heap that is elsewhere."""


def are_plain(part: Part) -> bool:
    """Whether a part holds an image that :func:`read` can read."""
    try:
        return _are_plain(part)
    except (KeyError, ValueError):
        return False


def _are_plain(part: Part) -> bool:
    *others, last = (part.number(f"ZTILE{i}") for i in range(part.number("ZNAXIS"), 0, -1))
    return (
        part.compressed
        and len(part.shape) > 1  # one axis is cut into tiles of several values
        and part.text("ZCMPTYPE") in ("GZIP_1", "GZIP_2")
        and part.number("ZBITPIX") in KINDS
        and not SCALED & set(part.cards)
        and part.number("TFIELDS") == 1
        and re.match(r"1?[PQ]B", part.text("TFORM1")) is not None
        and last == part.shape[-1]
        and set(others) <= {1}
        and part.number("NAXIS2") == math.prod(part.shape[:-1])
        and part.number("NAXIS1") == (16 if "Q" in part.text("TFORM1") else 8)
    )


NO_SIZE = re.compile(rb"(ZTILE|ZNAXIS)\d+ *= +(0+|-\d+) ")


def check(path: Path) -> None:
    """Raise ValueError where cfitsio would divide by zero, and end the process: by a size of 0.

    Of a file whose headers cannot be cut into cards all bytes are looked at, of a gzipped one
    those that it holds. ValueError too where they cannot be unpacked.
    """
    parts = headers.locate(path)
    if parts:
        cards = [
            (key, text) for part in parts if part.compressed for key, text in part.cards.items()
        ]
        found = next((k for k, v in cards if NO_SIZE.match(f"{k}= {v} ".encode())), "")
    else:
        state = path.stat()
        found = _searched(path, state.st_size, state.st_mtime_ns)
    if found:
        raise ValueError(f"a compressed image without pixels: {found.split('=')[0].strip()}")


@lru_cache(maxsize=8)
def _searched(path: Path, size: int, changed: int) -> str:
    """The first card of no size; kept, since a file is opened to be recognised and to be read."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
        match = _search_unpacked(path) if raw[:2] == b"\x1f\x8b" else NO_SIZE.search(raw)
        return match[0].decode() if match else ""


def _search_unpacked(path: Path) -> re.Match[bytes] | None:
    """The first card of no size in a gzipped file, which is never unpacked as a whole."""
    kept = b""
    try:
        with gzip.open(path) as unpacked:
            while block := unpacked.read(AT_ONCE):
                kept += block
                if b"ZTILE" in kept or b"ZNAXIS" in kept:  # much faster than the expression
                    match = NO_SIZE.search(kept)
                    if match:
                        return match
                kept = kept[-headers.CARD :]
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(brief(error)) from None
    return None


def read(path: Path, part: Part, rows: slice) -> NDArray[Any]:
    """Some of the first axis of an image, in native byte order.

    Raises ValueError where a tile is damaged.
    """
    start, stop, _ = rows.indices(part.shape[0])
    each = math.prod(part.shape[1:-1])
    kind = np.dtype(KINDS[part.number("ZBITPIX")])
    size = part.shape[-1] * kind.itemsize
    count = max(stop - start, 0)
    packed = _packed(path, part, start * each, count * each)
    raw = np.frombuffer(b"".join(_unpack(tile, size) for tile in packed), np.uint8)
    raw = raw.reshape(count * each, size)
    if part.text("ZCMPTYPE") == "GZIP_2":  # all first bytes come first, then all second ones
        raw = raw.reshape(len(raw), kind.itemsize, part.shape[-1]).transpose(0, 2, 1)
    data = np.ascontiguousarray(raw).reshape(-1).view(kind)
    shaped = data.reshape(count, *part.shape[1:])
    return shaped.astype(kind.newbyteorder("="), copy=False)


def _packed(path: Path, part: Part, first: int, count: int) -> list[bytes]:
    """The bytes of some tiles. Raises ValueError where they lie outside of the heap."""
    width, heap = part.number("NAXIS1"), part.number("PCOUNT")
    at = part.start + width * part.number("NAXIS2")
    described = np.fromfile(path, f">i{width // 2}", 2 * count, offset=part.start + first * width)
    lengths, places = described.reshape(-1, 2).astype(np.int64).T
    ends = places + lengths
    if count and (min(lengths.min(), places.min()) < 0 or ends.max() > heap):
        raise ValueError("a tile lies outside of the data")
    if not count:
        return []
    low = int(places.min())
    with path.open("rb") as file:
        file.seek(at + low)
        raw = file.read(int(ends.max()) - low)
    return [raw[a - low : b - low] for a, b in zip(places, ends, strict=True)]


def _unpack(tile: bytes, size: int) -> bytes:
    """The bytes of a tile, whose own checksum is held. Raises ValueError where it is damaged."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        raw = unpacker.decompress(tile, size + 1)
    except zlib.error as error:
        raise ValueError(f"a tile is damaged: {error}") from None
    if len(raw) != size or not unpacker.eof:
        raise ValueError(f"a tile holds {len(raw)} bytes, {size} expected")
    return raw
