"""What the tables and headers of all SDSS products say of a spectrum, under one set of names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zspec import Arm, FitsFile, InputError, Spectra, Truth, ZWarn, hash_id

Columns = dict[str, NDArray[Any]]
"""Name in upper case to (n,) values."""

PASSED: Mapping[str, type[np.integer[Any]]] = {
    "PLATE": np.int32,
    "MJD": np.int32,
    "FIBERID": np.int32,
    "FIELD": np.int32,
    "SPECOBJID": np.uint64,
    "CATALOGID": np.int64,
    "SDSS_ID": np.int64,
}
"""Columns that pass through, 0 where unknown. eBOSS's SPECOBJID overflow 63 bits."""

POSITION = {"RA": ("PLUG_RA", "RACAT", "RA"), "DEC": ("PLUG_DEC", "DECCAT", "DEC")}
"""Degrees; the first that is there. RA in spAll is the imaging's match, absent for sky fibres."""

USED = (
    *PASSED,
    *(name for names in POSITION.values() for name in names),
    *("OBJTYPE", "SOURCETYPE", "ZWARNING", "CLASS", "SUBCLASS", "Z", "VDISP", "SN_MEDIAN_ALL"),
)
"""All columns that are read."""

TEXTS = {*PASSED, "OBJTYPE", "SOURCETYPE", "CLASS", "SUBCLASS"}
"""Those that may be text; ids are, in some releases."""

CARDS = {
    "PLATE": ("PLATEID", "PLATE"),
    "MJD": ("MJD",),
    "FIBERID": ("FIBERID",),
    "PLUG_RA": ("PLUG_RA", "RAOBJ"),
    "PLUG_DEC": ("PLUG_DEC", "DECOBJ"),
}
"""Column to the cards of the primary header that stand in for it."""

BITS = ZWarn.SKY | ZWarn.UNPLUGGED | ZWarn.BAD_TARGET
"""What is taken of ZWARNING: facts about the fibre, and no verdict of the survey's own fit."""

HARMLESS = ZWarn.MANY_OUTLIERS | ZWarn.NEGATIVE_EMISSION
"""Bits of ZWARNING that leave a label standing; see the adapter's guide for the figures."""

BOOLEANS = {"T": True, "TRUE": True, "1": True, "F": False, "FALSE": False, "0": False}
"""What a card that means yes or no may hold, as text in upper case."""


def columns(file: FitsFile, hdu: int, rows: slice | NDArray[np.int64] | None = None) -> Columns:
    """The columns of a table that are of use, one value a row."""
    there = [name for name in USED if name in file.columns(hdu)]
    read = {name: file.column(hdu, name, rows) for name in there}
    return {
        name: values
        for name, values in read.items()
        if values.ndim == 1 and (name in TEXTS or values.dtype.kind in "iuf")
    }


def cards(header: Mapping[str, Any], n: int, names: Iterable[str] = CARDS) -> Columns:
    """What the header says of each of ``n`` spectra; nothing for cards that are missing."""
    found = {name: next((header[c] for c in CARDS[name] if c in header), None) for name in names}
    return {
        name: np.full(n, value)
        for name, value in found.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def in_vacuum(header: Mapping[str, Any], path: Path) -> bool:
    """Whether wavelengths are in vacuum: the card VACUUM says it, and SDSS's are without it.

    Raises InputError for a value that is neither yes nor no.
    """
    value = header.get("VACUUM")
    if value is None:
        return True
    said = BOOLEANS.get(str(value).strip().upper())
    if said is None:
        raise InputError(f"{path}: header card VACUUM is {value!r}; expected T or F")
    return said


@dataclass(frozen=True)
class Origin:
    """Where n spectra come from."""

    path: Path
    rows: NDArray[np.int32]
    """(n,) row in the file, from 0."""


def spectra(arm: Arm, given: Columns, origin: Origin) -> Spectra:
    """Spectra of one arm, with ids, truth and the rest as ``given`` (n,) columns say."""
    n = len(origin.rows)
    table = {k: _integers(given[k], kind) for k, kind in PASSED.items() if k in given}
    zwarn = _zwarn(given, n)
    return Spectra(
        arms=(arm,),
        ids=_ids(table, origin),
        rows=origin.rows,
        table={
            **table,
            **{k: _position(given, names, n) for k, names in POSITION.items()},
            **_dispersion(given),
        },
        truth=_truth(given, zwarn),
        zwarn=zwarn,
        snr=_snr(given),
    )


def plate_mjd_fiber(table: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
    """(n,) decimal digits PPPPPMMMMMFFFF, as redrock's BOSS reader has them; 0 where unknown."""
    plate, mjd, fiber = (table[k].astype(np.int64) for k in ("PLATE", "MJD", "FIBERID"))
    known = (plate > 0) & (mjd > 0) & (fiber > 0)
    return np.where(known, plate * 10**9 + mjd * 10**4 + fiber, 0)


def _ids(table: Columns, origin: Origin) -> NDArray[np.int64]:
    """(n,) TARGETID by the order that the adapter's guide states."""
    ids = np.zeros(len(origin.rows), np.int64)
    if {"PLATE", "MJD", "FIBERID"} <= table.keys():
        ids = plate_mjd_fiber(table)
    for name in ("SDSS_ID", "CATALOGID"):
        if name in table:
            ids = np.where(table[name] > 0, table[name], ids)
    for i in np.flatnonzero(ids == 0):
        ids[i] = hash_id(origin.path, int(origin.rows[i]))
    return ids


def _integers(values: NDArray[Any], kind: type[np.integer[Any]]) -> NDArray[Any]:
    """Integers of a column of integers, floats or text; 0 for what is no such integer.

    A negative SPECOBJID is one that was stored without TZERO, and wraps around to what it was.
    """
    if values.dtype.kind in "iu":
        return values.astype(kind)
    limit = int(np.iinfo(kind).max)
    texts = [str(v).strip() for v in values] if values.dtype.kind == "U" else _whole(values)
    return np.array([int(t) if t.isdecimal() and int(t) <= limit else 0 for t in texts], kind)


def _whole(values: NDArray[Any]) -> Sequence[str]:
    """Floats as decimal text; empty where they are not finite."""
    return [f"{v:.0f}" if np.isfinite(v) else "" for v in values.astype(np.float64)]


def _position(given: Columns, names: Sequence[str], n: int) -> NDArray[np.float64]:
    """(n,) degrees, NaN where unknown."""
    found = next((given[name] for name in names if name in given), np.full(n, np.nan))
    return np.asarray(found, np.float64)


def _zwarn(given: Columns, n: int) -> NDArray[np.int64]:
    """(n,) bits SKY, UNPLUGGED and BAD_TARGET."""
    zwarn = np.zeros(n, np.int64)
    if "ZWARNING" in given:
        zwarn |= given["ZWARNING"].astype(np.int64) & int(BITS)
    for name in ("OBJTYPE", "SOURCETYPE"):
        if name in given:
            sky = np.char.upper(np.char.strip(given[name].astype(np.str_))) == "SKY"
            zwarn |= np.where(sky, int(ZWarn.SKY), 0)
    return zwarn


def _truth(given: Columns, zwarn: NDArray[np.int64]) -> Truth | None:
    """Class and redshift, None where there are no labels.

    Unknown for fibres without an object, and where ZWARNING has any but a harmless bit.
    """
    if not {"CLASS", "Z"} <= given.keys():
        return None
    names = np.char.upper(np.char.strip(given["CLASS"].astype(np.str_)))
    known = np.isin(names, ["GALAXY", "QSO", "STAR"])
    known &= (zwarn & int(BITS)) == 0
    if "ZWARNING" in given:
        known &= (given["ZWARNING"].astype(np.int64) & ~int(HARMLESS)) == 0
    z = np.where(known, given["Z"].astype(np.float64), np.nan)
    return Truth(np.where(known, names, ""), z, _labels(given, names, known))


def _labels(
    given: Columns, names: NDArray[np.str_], known: NDArray[np.bool_]
) -> NDArray[np.str_] | None:
    """(n,) class and subclass as ``GALAXY AGN BROADLINE`` or ``STAR F5``; ``nan`` for no subclass.

    What SUBCLASS has in brackets is the template star's name, and is left out.
    """
    if "SUBCLASS" not in given:
        return None
    texts = [str(text).partition("(")[0].strip() or "nan" for text in given["SUBCLASS"]]
    return np.where(known, np.char.add(np.char.add(names, " "), np.array(texts, np.str_)), "")


def _dispersion(given: Columns) -> Columns:
    """VDISP (n,) km/s of the survey's own fit, where it gives one; NaN where it is not positive."""
    if "VDISP" not in given:
        return {}
    value = given["VDISP"].astype(np.float32)
    return {"VDISP": np.where(value > 0, value, np.float32(np.nan))}


def _snr(given: Columns) -> NDArray[np.float32] | None:
    """(n,) the pipeline's median SNR per pixel."""
    return given["SN_MEDIAN_ALL"].astype(np.float32) if "SN_MEDIAN_ALL" in given else None
