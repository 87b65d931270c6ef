"""Which column of a Phase 3 table is what: by TUTYP first, by its name where it has none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zspec import HDU, FitsFile, InputError

AXES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "wave": (
        ("spectralaxis.value",),
        ("WAVE", "WAVELENGTH", "LAMBDA", "WAVE_AIR", "WAVE_VAC"),
    ),
    "flux": (
        ("fluxaxis.value",),
        ("FLUX", "FLUX_REDUCED", "FLUX_CAL", "FLUX_DENSITY"),
    ),
    "error": (
        ("fluxaxis.accuracy.staterror", "fluxaxis.accurancy.staterror"),
        ("ERR_FLUX", "ERR", "ERROR", "FLUX_ERR", "ERR_REDUCED", "SIGMA"),
    ),
    "quality": (
        ("fluxaxis.accuracy.qualitystatus", "fluxaxis.quality"),
        ("QUAL", "QUALITY", "QUAL_REDUCED", "MASK"),
    ),
}
"""What we need: endings of its TUTYP in lower case (the prefix varies: Spectrum.Data., spec:Data.,
eso:Data.; some ESO products misspell Accuracy), and column names, best first."""

NOT_SKY_SUBTRACTED = "NOSS"
"""What marks the columns of the spectrum before sky subtraction, which share the TUTYP."""


@dataclass(frozen=True)
class Columns:
    """Names of the columns of one spectrum table, and what its header says of them."""

    wave: str
    flux: str
    error: str
    quality: str | None
    """None where the table has no quality column: then every pixel counts as good."""
    wave_unit: str
    flux_unit: str
    error_unit: str
    ucd: str
    """TUCD of the wavelengths in lower case, or empty."""


def find_hdu(file: FitsFile) -> tuple[int, Columns]:
    """Number and columns of the spectrum table. Raises InputError where there is none."""
    for index, hdu in enumerate(file.hdus):
        found = find_columns(hdu)
        if found is not None:
            return index, found
    tables = [h for h in file.hdus if h.kind == "table"][:3]
    there = "; ".join(f"{h.name}: {', '.join(h.columns[:5])}" for h in tables) or "none"
    raise InputError(
        f"{file.path}: no table with wavelength, flux and error columns was found, by TUTYP or "
        f"as WAVE, FLUX, ERR_FLUX (tables found: {there}). Is it a 4MOST spectrum?"
    )


def find_columns(hdu: HDU) -> Columns | None:
    """Columns of a spectrum table, or None where the HDU is no such table. Never raises."""
    if hdu.kind != "table":
        return None
    at = {axis: _find(hdu, axis) for axis in AXES}
    if at["wave"] is None or at["flux"] is None or at["error"] is None:
        return None
    return Columns(
        wave=hdu.columns[at["wave"]],
        flux=hdu.columns[at["flux"]],
        error=hdu.columns[at["error"]],
        quality=None if at["quality"] is None else hdu.columns[at["quality"]],
        wave_unit=card(hdu.header, f"TUNIT{at['wave'] + 1}"),
        flux_unit=card(hdu.header, f"TUNIT{at['flux'] + 1}"),
        error_unit=card(hdu.header, f"TUNIT{at['error'] + 1}"),
        ucd=card(hdu.header, f"TUCD{at['wave'] + 1}").lower(),
    )


def card(header: Mapping[str, Any], name: str) -> str:
    """Text of a header card without blanks at its ends; empty where it is missing."""
    return str(header.get(name) or "").strip()


def _find(hdu: HDU, axis: str) -> int | None:
    """Number of the column that is this axis, from 0, or None.

    Where several share the TUTYP, the one whose TUCD holds ``meta.main`` wins, then the first.
    """
    utypes, names = AXES[axis]
    candidates = [
        i
        for i, column in enumerate(hdu.columns)
        if card(hdu.header, f"TUTYP{i + 1}").lower().endswith(utypes)
        and NOT_SKY_SUBTRACTED not in column
    ]
    if candidates:
        main = [i for i in candidates if "meta.main" in card(hdu.header, f"TUCD{i + 1}").lower()]
        return (main or candidates)[0]
    named = [hdu.columns.index(name) for name in names if name in hdu.columns]
    return named[0] if named else None
