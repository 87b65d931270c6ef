"""Spectra as a coadd file of DESI: what the simulator and the tests write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zspec import Arm, Spectra, ZWarn, write_fits
from zspec_desi import fibermap, redrock, resolution

FLUX_UNIT = "10**-17 erg/(s cm2 Angstrom)"
IVAR_UNIT = "10**+34 (s2 cm4 Angstrom2) / erg2"
SOMEBADPIX = 1
"""Bit of X_MASK for pixels that are not good."""
STATUS = {ZWarn.UNPLUGGED: 1 << 1, ZWarn.BAD_TARGET: 1 << 9}
"""COADD_FIBERSTATUS for rows that have none: STUCKPOSITIONER, BADPOSITION."""

PACKED = 64
"""Up to so many spectra the resolution is compressed, which takes longer than to simulate them."""

Hdus = list[tuple[str, NDArray[Any] | Mapping[str, NDArray[Any]], Mapping[str, Any]]]


def write(path: Path, spectra: Spectra) -> None:
    """Write a coadd file, and the truth as the redrock file beside it.

    Masks are compressed, as DESI's are, and the resolution of few spectra, too. Raises OutputError
    where a file exists or cannot be written.
    """
    hdus: Hdus = [("", np.zeros(0), {"ORIGIN": "zspec, in the layout of a DESI coadd"})]
    hdus.append(("FIBERMAP", _fibermap(spectra), {}))
    for arm in spectra.arms:
        hdus += _arm(arm)
    packed = ("_MASK", "_RESOLUTION") if len(spectra) <= PACKED else ("_MASK",)
    small = {name for name, *_ in hdus if name.endswith(packed)}
    write_fits(path, hdus, compress=small)
    if spectra.truth is not None:
        redrock.write(path, spectra.ids, spectra.truth)


def _arm(arm: Arm) -> Hdus:
    mask = np.where(arm.usable, 0, SOMEBADPIX).astype(np.int32)
    hdus: Hdus = [
        (f"{arm.name}_WAVELENGTH", arm.wave, {"BUNIT": "Angstrom"}),
        (f"{arm.name}_FLUX", arm.flux, {"BUNIT": FLUX_UNIT}),
        (f"{arm.name}_IVAR", arm.ivar, {"BUNIT": IVAR_UNIT}),
        (f"{arm.name}_MASK", mask, {}),
    ]
    if arm.resolution is not None:
        band = resolution.diagonals(np.atleast_2d(arm.resolution), arm.wave)
        every = np.broadcast_to(band, (len(arm.flux), *band.shape[1:]))
        hdus.append((f"{arm.name}_RESOLUTION", np.ascontiguousarray(every), {}))
    return hdus


def _fibermap(spectra: Spectra) -> dict[str, NDArray[Any]]:
    """Columns of FIBERMAP; type and status follow from ``zwarn`` where the table has none."""
    n = len(spectra)
    zwarn = np.zeros(n, np.int64) if spectra.zwarn is None else spectra.zwarn
    status = np.zeros(n, np.int32)
    for flag, bit in STATUS.items():
        status |= np.where(zwarn & int(flag) != 0, bit, 0).astype(np.int32)
    kind = np.where(zwarn & int(ZWarn.SKY) != 0, "SKY", "TGT")
    table = {"OBJTYPE": kind, "COADD_FIBERSTATUS": status} | dict(spectra.table)
    columns = {"TARGETID": spectra.ids}
    for name, column in (fibermap.COLUMNS | {"COADD_FIBERSTATUS": "COADD_FIBERSTATUS"}).items():
        if name in table:
            columns[column] = table[name]
    columns["OBJTYPE"] = columns["OBJTYPE"].astype("S3")
    return columns
