"""FITS tables that are written part by part: memory does not grow with the number of rows.

A table's layout and its number of rows are known before; its rows come in parts, each a structured
array of just that layout. The file is written beside its final name, with CHECKSUM and DATASUM that
carry no time, and then renamed.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from zspec import checksums, leftovers
from zspec.errors import OutputError
from zspec.headers import BLOCK

NARROW = 1 << 31
"""Bytes of a heap beyond which descriptors take 64 bits (FITS standard 4.0, 7.3.5)."""


@dataclass(frozen=True)
class Streamed:
    """One table. A column of objects holds an array of float32, of any length, in each row."""

    name: str
    dtype: np.dtype[Any]
    """Of a row: numbers, bool, text as S, or O."""
    rows: int
    parts: Callable[[], Iterable[NDArray[Any]]]
    """Gives the rows, in order, as structured arrays of ``dtype``."""
    cards: Sequence[tuple[str, Any]] = ()
    """What its header says besides its layout."""
    longest: int = 0
    """Most values in one array of any length."""
    values: int = 0
    """All values of arrays of any length."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return self.dtype.names or ()

    @property
    def wide(self) -> bool:
        """Whether descriptors need 64 bits."""
        return 4 * self.values >= NARROW


def write(path: Path, primary: fits.PrimaryHDU, tables: Sequence[Streamed], beside: Path) -> None:
    """Write a file at ``beside``, of the same file system, and rename it to ``path``.

    Raises OutputError where that fails; nothing is left then.
    """
    try:
        with leftovers.writing(beside) as out:
            _finish(out, 0, primary.header, checksums.Sum())
            for table in tables:
                _write_table(out, table)
            _sync(out)
            if path.name.endswith(".gz"):
                _compress(beside, path)
            else:
                os.replace(beside, path)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}); choose another place with -o"
        ) from None


def _sync(out: IO[bytes]) -> None:
    """See that a file is on its disk before it is renamed."""
    out.flush()
    os.fsync(out.fileno())


def _compress(plain: Path, path: Path) -> None:
    """Write a file in gzip at ``path``, without name and time."""
    with leftovers.writing(plain.with_name(f"{plain.name}.gz")) as raw:
        with (
            plain.open("rb") as source,
            gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
        ):
            shutil.copyfileobj(source, packed)
        _sync(raw)
        os.replace(raw.name, path)


def _write_table(out: IO[bytes], table: Streamed) -> None:
    """Header, rows, heap and padding; then the header again, with its sums."""
    start = out.tell()
    header = _header(table)
    out.write(_bytes_of(header))
    total, written = checksums.Sum(), 0
    with tempfile.TemporaryFile(dir=Path(out.name).parent) as heap:
        for piece in _pieces(table, heap):
            total.add(piece)
            written += out.write(piece)
    if written != header["NAXIS1"] * table.rows + header["PCOUNT"]:
        raise ValueError(f"{table.name}: the parts are not {table.rows} rows")
    out.write(b"\0" * (-written % BLOCK))
    end = out.tell()
    _finish(out, start, header, total)
    out.seek(end)


def _pieces(table: Streamed, heap: IO[bytes]) -> Iterator[bytes]:
    """The bytes of all rows, then those of the heap, which waits in a file meanwhile."""
    for part in table.parts():
        yield _encode(part, table, heap)
    heap.seek(0)
    while block := heap.read(1 << 20):
        yield block


def _header(table: Streamed) -> fits.Header:
    """Header of the whole table, with room for its sums.

    astropy would make the same of an empty table, in fifty times the time.
    """
    long = [name for name in table.names if table.dtype[name].kind == "O"]
    width = sum(table.dtype[name].itemsize for name in table.names if name not in long)
    cards: list[tuple[Any, ...]] = [
        ("XTENSION", "BINTABLE", "binary table extension"),
        ("BITPIX", 8, "array data type"),
        ("NAXIS", 2, "number of array dimensions"),
        ("NAXIS1", width + len(long) * (16 if table.wide else 8), "length of dimension 1"),
        ("NAXIS2", table.rows, "length of dimension 2"),
        ("PCOUNT", 4 * table.values, "number of group parameters"),
        ("GCOUNT", 1, "number of groups"),
        ("TFIELDS", len(table.names), "number of table fields"),
    ]
    for number, name in enumerate(table.names, start=1):
        cards.append((f"TTYPE{number}", name))
        cards += [(f"{key}{number}", value) for key, value in _format(table, name)]
    cards.append(("EXTNAME", table.name, "extension name"))
    return fits.Header([*cards, *table.cards])


CODES = {"b1": "L", "u1": "B", "f4": "E", "f8": "D", "c8": "C", "c16": "M"}
CODES |= {f"{kind}{size}": code for kind in "iu" for size, code in ((2, "I"), (4, "J"), (8, "K"))}
"""Codes of TFORM (FITS standard 4.0, table 18)."""


def _format(table: Streamed, name: str) -> list[tuple[str, Any]]:
    """TFORM of a column, and TDIM and TZERO where it needs them."""
    base, shape = table.dtype[name].base, table.dtype[name].shape
    if base.kind == "O":
        return [("TFORM", f"{'Q' if table.wide else 'P'}E({table.longest})")]
    count = int(np.prod(shape, dtype=int))
    if base.kind == "S":
        cards: list[tuple[str, Any]] = [("TFORM", f"{count * base.itemsize}A")]
        shape = (*shape, base.itemsize) if shape else ()
    else:
        code = CODES[f"{base.kind}{base.itemsize}"]
        cards = [("TFORM", f"{count if shape else ''}{code}")]
    if shape:
        cards.append(("TDIM", f"({','.join(map(str, reversed(shape)))})"))
    if base.kind == "u" and base.itemsize > 1:
        cards += [("TSCAL", 1), ("TZERO", 1 << (8 * base.itemsize - 1))]
    return cards


def _finish(out: IO[bytes], start: int, header: fits.Header, data: checksums.Sum) -> None:
    """Write a header at ``start``, with DATASUM and CHECKSUM of itself and its data."""
    header["DATASUM"] = (str(data.value), "by zspec")
    header["CHECKSUM"] = ("0" * 16, "by zspec")
    whole = checksums.Sum(data.value)
    whole.add(_bytes_of(header))
    header["CHECKSUM"] = (checksums.encode(whole.value), "by zspec")
    out.seek(start)
    out.write(_bytes_of(header))


def _bytes_of(header: fits.Header) -> bytes:
    """A header as it stands in the file; the sums have their place from the start."""
    for key in ("DATASUM", "CHECKSUM"):
        if key not in header:
            header[key] = ("0" * 16, "by zspec")
    return str(header.tostring(padding=True)).encode("ascii")


def _encode(part: NDArray[Any], table: Streamed, heap: IO[bytes]) -> bytes:
    """Rows as they stand in the file: big-endian, unsigned numbers offset, bool as T and F."""
    columns = {
        name: _descriptors(part[name], table.wide, heap)
        if part.dtype[name].kind == "O"
        else _stored(part[name])
        for name in table.names
    }
    out = np.zeros(len(part), [(n, d.dtype, d.shape[1:]) for n, d in columns.items()])
    for name, data in columns.items():
        out[name] = data
    return out.tobytes()


def _stored(data: NDArray[Any]) -> NDArray[Any]:
    """One column in the types of FITS (standard 4.0, section 7.3 and 5.2.5 for unsigned)."""
    kind, size = data.dtype.kind, data.dtype.itemsize
    if kind == "b":
        return np.where(data, b"T", b"F")
    if kind == "u" and size > 1:
        half = data.dtype.type(1 << (8 * size - 1))
        data = (data ^ half).astype(f">u{size}").view(f">i{size}")
    big: NDArray[Any] = data.astype(data.dtype.newbyteorder(">"), copy=False)
    return big


def _descriptors(arrays: NDArray[Any], wide: bool, heap: IO[bytes]) -> NDArray[Any]:
    """(n, 2) length and place of each array in the heap, to which their values are added."""
    at = heap.tell()
    lengths = np.array([len(values) for values in arrays], np.int64)
    for values in arrays:
        heap.write(np.asarray(values, ">f4").tobytes())
    places = at + 4 * (np.cumsum(lengths) - lengths)
    return np.stack([lengths, places], axis=1).astype(">i8" if wide else ">i4").reshape(-1, 2)
