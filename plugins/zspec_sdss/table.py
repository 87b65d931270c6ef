"""The training table that GaSNet-II's authors released: one row a spectrum, flux and labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from zspec import HDU, FitsFile, InputError, Spectra
from zspec_sdss import metadata, pixels
from zspec_sdss.spplate import CHUNK, loglam

if TYPE_CHECKING:
    from zspec_sdss.adapter import SDSS

NAMES = {"INT_FLUX", "CLASS", "Z", "SN_MEDIAN_ALL"}
"""Columns that tell this table from others."""


def matches(hdus: Sequence[HDU]) -> bool:
    """Whether a table has int_flux and labels."""
    return _index(hdus) is not None


def count(hdus: Sequence[HDU]) -> int:
    """Rows of a file that matches."""
    return hdus[_index(hdus) or 0].shape[0]


def read(file: FitsFile, rows: range | None, options: SDSS.Options) -> Iterator[Spectra]:
    """The rows of the table, in chunks."""
    index = _index(file.hdus) or 0
    n = file.hdus[index].shape[0]
    for start in range(0, n, CHUNK):
        chunk = range(start, min(start + CHUNK, n))
        wanted = np.array([r for r in chunk if rows is None or r in rows], np.int64)
        if len(wanted):
            yield _chunk(file, index, wanted, options)


def _chunk(file: FitsFile, index: int, wanted: NDArray[np.int64], options: SDSS.Options) -> Spectra:
    """The spectra of these rows."""
    flux = file.numbers(index, "int_flux", wanted).astype(np.float64)
    if flux.ndim != 2:
        raise InputError(f"{file.path}, HDU {index}: int_flux holds one value a row; expected many")
    given = metadata.columns(file, index, wanted)
    good = np.isfinite(flux) & (flux != 0)
    snr = given.get("SN_MEDIAN_ALL", np.full(len(wanted), np.nan))
    ivar = np.where(good, _ivar(np.where(good, flux, np.nan), snr), 0)
    arm = pixels.arm(_loglam(file, index, flux.shape[1], options), flux, ivar, str(file.path))
    return metadata.spectra(arm, given, metadata.Origin(file.path, wanted.astype(np.int32)))


def _ivar(flux: NDArray[np.float64], snr: NDArray[np.floating]) -> NDArray[np.float64]:
    """(n, 1) ivar of spectra without errors: flux (n, pixel), NaN for no data; snr (n,) per pixel.

    sigma = median(|flux|) / snr; where that is not positive, the scatter between neighbours, which
    is 1.4826 median|f[i+1] - f[i]| / sqrt(2). 0 where there is neither.
    """
    sigma = np.zeros(len(flux))
    for i, (row, stated) in enumerate(zip(flux, snr, strict=True)):
        row = row[np.isfinite(row)]
        if len(row) > 1:
            sigma[i] = np.median(np.abs(row)) / stated if stated > 0 else 0
            sigma[i] = sigma[i] or 1.4826 * np.median(np.abs(np.diff(row))) / np.sqrt(2)
    known = np.isfinite(sigma) & (sigma > 0)
    ivar = np.zeros((len(flux), 1))
    ivar[known, 0] = 1 / sigma[known] ** 2
    return ivar


def _loglam(file: FitsFile, index: int, size: int, options: SDSS.Options) -> NDArray[np.float64]:
    """(pixel,) log10 Å as the user says, or else the table's header.

    Raises InputError, naming the options, where neither does.
    """
    header = file.header(index)
    if options.wave_start and options.wave_step:
        linear = options.wave_start + options.wave_step * np.arange(size)
        return np.asarray(np.log10(linear), np.float64)
    if options.wave_start and options.wave_dex:
        return loglam(np.log10(options.wave_start), options.wave_dex, size)
    if {"COEFF0", "COEFF1"} <= header.keys():
        return loglam(header["COEFF0"], header["COEFF1"], size)
    raise InputError(
        f"{file.path}, HDU {index}: does not say its wavelengths; give those of its {size} pixels "
        "in Å: -S wave_start=... and -S wave_step=... (linear) or -S wave_dex=... (log10)"
    )


def _index(hdus: Sequence[HDU]) -> int | None:
    """Number of the table's HDU."""
    return next((i for i, hdu in enumerate(hdus) if set(hdu.columns) >= NAMES), None)
