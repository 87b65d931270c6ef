"""Catalogues in files.

A file is written beside its final name and then renamed; CHECKSUM and DATASUM carry no time, so
that the same input gives the same bytes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from astropy.io import fits
from astropy.io.fits.verify import VerifyError
from astropy.table import Table
from astropy.utils.exceptions import AstropyUserWarning
from numpy.typing import NDArray

from zspec import leftovers, tablestream
from zspec.catalog.columns import HDUS, REQUESTED, TRUTH
from zspec.catalog.tables import Labels, describe, labels
from zspec.errors import InputError
from zspec.layout import Layout, layout_of, pack
from zspec.tablestream import Streamed

DAMAGE = (OSError, KeyError, ValueError, TypeError, IndexError, VerifyError, AstropyUserWarning)
"""What astropy raises for a damaged file, where its warnings are errors."""


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


def write(catalog: Catalog, path: Path) -> None:
    """Write a catalogue beside ``path`` and rename it. Raises OutputError where that fails."""
    tables = []
    for name, made in catalog.tables.items():
        rows = pack({column: made[column] for column in made.colnames})
        tables.append(streamed(name, layout_of(rows), partial(_once, rows), labels(made)))
    tablestream.write(path, primary(catalog.header), tables, leftovers.beside(path))


def _once(rows: NDArray[Any]) -> list[NDArray[Any]]:
    return [rows]


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


def read(path: Path) -> Catalog:
    """A catalogue that zspec wrote. Raises InputError for any other file."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with warnings.catch_warnings(), fits.open(path, memmap=False) as hdus:
            warnings.simplefilter("error", AstropyUserWarning)  # as of a file that was cut
            if "ZSPECVER" not in hdus[0].header or "REDSHIFTS" not in hdus:
                raise InputError(
                    f"{path}: is no catalogue of zspec (no ZSPECVER, no REDSHIFTS); "
                    "'zspec predict' makes one of spectra"
                )
            tables = {
                name: Table.read(hdus[name], mask_invalid=False) for name in HDUS if name in hdus
            }
            header = {k: v for k, v in hdus[0].header.items() if k not in STRUCTURE}
    except DAMAGE as error:
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
