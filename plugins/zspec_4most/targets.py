"""What a 4MOST file says of its targets: ids, positions, flags of the fibre, and truth."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zspec import Arm, FitsFile, Spectra, Truth, ZWarn, hash_id

NUMBERS: Mapping[str, tuple[str, ...]] = {
    "RA": ("RA", "TRG_RA"),
    "DEC": ("DEC", "TRG_DEC"),
    "MAG": ("MAG",),
    "EXPTIME": ("EXPTIME",),
}
"""Columns that pass through to the catalogue, and the columns or cards that they come from."""

NAMES = ("TRG_NME", "CNAME", "OBJECT")
"""Where NAME comes from, best first; OBJECT of the rehearsal names the field."""

IDS = ("TRG_UID", "TARGETID")

SKY_FIBRE = 3
"""FIB_USE; 1 object, 2 reference, 4 calibration, 5 and 6 guides."""

UNALLOCATED = (0, 1)
"""FIB_ST: disabled, parked."""

CLASS_WORDS: Mapping[str, str] = {
    **dict.fromkeys(("QSO", "QUASAR", "AGN"), "QSO"),
    **dict.fromkeys(("GALAXY", "LRG", "ELG", "BGS", "BCG", "PASSIVE", "HOST"), "GALAXY"),
    **dict.fromkeys(("REDGAL", "CLUSB", "WAVES"), "GALAXY"),
    **dict.fromkeys(("STAR", "DYN", "GALHR", "ESN", "GALDISKLR", "MCSN"), "STAR"),
}
"""Words of TEMPNAME that leave no doubt, with the labels of GaSNet-II's mocks (its Table 2). GAL
alone is no such word: GalHR and GalDiskLR are stars of the Galaxy."""


class Targets:
    """Facts about the rows of one table, from its columns or, for a lone object, from cards."""

    def __init__(self, file: FitsFile, hdu: int) -> None:
        """Look only; columns are read when asked for."""
        self._file, self._hdu = file, hdu
        alone = file.hdus[hdu].shape[0] == 1
        self._cards: Mapping[str, Any] = {**file.header(hdu), **file.header(0)} if alone else {}

    def has(self, name: str) -> bool:
        """Whether a column or card of this name says anything."""
        return self._file.has(self._hdu, name) or bool(str(self._cards.get(name, "")).strip())

    def spectra(self, rows: NDArray[np.int64], arm: Arm) -> Spectra:
        """The spectra of these rows with all that is known of them."""
        table: dict[str, NDArray[Any]] = {
            name: self._numbers(sources, rows)
            for name, sources in NUMBERS.items()
            if name in ("RA", "DEC") or any(map(self.has, sources))
        }
        if any(map(self.has, NAMES)):
            table["NAME"] = self._texts(NAMES, rows)
        return Spectra(
            arms=(arm,),
            ids=self._ids(rows),
            rows=rows.astype(np.int32),
            table=table,
            truth=self._truth(rows),
            zwarn=self._zwarn(rows),
            snr=self._numbers(("SNR",), rows).astype(np.float32) if self.has("SNR") else None,
        )

    def _values(self, names: tuple[str, ...], rows: NDArray[np.int64]) -> NDArray[Any] | None:
        """(n,) values of the first of these columns or cards that there is, or None."""
        for name in names:
            if self._file.has(self._hdu, name):
                return self._file.column(self._hdu, name, rows)
            if self.has(name):
                return np.full(len(rows), self._cards[name])
        return None

    def _numbers(self, names: tuple[str, ...], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """(n,) numbers; NaN where there is none."""
        values = self._values(names, rows)
        if values is None or values.dtype.kind not in "iuf" or values.ndim != 1:
            return np.full(len(rows), np.nan)
        return values.astype(np.float64)

    def _texts(self, names: tuple[str, ...], rows: NDArray[np.int64]) -> NDArray[np.str_]:
        """(n,) texts; empty where there is none."""
        values = self._values(names, rows)
        return np.full(len(rows), "") if values is None else np.char.strip(values.astype(str))

    def _ids(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n,) TRG_UID where it is a whole number, else the hash of basename and row."""
        values = self._values(IDS, rows)
        if values is not None and values.dtype.kind in "iu" and values.ndim == 1:
            return values.astype(np.int64)
        return np.array([hash_id(self._file.path, int(row)) for row in rows], np.int64)

    def _truth(self, rows: NDArray[np.int64]) -> Truth | None:
        """Redshift and class, or None where the file tells neither."""
        if not self.has("REDSHIFT") and not self.has("TEMPNAME"):
            return None
        names = self._texts(("TEMPNAME",), rows)
        spectype = [class_of(text) for text in names]
        return Truth(np.array(spectype, "U6"), self._numbers(("REDSHIFT",), rows), names)

    def _zwarn(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n,) SKY and UNPLUGGED from the fibre's use and state; 0 where they are not known."""
        sky = self._numbers(("FIB_USE",), rows) == SKY_FIBRE
        idle = np.isin(self._numbers(("FIB_ST",), rows), UNALLOCATED)
        flags = np.zeros(len(rows), np.int64)
        flags[sky] |= int(ZWarn.SKY)
        flags[idle] |= int(ZWarn.UNPLUGGED)
        return flags


def class_of(template: str) -> str:
    """GALAXY, QSO or STAR by the words of a template's name; empty where they do not agree.

    >>> class_of("COSMO_AGN_type1_z2.fits"), class_of("tides_host"), class_of("GalBulge")
    ('QSO', 'GALAXY', '')
    """
    words = re.split(r"[^A-Z]+", template.upper())
    found = {CLASS_WORDS[word] for word in words if word in CLASS_WORDS}
    return found.pop() if len(found) == 1 else ""


def target_columns(spectra: Spectra) -> dict[str, NDArray[Any]]:
    """What ``Targets`` reads, as columns: (n,) each."""
    columns: dict[str, NDArray[Any]] = {"TRG_UID": spectra.ids}
    for name in (*NUMBERS, "NAME"):
        if name in spectra.table:
            columns["TRG_NME" if name == "NAME" else name] = spectra.table[name]
    if spectra.snr is not None:
        columns["SNR"] = spectra.snr
    if spectra.truth is not None:
        columns["REDSHIFT"] = spectra.truth.z
        label = spectra.truth.label
        names = spectra.truth.spectype if label is None else label
        columns["TEMPNAME"] = np.where(names == "", " ", names)
    if spectra.zwarn is not None:
        columns["FIB_USE"] = np.where(spectra.zwarn & int(ZWarn.SKY), SKY_FIBRE, 1)
        columns["FIB_ST"] = np.where(spectra.zwarn & int(ZWarn.UNPLUGGED), UNALLOCATED[0], 2)
    return columns
