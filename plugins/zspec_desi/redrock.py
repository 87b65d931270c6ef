"""Redshifts that redrock found, from the file beside the spectra: the truth, never an input.

``coadd-4-80613-thru20210324.fits`` and the spectra file of that name have their redshifts in
``redrock-4-80613-thru20210324.fits``, HDU REDSHIFTS; older ones in ``zbest-...``, HDU ZBEST.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zspec import FitsFile, InputError, Truth, ZWarn, open_fits, write_fits

PRODUCTS = {"redrock": "REDSHIFTS", "zbest": "ZBEST"}
"""Start of the file's name: HDU."""

log = logging.getLogger("zspec.desi")


@dataclass(frozen=True)
class Redshifts:
    """Rows of a redrock file whose ZWARN is 0, in the order of TARGETID."""

    ids: NDArray[np.int64]
    spectype: NDArray[np.str_]
    z: NDArray[np.float64]

    def of(self, ids: NDArray[np.int64]) -> Truth:
        """Truth of these targets; empty and NaN where there is none."""
        at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        if not len(self.ids):
            return Truth(np.full(len(ids), ""), np.full(len(ids), np.nan))
        known = self.ids[at] == ids
        return Truth(np.where(known, self.spectype[at], ""), np.where(known, self.z[at], np.nan))


def neighbour(path: Path, product: str = "redrock") -> Path:
    """Name of the redshift file of a coadd or spectra file."""
    name = path.name.removesuffix(".gz")
    tail = name.removeprefix("coadd-").removeprefix("spectra-")
    return path.with_name(f"{product}-{tail}")


def find(path: Path) -> Redshifts | None:
    """Redshifts of the spectra in ``path``; None where there is no file beside it.

    One that cannot be read costs a warning, for no prediction needs it.
    """
    for product, hdu in PRODUCTS.items():
        plain = neighbour(path, product)
        for beside in (plain, plain.with_name(plain.name + ".gz")):
            if beside.exists() and beside != path:
                try:
                    with open_fits(beside) as fits:
                        return _read(fits, hdu)
                except InputError as error:
                    log.warning("no truth from %s", error)
    return None


def _read(fits: FitsFile, hdu: str) -> Redshifts:
    """What redrock itself is sure of."""
    ids = fits.numbers(hdu, "TARGETID").astype(np.int64)
    z = fits.numbers(hdu, "Z").astype(np.float64)
    spectype = np.char.strip(fits.column(hdu, "SPECTYPE").astype(str))
    sure = np.isfinite(z)
    if fits.has(hdu, "ZWARN"):
        sure &= fits.numbers(hdu, "ZWARN") == 0
    ids, first = np.unique(ids[sure], return_index=True)
    return Redshifts(ids, spectype[sure][first], z[sure][first])


def write(path: Path, ids: NDArray[np.int64], truth: Truth) -> None:
    """Write ``truth`` as the redrock file of the spectra in ``path``; NODATA where unknown."""
    known = np.isfinite(truth.z)
    columns = {
        "TARGETID": ids,
        "Z": np.where(known, truth.z, 0.0),
        "ZERR": np.zeros(len(ids)),
        "ZWARN": np.where(known, 0, int(ZWarn.NODATA)).astype(np.int64),
        "SPECTYPE": truth.spectype.astype("S6"),
        "SUBTYPE": np.full(len(ids), b"", "S20"),
    }
    write_fits(neighbour(path), [("", np.zeros(0), {}), ("REDSHIFTS", columns, {})])
