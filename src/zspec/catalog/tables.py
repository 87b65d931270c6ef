"""Tables of the catalogue in memory: typed, stacked, described."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from zspec.catalog.columns import HDUS, REQUESTED, TRUTH, Column
from zspec.estimator import ExtraColumn

Columns = dict[str, NDArray[Any]]
"""Name to (n,) values: what a chunk gives of a table."""


Labels = Mapping[str, tuple[str, str]]
"""Unit and sentence of columns, by name."""


def list_files(done: Iterable[tuple[str, str, int, int, str]]) -> Columns:
    """Table FILES of (file, survey, rows, halved, error) of units of work, a file's together.

    The first error of a file is its own, and it has no rows then.
    """
    found: dict[str, tuple[str, int, int, str]] = {}
    for file, survey, rows, halved, error in done:
        reader, before, cut, known = found.get(file, (survey, 0, 0, ""))
        error = known or error
        found[file] = (reader or survey, 0 if error else before + rows, cut + halved, error)
    readers, rows_of, halves, errors = zip(*found.values(), strict=True) if found else [()] * 4
    return {
        "FILE": np.array(list(found), "U"),
        "SURVEY": np.array(readers, "U"),
        "NROWS": np.array(rows_of, np.int32),
        "HALVED": np.array(halves, np.int32),
        "ERROR": np.array(errors, "U"),
    }


def typed(columns: Sequence[Column], values: Mapping[str, NDArray[Any]]) -> Columns:
    """Just these columns in this order, with their dtypes."""
    return {c.name: np.asarray(values[c.name]).astype(c.held) for c in columns}


def table(columns: Sequence[Column], values: Mapping[str, NDArray[Any]]) -> Table:
    """A table of just these columns in this order, with their dtypes, units and sentences."""
    return describe(Table(typed(columns, values)), columns)


def describe(made: Table, columns: Iterable[Column | ExtraColumn]) -> Table:
    """Set unit and sentence of the columns that are there."""
    for column in columns:
        if column.name in made.colnames:
            made[column.name].info.unit = column.unit or None
            made[column.name].info.description = column.sentence
    return made


def stack(parts: Sequence[Mapping[str, NDArray[Any]]], columns: Sequence[Column]) -> Table:
    """One table of parts below each other.

    A column that one of them lacks is filled with NaN, 0 or blanks there.
    """
    empty = {c.name: np.zeros(0, c.held) for c in columns}
    given = [*parts] or [empty]
    sizes = [len(next(iter(part.values()))) for part in given]
    made = Table()
    for name in dict.fromkeys(name for part in given for name in part):
        kind = next(part[name] for part in given if name in part)
        filled = [
            part[name] if name in part else _blank(kind, size)
            for part, size in zip(given, sizes, strict=True)
        ]
        made[name] = np.concatenate(filled)
    return describe(made, columns)


def _blank(like: NDArray[Any], size: int) -> NDArray[Any]:
    """NaN, 0 or blanks, in the shape and type of another file's column."""
    fill = np.nan if like.dtype.kind == "f" else "" if like.dtype.kind in "US" else 0
    return np.full((size, *like.shape[1:]), fill, like.dtype)


def labels(made: Table) -> Labels:
    """Unit and sentence of the columns of a table."""
    return {
        name: (str(made[name].info.unit or ""), made[name].info.description or "")
        for name in made.colnames
    }


def declared(extra: Iterable[ExtraColumn] = ()) -> Labels:
    """Unit and sentence of all columns of ours, and of an estimator's own."""
    ours = [*TRUTH, *REQUESTED, *(c for hdu in HDUS.values() for c in hdu)]
    told = {column.name: (column.unit, column.sentence) for column in ours}
    return told | {column.name: (column.unit, column.sentence) for column in extra}
