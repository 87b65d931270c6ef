"""What rows of a table look like: packed as bytes of a file, and brought to one common layout."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Layout:
    """Rows of a table without their values."""

    dtype: np.dtype[Any]
    """Of a row: numbers, bool, text as S, or O for an array of float32 of any length."""
    rows: int = 0
    longest: int = 0
    """Most values in one array of any length."""
    values: int = 0
    """All values of arrays of any length."""

    def text(self) -> str:
        """As JSON."""
        columns = [[n, self.dtype[n].base.str, list(self.dtype[n].shape)] for n in self.names]
        return json.dumps([columns, self.rows, self.longest, self.values])

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return self.dtype.names or ()


def restore(text: str) -> Layout:
    """What :meth:`Layout.text` wrote."""
    columns, *counts = json.loads(text)
    return Layout(np.dtype([(name, kind, tuple(shape)) for name, kind, shape in columns]), *counts)


def layout_of(rows: NDArray[Any]) -> Layout:
    """The layout of a structured array."""
    long = [name for name in rows.dtype.names or () if rows.dtype[name].kind == "O"]
    sizes = [len(values) for name in long for values in rows[name]]
    return Layout(rows.dtype, len(rows), max(sizes, default=0), sum(sizes))


def pack(columns: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """A structured array of (n,) columns, in the types that FITS has.

    Text becomes ASCII, other characters escapes; text of no width gets one byte. int8, which FITS
    does not have, gets two bytes, and half precision four.
    """
    data = {name: _storable(np.asarray(values)) for name, values in columns.items()}
    dtype = [(name, values.dtype, values.shape[1:]) for name, values in data.items()]
    size = len(next(iter(data.values()))) if data else 0
    rows = np.zeros(size, dtype)
    for name, values in data.items():
        rows[name] = values
    return rows


def _storable(data: NDArray[Any]) -> NDArray[Any]:
    if data.dtype.kind == "U":
        text = np.char.encode(data, "ascii", "backslashreplace")
        return text.astype(f"S{max(text.dtype.itemsize, 1)}")
    wider = {np.dtype(np.int8): np.int16, np.dtype(np.float16): np.float32}
    return data.astype(wider.get(data.dtype, data.dtype), copy=False)


def join(layouts: Sequence[Layout], last: Sequence[str] = ()) -> Layout:
    """The layout that holds the rows of all of them; columns named in ``last`` come last.

    Columns keep the order in which they first appear. One that is text here and a number there is
    text.
    """
    kinds: dict[str, np.dtype[Any]] = {}
    for dtype in dict.fromkeys(layout.dtype for layout in layouts):
        for name in dtype.names or ():
            kinds[name] = _common(kinds[name], dtype[name]) if name in kinds else dtype[name]
    names = sorted(kinds, key=lambda name: last.index(name) if name in last else -1)
    return Layout(
        np.dtype([(name, kinds[name]) for name in names]),
        sum(layout.rows for layout in layouts),
        max((layout.longest for layout in layouts), default=0),
        sum(layout.values for layout in layouts),
    )


def _common(one: np.dtype[Any], other: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype that holds both; arrays of fixed lengths are as long as the longer."""
    base = np.result_type(one.base, other.base)
    if one.shape == other.shape:
        return np.dtype((base, one.shape))
    return np.dtype((base, (max(_length(one), _length(other)),)))


def _length(dtype: np.dtype[Any]) -> int:
    """Values of an entry."""
    return int(np.prod(dtype.shape)) if dtype.shape else 1


def cast(rows: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The same rows in a wider layout; what they lack is NaN, 0 or blank."""
    if rows.dtype == dtype:
        return rows
    out = np.zeros(len(rows), dtype)
    for name in dtype.names or ():
        field = out[name]
        if dtype[name].base.kind == "f":
            field[...] = np.nan
        if name not in (rows.dtype.names or ()):
            continue
        given = rows[name]
        if given.shape == field.shape:
            field[...] = given
        else:
            flat = given.reshape(len(rows), -1)
            field[:, : flat.shape[1]] = flat
    return out
