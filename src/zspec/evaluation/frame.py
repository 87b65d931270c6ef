"""Catalogues of any tool as columns by name: FITS, CSV, Parquet, or a table in memory.

What a tool calls its columns is data: :data:`SHAPES`. A column is found by its exact name first,
then without case, since one published file holds both CLASS and class.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zspec.errors import ConfigError, InputError, unknown
from zspec.fits import open_fits

FIBRE = ("PLATE", "MJD", "FIBERID")
MISSING = np.iinfo(np.int64).min
"""Stands for a missing whole number that is too large for a float64: an id."""


@dataclass(frozen=True)
class Shape:
    """What one tool calls its columns."""

    name: str
    marks: tuple[str, ...]
    """Columns that it has, and no shape before it."""
    columns: Mapping[str, tuple[str, ...]]
    """Role to names, the first that is there."""


SNR = ("SNR", "SN_MEDIAN_ALL", "SN_MEDIAN")
OURS = {
    "z": ("Z",),
    "sigma": ("ZERR", "Z_ERR"),
    "z_true": ("Z_TRUE", "ZTRUE"),
    "label": ("SPECTYPE", "CLASS"),
    "label_true": ("CLASS_TRUE",),
    "zwarn": ("ZWARN", "ZWARNING"),
    "snr": SNR,
    "mag": ("MAG",),
    "prob": ("PROB",),
    "zconf": ("ZCONF",),
    "bound": ("ZCRB",),
}
"""zspec's names, which are redrock's, and SDSS's where those have none."""

SHAPES = (
    Shape("zspec, redrock or zbest", ("TARGETID", "Z", "ZERR", "SPECTYPE"), OURS),
    Shape(
        "GaSNet-II",
        ("label", "pred_bar", "pred_std"),
        {
            "z": ("pred_bar",),
            "sigma": ("pred_std",),
            "z_true": ("label",),
            "label_true": ("CLASS",),
            "snr": SNR,
        },
    ),
    Shape(
        "GaSNet-III",
        ("Best_fit_z", "Degeneracy"),
        {"z": ("Best_fit_z",), "z_true": ("Z",), "label_true": ("CLASS",), "snr": SNR},
    ),
    Shape("SDSS spAll, specObj or spZbest", (*FIBRE, "Z", "Z_ERR", "CLASS"), OURS),
    Shape("unknown", (), OURS),
)
"""In the order in which they are tried."""


class Frame:
    """A table whose columns are read when asked for."""

    def __init__(
        self,
        name: str,
        columns: Sequence[str],
        rows: int,
        read: Callable[[str], NDArray[Any]],
        path: Path | None = None,
    ) -> None:
        """``read`` takes a column's own spelling; ``path`` is a FITS file with further tables."""
        self.name = name
        self.path = path
        self.columns = tuple(columns)
        self._rows = rows
        self._read = read
        self.shape = next(s for s in SHAPES if all(self.find(m) for m in s.marks))

    def __len__(self) -> int:
        """Number of rows."""
        return self._rows

    def find(self, column: str) -> str | None:
        """The column's own spelling: exactly this name, else the only one but for case.

        Raises InputError where two differ from it by their case only.
        """
        if column in self.columns:
            return column
        near = [c for c in self.columns if c.upper() == column.upper()]
        if len(near) > 1:
            raise InputError(f"{self.name}: column {column!r}: there are {' and '.join(near)}")
        return near[0] if near else None

    def role(self, role: str) -> str | None:
        """The column that has this role in tables of this shape, if it is there."""
        names = self.shape.columns.get(role, ())
        return next((found for name in names if (found := self.find(name))), None)

    def __getitem__(self, column: str) -> NDArray[Any]:
        """(n,) values in native byte order, text stripped. Raises InputError or ConfigError.

        (n, 1) is taken as (n,); masked values are NaN or empty text.
        """
        spelled = self.find(column)
        if spelled is None:
            raise ConfigError(f"{self.name}: {unknown('column', column, self.columns)}")
        values = self._read(spelled)
        if values.ndim > 1 and values.size != len(values):
            shape = " x ".join(map(str, values.shape[1:]))
            raise InputError(f"{self.name}: column {spelled} holds {shape} values a row")
        values = values.reshape(len(values))
        if values.dtype.kind in "SU":
            text: NDArray[Any] = np.char.strip(values)
            return text
        return values.astype(values.dtype.newbyteorder("="), copy=False)


def open_frame(path: Path) -> Frame:
    """A table of a FITS, CSV or Parquet file. Raises InputError."""
    suffixes = [s.lower() for s in path.suffixes]
    if ".parquet" in suffixes:
        return _parquet(path)
    if {".csv", ".ecsv"} & set(suffixes):
        return _csv(path)
    return _fits(path)


def from_table(name: str, table: Any) -> Frame:
    """An astropy Table."""
    return Frame(name, table.colnames, len(table), lambda column: _filled(table[column]))


def _filled(column: Any) -> NDArray[Any]:
    """Plain values; masked numbers become NaN (ids: MISSING), masked text becomes empty."""
    values: Any = np.ma.asarray(column)
    if not np.ma.is_masked(values):
        return np.asarray(values)
    if values.dtype.kind == "i" and np.abs(values).max() >= 2**53:
        return np.asarray(values.astype(np.int64).filled(MISSING))
    if values.dtype.kind in "iubf":
        return np.asarray(values.astype(np.float64).filled(np.nan))
    return np.asarray(values.astype("U").filled(""))


def _fits(path: Path) -> Frame:
    """HDU REDSHIFTS or ZBEST, else the first table."""
    import fitsio

    with open_fits(path) as handle:
        tables = [i for i, hdu in enumerate(handle.hdus) if hdu.kind == "table"]
        named = [i for i in tables if handle.hdus[i].name in ("REDSHIFTS", "ZBEST")]
    if not tables:
        raise InputError(f"{path}: holds no table")
    number = (named or tables)[0]
    with fitsio.FITS(str(path), "r") as hdus:
        columns = hdus[number].get_colnames()
        rows = hdus[number].get_nrows()

    def read(column: str) -> NDArray[Any]:
        with fitsio.FITS(str(path), "r") as hdus:  # by number: fitsio's names have no case
            values: NDArray[Any] = hdus[number].read_column(columns.index(column))
        return values

    return Frame(str(path), columns, rows, read, path)


def _csv(path: Path) -> Frame:
    from astropy.table import Table

    if not path.is_file():
        raise InputError(f"{path}: no such file")
    kind = "ascii.ecsv" if ".ecsv" in path.suffixes else "ascii.csv"
    try:
        return from_table(str(path), Table.read(path, format=kind))
    except Exception as error:  # astropy raises many kinds, some of them its own
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: cannot be read as CSV ({reason})") from None


def _parquet(path: Path) -> Frame:
    """Columns of a Parquet file, if pyarrow is there."""
    try:
        pyarrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise ConfigError(f"{path}: Parquet needs pyarrow; pip install pyarrow") from None
    try:
        handle = parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: cannot be read as Parquet ({reason})") from None

    def read(column: str) -> NDArray[Any]:
        values: NDArray[Any] = handle.read([column]).column(0).to_numpy()
        return values.astype("U") if values.dtype.kind == "O" else values

    return Frame(str(path), handle.schema_arrow.names, handle.metadata.num_rows, read)
