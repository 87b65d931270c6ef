"""The catalogue: one tuple of columns per HDU feeds writer, reader, docs and tests.

HDU ``REDSHIFTS`` has the names of redrock's, so that those who read redrock's files can read ours.
The file is written beside its final name and then renamed; CHECKSUM and DATASUM carry no time, so
that the same input gives the same bytes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray

from zspec import tablestream
from zspec.errors import InputError, OutputError
from zspec.estimator import ExtraColumn
from zspec.layout import Layout, layout_of, pack
from zspec.tablestream import Streamed

Columns = dict[str, NDArray[Any]]
"""Name to (n,) values: what a chunk gives of a table."""


@dataclass(frozen=True)
class Column:
    """One column of the catalogue."""

    name: str
    dtype: str
    """numpy dtype; ``U`` is text as wide as needed, ``f4[]`` an array of any length in each row."""
    unit: str
    ucd: str
    sentence: str

    @property
    def held(self) -> str:
        """The dtype in memory: arrays of any length are objects."""
        return "O" if self.dtype.endswith("[]") else self.dtype


KEY = (
    Column("TARGETID", "i8", "", "meta.id;meta.main", "The survey's id; it need not be unique."),
    Column("FILE", "U", "", "meta.file", "The input's name, as given."),
    Column("ROW", "i4", "", "meta.record", "Row in that file, from 0; with FILE it is unique."),
)
"""What every table of the catalogue starts with."""

REDSHIFTS = (
    *KEY,
    Column("SPECTYPE", "U6", "", "src.class", "GALAXY, QSO or STAR; empty without data."),
    Column("SUBTYPE", "U20", "", "src.class", "Finer type, where the model has one."),
    Column("CLASS", "U24", "", "src.class", "The model's own label."),
    Column("PROB", "f4", "", "stat.probability", "Probability of CLASS."),
    Column("Z", "f8", "", "src.redshift", "Redshift; 0 in a row without data."),
    Column("ZERR", "f8", "", "stat.error;src.redshift", "1 sigma of Z."),
    Column("ZCONF", "f4", "", "stat.probability", "Calibrated probability that Z is good."),
    Column("ZWARN", "i8", "", "meta.code.qual", "Reasons to distrust the row, as bits; 0 is good."),
    Column(
        "DELTACHI2",
        "f8",
        "",
        "stat.fit.chi2",
        "What the next candidate costs more: chi2 with priors.",
    ),
    Column("CHI2", "f8", "", "stat.fit.chi2", "chi2 of the best model on native pixels."),
    Column("NPIXELS", "i8", "", "meta.number", "Good native pixels, over all arms."),
    Column("ARMS", "U", "", "instr", "The arms that had data."),
    Column("SNR", "f4", "", "stat.snr", "Median flux/error of the good native pixels."),
    Column("RA", "f8", "deg", "pos.eq.ra;meta.main", "Right ascension, ICRS; NaN if unknown."),
    Column("DEC", "f8", "deg", "pos.eq.dec;meta.main", "Declination, ICRS; NaN if unknown."),
)
"""HDU REDSHIFTS: one row per spectrum, in the order of the input."""

TRUTH = (
    Column("Z_TRUE", "f8", "", "src.redshift", "Redshift that the input or its neighbour states."),
    Column("CLASS_TRUE", "U6", "", "src.class", "Class that the input or its neighbour states."),
)
"""Added to REDSHIFTS where any input has labels. Never an input to a prediction."""

REQUESTED = (
    Column(
        "ZCRB",
        "f8",
        "",
        "stat.error;src.redshift",
        "Cramer-Rao bound of 1 sigma of Z, of the model that was fitted.",
    ),
    Column("ZLOW", "f8", "", "src.redshift;stat.min", "Start of the conformal interval of Z."),
    Column("ZHIGH", "f8", "", "src.redshift;stat.max", "End of it; inf where none is known to do."),
)
"""Added to REDSHIFTS on request."""

CANDIDATES = (
    *KEY,
    Column("RANK", "i2", "", "meta.code", "From 1, the best."),
    Column("SPECTYPE", "U6", "", "src.class", "GALAXY, QSO or STAR."),
    Column("SUBTYPE", "U20", "", "src.class", "Finer type, where the model has one."),
    Column("CLASS", "U24", "", "src.class", "The model's own label."),
    Column("Z", "f8", "", "src.redshift", "Redshift of the candidate."),
    Column("ZERR", "f8", "", "stat.error;src.redshift", "1 sigma of Z."),
    Column("PROB", "f4", "", "stat.probability", "Share of the posterior."),
    Column("CHI2", "f8", "", "stat.fit.chi2", "chi2 of the candidate on native pixels."),
)
"""HDU CANDIDATES: up to five rows per spectrum, ranked."""

CLASSPROB = (
    *KEY,
    Column("CLASS", "U24", "", "src.class", "The model's own label."),
    Column("PROB", "f4", "", "stat.probability", "Probability of this class."),
    Column("Z", "f8", "", "src.redshift", "Redshift if the spectrum is of this class."),
    Column("ZERR", "f8", "", "stat.error;src.redshift", "1 sigma of Z."),
)
"""HDU CLASSPROB: one row per spectrum and class."""

ZPDF = (
    *KEY,
    Column("SPECTYPE", "U6", "", "src.class", "GALAXY, QSO or STAR."),
    Column("CLASS", "U24", "", "src.class", "The model's own label."),
    Column("START", "f8", "", "src.redshift", "ln(1+z) of the first value of DENSITY."),
    Column("STEP", "f8", "", "src.redshift", "ln(1+z) from one value to the next."),
    Column(
        "DENSITY",
        "f4[]",
        "",
        "stat.probability",
        "Probability per unit ln(1+z), linear in between; STEP times their sum is this row's.",
    ),
)
"""HDU ZPDF, on request: rows whose sum is p(z, class) of a spectrum, which integrates to 1."""

FILES = (
    Column("FILE", "U", "", "meta.file", "The input's name, as given."),
    Column("SURVEY", "U16", "", "meta.id", "The adapter that read it."),
    Column("NROWS", "i4", "", "meta.number", "Rows that it gave."),
    Column("ERROR", "U", "", "meta.note", "Why it gave none; empty where all went well."),
)
"""HDU FILES: one row per input, those that could not be read included."""

HDUS: Mapping[str, tuple[Column, ...]] = {
    "REDSHIFTS": REDSHIFTS,
    "CANDIDATES": CANDIDATES,
    "CLASSPROB": CLASSPROB,
    "ZPDF": ZPDF,
    "FILES": FILES,
}
"""All tables of a catalogue, in their order."""


@dataclass
class Catalog:
    """The tables of one catalogue and where they came from."""

    tables: dict[str, Table]
    """By HDU name; see HDUS."""
    header: dict[str, Any] = field(default_factory=dict)
    """Cards of the primary header: versions, model, options, command."""

    @property
    def redshifts(self) -> Table:
        """HDU REDSHIFTS."""
        return self.tables["REDSHIFTS"]

    @property
    def failures(self) -> list[tuple[str, str]]:
        """(file, reason) of each input that could not be read."""
        files = self.tables["FILES"]
        return [(str(f), str(e)) for f, e in zip(files["FILE"], files["ERROR"], strict=True) if e]


def list_files(done: Iterable[tuple[str, str, int, str]]) -> Columns:
    """Table FILES of (file, survey, rows, error) of units of work, those of a file together.

    The first error of a file is its own, and it has no rows then.
    """
    found: dict[str, tuple[str, int, str]] = {}
    for file, survey, rows, error in done:
        known = found.get(file, (survey, 0, ""))
        error = known[2] or error
        found[file] = (known[0] or survey, 0 if error else known[1] + rows, error)
    return {
        "FILE": np.array(list(found), "U"),
        "SURVEY": np.array([survey for survey, _, _ in found.values()], "U"),
        "NROWS": np.array([rows for _, rows, _ in found.values()], np.int32),
        "ERROR": np.array([error for _, _, error in found.values()], "U"),
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


def inputs_hash(paths: Iterable[Path | str]) -> str:
    """SHA-256 over the places of the inputs: says whether a catalogue is of the same."""
    places = [os.path.realpath(path) for path in paths]
    return hashlib.sha256("\n".join(places).encode("utf-8", "surrogateescape")).hexdigest()


def write(catalog: Catalog, path: Path) -> None:
    """Write a catalogue beside ``path`` and rename it. Raises OutputError where that fails."""
    tables = []
    for name, made in catalog.tables.items():
        rows = pack({column: made[column] for column in made.colnames})
        tables.append(streamed(name, layout_of(rows), partial(_once, rows), labels(made)))
    tablestream.write(path, primary(catalog.header), tables, beside(path))


def beside(path: Path) -> Path:
    """Where a file is written before it is renamed."""
    return path.with_name(f".part{os.getpid()}.{path.name}")


def _once(rows: NDArray[Any]) -> list[NDArray[Any]]:
    return [rows]


Labels = Mapping[str, tuple[str, str]]
"""Unit and sentence of columns, by name."""


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


def streamed(
    hdu: str, layout: Layout, parts: Callable[[], Iterable[NDArray[Any]]], told: Labels
) -> Streamed:
    """One table to be written, with unit, sentence (TCOMM) and UCD of each column."""
    ucds = {c.name: c.ucd for c in (*HDUS.get(hdu, ()), *TRUTH, *REQUESTED)}
    own = {c.name: (c.unit, c.sentence) for c in HDUS.get(hdu, ())}
    cards = []
    for number, column in enumerate(layout.names, start=1):
        unit, sentence = own.get(column) or told.get(column, ("", ""))
        told_of = {"TCOMM": sentence, "TUNIT": unit, "TUCD": ucds.get(column, "")}
        cards += [(f"{key}{number}", text) for key, text in told_of.items() if text]
    return Streamed(hdu, layout.dtype, layout.rows, parts, cards, layout.longest, layout.values)


def check_output(path: Path, inputs: Sequence[Path | str], overwrite: bool) -> None:
    """Raise OutputError, before any work is done, where ``path`` may not or cannot be written."""
    folder = path.parent
    if not folder.is_dir():
        raise OutputError(f"{folder}: no such folder; make it, or choose another place with -o")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{folder}: may not be written to; choose another place with -o")
    if any(path.resolve() == Path(p).resolve() for p in inputs):
        raise OutputError(f"{path}: is an input; choose another name with -o")
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; name a file with -o")
    if not path.name.endswith((".fits", ".fits.gz")):
        raise OutputError(f"{path}: a catalogue is a FITS file; end its name with .fits")
    if path.exists() and not overwrite and _of_inputs(path) != inputs_hash(inputs):
        raise OutputError(f"{path}: exists and is not of these inputs; replace it with --overwrite")


def read(path: Path) -> Catalog:
    """A catalogue that zspec wrote. Raises InputError for any other file."""
    try:
        with fits.open(path, memmap=False) as hdus:
            if "ZSPECVER" not in hdus[0].header or "REDSHIFTS" not in hdus:
                raise InputError(f"{path}: is no catalogue of zspec (no ZSPECVER, no REDSHIFTS)")
            tables = {
                name: Table.read(hdus[name], mask_invalid=False) for name in HDUS if name in hdus
            }
            header = {k: v for k, v in hdus[0].header.items() if k not in STRUCTURE}
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    for made in tables.values():
        made.convert_bytestring_to_unicode()
        made.meta.clear()
        for name in made.colnames:
            made[name] = made[name].astype(made[name].dtype.newbyteorder("="))
    return Catalog({n: describe(t, HDUS[n]) for n, t in tables.items()}, header)


STRUCTURE = {"SIMPLE", "BITPIX", "NAXIS", "EXTEND", "CHECKSUM", "DATASUM"}
"""Cards of the primary header that say nothing of the catalogue."""


def primary(cards: Mapping[str, Any]) -> fits.PrimaryHDU:
    """An empty HDU with these cards; a (value, comment) pair is both."""
    hdu = fits.PrimaryHDU()
    hdu.header["EXTEND"] = True
    for key, value in cards.items():
        text, *comment = value if isinstance(value, tuple) else (value,)
        hdu.header[key] = (ascii_text(text), *comment) if isinstance(text, str) else value
    return hdu


def ascii_name(file: str) -> str:
    """A file's name as column FILE holds it."""
    return file.encode("ascii", "backslashreplace").decode("ascii")


def ascii_text(text: str) -> str:
    """Text as a FITS header can hold it: other characters are written as escapes."""
    plain = text.encode("ascii", "backslashreplace").decode("ascii")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in plain)


def _of_inputs(path: Path) -> str:
    """The hash of the inputs of a catalogue that zspec wrote, or nothing."""
    try:
        return str(fits.getheader(path).get("INHASH", ""))
    except OSError:
        return ""
