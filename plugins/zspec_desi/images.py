"""The images of DESI's arms: which there are, and some rows of them.

HDUs are found by name, never by number. X_FLUX, X_IVAR and X_WAVELENGTH are needed for each arm X;
X_MASK may be an image, a tile-compressed image, a table with one vector column, or missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zspec import HDU, FitsFile, InputError

ARMS = ("B", "R", "Z")
MERGED = ("BRZ", "BR", "RZ")
"""Names of arms that are merged already; read only where no single arm is there."""


def find_arms(hdus: Sequence[HDU]) -> tuple[str, ...]:
    """Names of the arms of a file, from blue to red: those with a flux. Empty for other files."""
    names = {hdu.name for hdu in hdus}
    single = tuple(arm for arm in ARMS if f"{arm}_FLUX" in names)
    return single or tuple(arm for arm in MERGED if f"{arm}_FLUX" in names)[:1]


def is_complete(hdus: Sequence[HDU], arm: str) -> bool:
    """Whether an arm has flux, ivar and wavelengths that fit each other."""
    shapes = {hdu.name: hdu.shape for hdu in hdus if hdu.kind == "image"}
    flux, ivar, wave = (shapes.get(f"{arm}_{kind}", ()) for kind in ("FLUX", "IVAR", "WAVELENGTH"))
    return len(flux) == 2 and ivar == flux and wave == flux[1:]


def count_rows(fits: FitsFile, arms: Sequence[str]) -> int:
    """Number of spectra. Raises InputError where there is no arm, or the images do not fit."""
    if not arms:
        there = ", ".join(hdu.name for hdu in fits.hdus if hdu.name) or "no named HDU"
        raise InputError(
            f"{fits.path}: no DESI spectra: HDUs B_FLUX, B_IVAR, B_WAVELENGTH (or R_, Z_, BRZ_) "
            f"were expected, found {there[:120]}; give a coadd-*.fits or spectra-*.fits file"
        )
    for arm in arms:
        shapes = [fits.hdus[fits.index(f"{arm}_{k}")].shape for k in ("FLUX", "IVAR", "WAVELENGTH")]
        if not is_complete(fits.hdus, arm):
            raise InputError(
                f"{fits.path}: {arm}_FLUX, {arm}_IVAR and {arm}_WAVELENGTH have shapes "
                f"{shapes[0]}, {shapes[1]}, {shapes[2]}; (n, pixel), (n, pixel), (pixel,) expected"
            )
    counts = {arm: fits.hdus[fits.index(f"{arm}_FLUX")].shape[0] for arm in arms}
    if len(set(counts.values())) > 1:
        raise InputError(f"{fits.path}: arms have different numbers of spectra: {counts}")
    return counts[arms[0]]


def read_wave(fits: FitsFile, arm: str) -> NDArray[np.float64]:
    """(pixel,) Å, vacuum, barycentric. Raises InputError where they do not increase."""
    wave = np.asarray(fits.image(f"{arm}_WAVELENGTH"), np.float64)
    if not np.all(np.isfinite(wave)) or np.any(wave <= 0) or np.any(np.diff(wave) <= 0):
        raise InputError(
            f"{fits.path}, HDU {arm}_WAVELENGTH: wavelengths in Å, > 0 and increasing, expected"
        )
    return wave


def read_pixels(
    fits: FitsFile, arm: str, rows: NDArray[np.int64], use_mask: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(rows, pixel) flux in 1e-17 erg/s/cm2/Å and ivar; both 0 where a pixel is not good.

    Not good is what is not finite, has no positive ivar or, if ``use_mask``, any bit in X_MASK.
    """
    flux = take(fits, f"{arm}_FLUX", rows)
    ivar = take(fits, f"{arm}_IVAR", rows)
    good = np.isfinite(flux) & np.isfinite(ivar) & (ivar > 0)
    if use_mask and fits.has(f"{arm}_MASK"):
        mask = take(fits, f"{arm}_MASK", rows)
        if mask.shape != flux.shape:
            raise InputError(
                f"{fits.path}, HDU {arm}_MASK: shape of {arm}_FLUX expected; "
                "-S mask=none reads the file without masks"
            )
        good &= mask == 0
    zero = np.float32(0)
    return np.where(good, flux, zero).astype("f4"), np.where(good, ivar, zero).astype("f4")


def take(fits: FitsFile, hdu: str, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Some rows, in any order, of an image or of the first column of a table: (rows, ...).

    Neighbouring rows are read at once, and no others.
    """
    order = np.argsort(rows)
    found = _read_increasing(fits, hdu, rows[order])
    return found if np.all(np.diff(order) > 0) else found[np.argsort(order)]


def _read_increasing(fits: FitsFile, hdu: str, rows: NDArray[np.int64]) -> NDArray[Any]:
    described = fits.hdus[fits.index(hdu)]
    if described.kind == "table":
        return fits.numbers(hdu, described.columns[0], rows)
    runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
    parts = [fits.image(hdu, slice(int(run[0]), int(run[-1]) + 1)) for run in runs if len(run)]
    return np.concatenate(parts) if len(parts) > 1 else parts[0]
