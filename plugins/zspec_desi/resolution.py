"""The line-spread function from X_RESOLUTION, and back.

X_RESOLUTION holds the diagonals of a band matrix per spectrum, (n, diagonal, pixel): entry k of
column j says how much of the light of pixel j is measured k - 5 pixels away (Bolton & Schlegel
2010). Its second moment is the LSF's variance at j. The diagonals are 79 % of a coadd's bytes and
fibres of one file were seen to differ by up to 2.4 %, so by default a few rows stand for all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zspec import FitsFile, InputError
from zspec_desi import images
from zspec_desi.exposures import Group, average

SAMPLE = 16
"""Rows whose diagonals are read where a file's median LSF is wanted."""
DIAGONALS = 11
"""How many DESI stores, and ``diagonals`` makes."""


def sigma(diagonals: NDArray[np.floating], wave: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, pixel) sigma in Å of (n, diagonal, pixel); NaN where a fibre has no data.

    wave: (pixel,) Å.
    """
    offset = np.arange(diagonals.shape[1]) - diagonals.shape[1] // 2
    moments = [np.einsum("ndp,d->np", diagonals, offset.astype("f4") ** k) for k in range(3)]
    total, first, second = (m.astype(np.float64) for m in moments)
    some = total > 0
    mean = np.divide(first, total, out=np.zeros_like(total), where=some)
    square = np.divide(second, total, out=np.zeros_like(total), where=some)
    variance = square - mean**2
    return np.sqrt(np.where(some & (variance > 0), variance, np.nan)) * np.gradient(wave)


def diagonals(lsf: NDArray[np.floating], wave: NDArray[np.float64]) -> NDArray[np.float32]:
    """(n, 11, pixel) of (n, pixel) sigma in Å: Gaussians, each column of sum 1 to 1e-4.

    Rounded to 2^-16, which moves sigma by less than 1e-3 and lets files compress to half the size.
    """
    offset = np.arange(DIAGONALS)[:, None] - DIAGONALS // 2
    width = (lsf / np.gradient(wave))[:, None, :]  # (n, 1, pixel) in pixels
    band = np.exp(-0.5 * (offset / width) ** 2)
    band /= band.sum(axis=1, keepdims=True)
    return np.asarray(np.round(band * 2**16) / 2**16, np.float32)


def median(fits: FitsFile, arm: str, wave: NDArray[np.float64]) -> NDArray[np.float32] | None:
    """(pixel,) median sigma in Å over up to 16 rows of the file; None where it has none.

    Pixels for which no row has a value take that of their neighbours.
    """
    if not fits.has(f"{arm}_RESOLUTION"):
        return None
    n = fits.hdus[fits.index(f"{arm}_FLUX")].shape[0]
    rows = np.unique(np.linspace(0, n - 1, min(n, SAMPLE)).astype(np.int64))
    values = _read_sigma(fits, arm, rows, wave)
    seen = np.isfinite(values).any(axis=0)
    if not seen.any():
        return None
    middle = np.nanmedian(values[:, seen], axis=0)
    return np.interp(wave, wave[seen], middle).astype(np.float32)


def each(
    fits: FitsFile, arm: str, wave: NDArray[np.float64], group: Group, ivar: NDArray[np.float32]
) -> NDArray[np.float32] | None:
    """(target, pixel) sigma in Å of every target, averaged by ivar over its rows.

    ivar: (row, pixel) of the group. Where a target has no data the file's median stands in; None
    where the file has none either.
    """
    usual = median(fits, arm, wave)
    if usual is None:
        return None
    values = _read_sigma(fits, arm, group.rows, wave)
    known = np.isfinite(values)
    mean, weight = average(group, np.where(known, values, 0), np.where(known, ivar, 0))
    return np.where(weight > 0, mean, usual)


def _read_sigma(
    fits: FitsFile, arm: str, rows: NDArray[np.int64], wave: NDArray[np.float64]
) -> NDArray[np.float64]:
    hdu = f"{arm}_RESOLUTION"
    shape = fits.hdus[fits.index(hdu)].shape
    spectra, pixels = fits.hdus[fits.index(f"{arm}_FLUX")].shape
    if len(shape) != 3 or (shape[0], shape[2]) != (spectra, pixels):
        raise InputError(
            f"{fits.path}, HDU {hdu}: ({spectra}, diagonals, {pixels}) expected, found {shape}; "
            "-S lsf=none reads the file without it"
        )
    return sigma(images.take(fits, hdu, rows), wave)
