"""Which sources a CSST file holds, in which rows, and what its tables say of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zspec import FitsFile, InputError, Truth, hash_id
from zspec_csst.layout import Layout

KINDS_OF_GALAXY = ("STARFORMING", "STARBURST", "PASSIVE", "QUIESCENT", "GALAXY")
"""SUBCLASS of the CESS emulator, and its neighbours, that mean GALAXY."""

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Sources:
    """n sources of one file."""

    file: FitsFile
    layout: Layout
    rows: Rows
    """(n,) ROW of each source: of the images, or its first in the table of spectra."""
    tables: tuple[tuple[str, Rows], ...] = ()
    """Tables that describe sources, best first, and the row of each source there."""
    spectra: dict[str, Rows] | None = None
    """Row of each source in the table of spectra by band, -1 for none; None: there are images."""

    def __getitem__(self, part: slice | NDArray[np.bool_]) -> Sources:
        """Some of the sources."""
        spectra = self.spectra
        return Sources(
            file=self.file,
            layout=self.layout,
            rows=self.rows[part],
            tables=tuple((hdu, rows[part]) for hdu, rows in self.tables),
            spectra=None if spectra is None else {k: v[part] for k, v in spectra.items()},
        )

    def column(self, name: str) -> NDArray[Any] | None:
        """(n,) values of a column of the first table that has it, or None."""
        for hdu, rows in self.tables:
            if self.file.has(hdu, name):
                unique, inverse = np.unique(rows, return_inverse=True)
                return self.file.column(hdu, name, unique)[inverse]
        return None

    def numbers(self, name: str) -> NDArray[np.float64]:
        """(n,) numbers of a column; NaN where there is none."""
        values = self.column(name)
        if values is None or values.dtype.kind not in "iuf":
            return np.full(len(self.rows), np.nan)
        return values.astype(np.float64)

    def ids(self) -> NDArray[np.int64]:
        """(n,) TARGETID: the ID if it is a whole number, else 63 bits of SHA-256 of ``ID:0``.

        Without an ID, of ``basename:row``.
        """
        values = self.column(self.layout.id_column)
        if values is None:
            return np.array([hash_id(self.file.path, int(r)) for r in self.rows], np.int64)
        return np.array([_id(str(value).strip()) for value in values], np.int64)

    def table(self) -> dict[str, NDArray[Any]]:
        """NAME (the ID as text), RA, DEC and what the layout keeps, (n,) each."""
        layout = self.layout
        found: dict[str, NDArray[Any]] = {
            "RA": self.numbers(layout.ra_column),
            "DEC": self.numbers(layout.dec_column),
        }
        names = self.column(layout.id_column)
        if names is not None:
            found["NAME"] = np.char.strip(names.astype(str))
        kept = {name: self.column(name) for name in layout.keep}
        return found | {k.upper(): v for k, v in kept.items() if v is not None}

    def truth(self) -> Truth | None:
        """Class and true redshift, or None where no table tells either."""
        layout = self.layout
        classes = self.column(layout.class_column)
        kinds = self.column(layout.subclass_column)
        if classes is None and kinds is not None:
            classes = np.where(np.isin(np.char.upper(kinds), KINDS_OF_GALAXY), "GALAXY", "")
        if classes is None and self.column(layout.z_column) is None:
            return None
        spectype = np.full(len(self.rows), "") if classes is None else np.char.upper(classes)
        known = np.isin(spectype, ("GALAXY", "QSO", "STAR"))
        label = self.column(layout.label_column)
        return Truth(
            np.where(known, spectype, "").astype("U6"),
            self.numbers(layout.z_column),
            None if label is None else label.astype(str),
        )

    def contamination(self, bands: tuple[str, ...]) -> dict[str, NDArray[np.float32]]:
        """Column and (n,) share of other sources' light, for each band that states it."""
        named = {self.layout.contamination_column.format(band=band).upper() for band in bands}
        found = {name: self.column(name) for name in sorted(named)}
        return {
            k: v.astype(np.float32)
            for k, v in found.items()
            if v is not None and v.dtype.kind in "iuf"
        }


def find_sources(file: FitsFile, layout: Layout, bands: tuple[str, ...]) -> Sources:
    """All sources of a file, of images or else of a table. Raises InputError for neither."""
    for band in bands:
        if file.has(layout.flux.format(band=band)):
            return _of_images(file, layout, layout.flux.format(band=band))
    if file.has(layout.spectra, layout.band_column):
        return _of_table(file, layout, bands)
    there = ", ".join(hdu.name or f"#{i}" for i, hdu in enumerate(file.hdus))
    wanted = " or ".join(layout.flux.format(band=band) for band in bands)
    raise InputError(
        f"{file.path}: neither image {wanted} nor table {layout.spectra} with column "
        f"{layout.band_column} was found (HDUs: {there}). Another layout? Give its names with "
        "-S layout=my.toml"
    )


def _of_images(file: FitsFile, layout: Layout, flux: str) -> Sources:
    """Sources are the rows of the images, and of the catalogue if there is one."""
    shape = file.hdus[file.index(flux)].shape
    rows = np.arange(shape[0] if len(shape) > 1 else len(shape))  # an empty image has no axis
    if not file.has(layout.catalog):
        return Sources(file, layout, rows)
    described = file.hdus[file.index(layout.catalog)].shape[0]
    if described != len(rows):
        raise InputError(
            f"{file.path}: HDU {layout.catalog} has {described} rows and {flux} {len(rows)}; "
            "one row a source was expected in both"
        )
    return Sources(file, layout, rows, ((layout.catalog, rows),))


def _of_table(file: FitsFile, layout: Layout, bands: tuple[str, ...]) -> Sources:
    """Sources are the distinct IDs of the table of spectra, in the order of first appearance."""
    names = file.column(layout.spectra, layout.id_column).astype(str)
    band_of = np.char.upper(file.column(layout.spectra, layout.band_column).astype(str))
    unique, first, source = np.unique(names, return_index=True, return_inverse=True)
    order = np.argsort(first)
    spectra = {}
    for band in bands:
        at = np.flatnonzero(band_of == band)
        if len(np.unique(source[at])) != len(at):
            twice = unique[np.argmax(np.bincount(source[at]))]
            raise InputError(
                f"{file.path}: source {twice} has several rows of band {band}; one was expected. "
                "Combine its exposures first"
            )
        row = np.full(len(unique), -1)
        row[source[at]] = at
        spectra[band] = row[order]
    tables = [(layout.spectra, first[order])]
    if file.has(layout.catalog, layout.id_column):
        tables.append((layout.catalog, _matched(file, layout, unique[order])))
    return Sources(file, layout, first[order], tuple(tables), spectra)


def _matched(file: FitsFile, layout: Layout, names: NDArray[np.str_]) -> Rows:
    """(n,) row in the catalogue of each source. Raises InputError where one is not there."""
    listed = file.column(layout.catalog, layout.id_column).astype(str)
    order = np.argsort(listed, kind="stable")
    at = np.searchsorted(listed, names, sorter=order)
    found = order[np.minimum(at, len(order) - 1)] if len(order) else np.full(len(names), -1)
    missing = names[listed[found] != names] if len(order) else names
    if len(missing):
        raise InputError(
            f"{file.path}: source {missing[0]} of HDU {layout.spectra} is not in {layout.catalog}"
        )
    return found


def _id(text: str) -> int:
    """A whole number of up to 63 bits as it is, any other text by its hash."""
    if text.isascii() and text.isdigit() and int(text) < 2**63:
        return int(text)
    return hash_id(text.replace("/", "_").replace("\\", "_"), 0)
