"""Where the HDUs of a plain FITS file lie, and what their headers say, from the file's own bytes.

cfitsio looks up some ten keywords for every column of a table before it says a word of it: 8 ms for
the 236 columns of SDSS's spAll, more than it takes to fit the spectrum. Here a header is cut into
cards once. What is not plain (gzip, a damaged file, cards that go on in the next one) is left to
cfitsio: :func:`locate` finds nothing then.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

BLOCK = 2880
"""FITS files come in blocks of so many bytes."""
CARD = 80
"""Bytes of a card."""
AT_ONCE = 12 * BLOCK
"""Bytes of a header that are read at once."""
LONGEST = 1 << 24
"""Bytes of a header beyond which it is damaged: its end is not looked for any further."""
MOST_COLUMNS = 999
"""Of a table (FITS standard 4.0, section 7.3.1)."""
WIDEST = 1 << 31
"""Bytes from which on numpy has no type for a field."""
END = b"END".ljust(CARD)
NUMBERS = {"B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
"""Codes of TFORM that numpy knows as they stand in the file (FITS standard 4.0, table 18)."""
WIDTHS = {code: int(kind[-1]) for code, kind in NUMBERS.items()}
WIDTHS |= {"A": 1, "L": 1, "C": 8, "M": 16, "P": 8, "Q": 16}
"""Bytes of one; X is a bit."""


@dataclass(frozen=True)
class Part:
    """The header of one HDU, and where its data are."""

    cards: Mapping[str, str]
    """Keyword to what stands behind it, of the first card of that name."""
    plain: bool
    """Whether cards hold all that the header says: none is of a convention beyond the standard."""
    start: int
    """First byte of its data."""
    size: int
    """Bytes of its data, without padding."""

    def number(self, key: str, default: int | None = None) -> int:
        """A whole number. KeyError where it is missing, ValueError where it is none."""
        if default is not None and key not in self.cards:
            return default
        return int(self.cards[key].split("/")[0])

    def text(self, key: str) -> str:
        """A text without trailing blanks; empty where it is missing."""
        return _quoted(self.cards.get(key, "")) or ""

    @cached_property
    def compressed(self) -> bool:
        """Whether it is a table that holds the tiles of an image."""
        return value(self.cards.get("ZIMAGE", "")) is True

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an image, compressed or not, in numpy order; (rows,) of a table."""
        if self.kind == "table":
            return (self.number("NAXIS2"),)
        axes = "ZNAXIS" if self.compressed else "NAXIS"
        return tuple(self.number(f"{axes}{i}") for i in range(self.number(axes), 0, -1))

    @property
    def kind(self) -> Literal["table", "image"]:
        """``table`` or ``image``."""
        table = self.text("XTENSION") in ("BINTABLE", "A3DTABLE", "TABLE")
        return "table" if table and not self.compressed else "image"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the columns of a table, in upper case. ValueError for an impossible number."""
        count = self.number("TFIELDS", 0) if self.kind == "table" else 0
        if not 0 <= count <= MOST_COLUMNS:
            raise ValueError(f"{count} columns")
        return tuple(self.text(f"TTYPE{i}").upper() for i in range(1, count + 1))


class Cards(Mapping[str, Any]):
    """The header of a part; a value is made of its text when asked for."""

    def __init__(self, part: Part) -> None:
        self._cards = part.cards

    def __getitem__(self, key: str) -> Any:
        return value(self._cards[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._cards)

    def __len__(self) -> int:
        return len(self._cards)


def value(text: str) -> Any:
    """What the text behind ``KEYWORD =`` means: str, bool, int, float; None where undefined."""
    text = text.strip()
    if text.startswith("'"):
        return _quoted(text)
    text = text.split("/")[0].strip()
    if text in ("T", "F"):
        return text == "T"
    for kind in (int, float):
        try:
            return kind(text if kind is int else text.upper().replace("D", "E"))
        except ValueError:
            continue
    return text or None


def _quoted(text: str) -> str | None:
    """What stands between quotes, without trailing blanks; None where there are none."""
    if text[:1] != "'":
        return None
    end = text.find("'", 1)
    while text[end : end + 2] == "''":  # a quote within
        end = text.find("'", end + 2)
    return text[1 : end if end > 0 else None].replace("''", "'").rstrip()


def locate(path: Path) -> tuple[Part, ...]:
    """All HDUs of a file; none where it is no whole and plain FITS file."""
    state = path.stat()
    return _located(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=8)
def _located(path: Path, size: int, changed: int) -> tuple[Part, ...]:
    """See :func:`locate`; kept, since a file is opened to be recognised and again to be read."""
    with path.open("rb") as raw:
        try:
            return tuple(_parts(raw, size))
        except (KeyError, ValueError):
            return ()


def _parts(raw: BinaryIO, size: int) -> Iterator[Part]:
    """The HDUs one after the other. KeyError or ValueError where something is not plain."""
    at, first = 0, b"SIMPLE  ="
    while at < size:
        text = _header(raw, at, first)
        if text is None:
            break
        part = _part(text, at + len(text))
        if len(text) % BLOCK or part.start + part.size > size:  # some writers leave out padding
            raise ValueError("truncated")
        yield part
        at = part.start + math.ceil(part.size / BLOCK) * BLOCK
        first = b"XTENSION="


def _header(raw: BinaryIO, at: int, first: bytes) -> bytes | None:
    """The blocks of the header at byte ``at``; None where there is no further HDU."""
    raw.seek(at)
    text = bytearray()
    while len(text) < LONGEST and (more := raw.read(AT_ONCE)):
        known = len(text)  # whole cards: the last one is not cut
        text += more
        if not text.startswith(first):
            if at == 0 or text.startswith(first[:-1]):
                raise ValueError("no FITS")
            return None
        end = text.find(END, known)
        while end % CARD and end > 0:
            end = text.find(END, end + 1)
        if end > 0:
            return bytes(text[: (end // BLOCK + 1) * BLOCK])
    raise ValueError("header without end")


def _part(text: bytes, start: int) -> Part:
    """One header, cut into its cards."""
    lines = text.decode("ascii")
    cards: dict[str, str] = {}
    plain = True
    for at in range(0, len(lines), CARD):
        key = lines[at : at + 8].rstrip()
        if lines[at + 8 : at + 10] == "= ":
            cards.setdefault(key, lines[at + 10 : at + CARD])
        elif key in ("CONTINUE", "HIERARCH"):
            plain = False
    part = Part(cards, plain, start, 0)
    return Part(cards, plain, start, _data_bytes(part))


def _data_bytes(part: Part) -> int:
    """Bytes of the data (FITS standard 4.0, equations 1 and 2)."""
    axes = [part.number(f"NAXIS{i}") for i in range(1, part.number("NAXIS") + 1)]
    if not axes:
        return 0
    each, count = part.number("PCOUNT", 0), part.number("GCOUNT", 1)
    if min(each, count, *axes) < 0:  # what is next would stand before this
        raise ValueError("a negative size")
    if value(part.cards.get("GROUPS", "")) is True:
        raise ValueError("random groups")
    return abs(part.number("BITPIX")) // 8 * count * (each + math.prod(axes))


class Rows:
    """The rows of a binary table, as they stand in the file."""

    def __init__(self, path: Path, part: Part) -> None:
        """Read them all. ValueError where the header does not add up."""
        self._part = part
        dtype = _row(tuple(part.text(f"TFORM{i + 1}") for i in range(len(part.names))))
        if dtype.itemsize != part.number("NAXIS1"):
            raise ValueError(f"rows of {part.number('NAXIS1')} bytes, {dtype.itemsize} expected")
        self._rows = np.fromfile(path, dtype, part.number("NAXIS2"), offset=part.start)

    def column(self, index: int) -> NDArray[Any] | None:
        """A column that is numbers or text as they stand; None for what cfitsio has to unravel.

        Whole numbers with an offset of half their range are unsigned (FITS standard 4.0, 5.2.5).
        """
        number = index + 1
        data: NDArray[Any] = self._rows[f"f{index}"]
        cards = self._part.cards
        if data.dtype.kind == "V" or f"TDIM{number}" in cards:
            return None
        scale, zero = (value(cards.get(f"{k}{number}", "")) for k in ("TSCAL", "TZERO"))
        if scale in (None, 1) and zero in (None, 0):
            return data
        top = 1 << (8 * data.dtype.itemsize - 1)
        if scale in (None, 1) and zero == top and data.dtype.kind == "i":
            unsigned = np.dtype(f"u{data.dtype.itemsize}")
            return np.asarray(
                data.astype(data.dtype.newbyteorder("=")).view(unsigned) ^ unsigned.type(top)
            )
        return None


@lru_cache(maxsize=64)
def _row(forms: tuple[str, ...]) -> np.dtype[Any]:
    """The dtype of a row, with fields f0, f1, ...; opaque bytes for what numpy has no type for."""
    fields = []
    for i, form in enumerate(forms):
        found = re.fullmatch(r"(\d*)([A-Z])(.*)", form.strip())
        if not found:
            raise ValueError(f"TFORM{i + 1} = {form!r}")
        count, code = int(found[1] or 1), found[2]
        if count >= WIDEST:
            raise ValueError(f"TFORM{i + 1} = {form!r}")
        if count and code in NUMBERS:
            kind = np.dtype((NUMBERS[code], (count,) if count > 1 else ()))
        elif count and code == "A" and not found[3]:
            kind = np.dtype(f"S{count}")
        else:
            width = math.ceil(count / 8) if code == "X" else count * WIDTHS[code]
            kind = np.dtype(f"V{width}")
        fields.append((f"f{i}", kind))
    return np.dtype(fields)
