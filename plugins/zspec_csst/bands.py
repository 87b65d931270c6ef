"""Bands of CSST spectra as the file has them, and as arms in zspec's units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zspec import Arm, FitsFile, InputError, to_angstrom, to_flux_unit
from zspec_csst.layout import Layout
from zspec_csst.sources import Sources

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Band:
    """One band of n sources in the file's own units."""

    name: str
    wave: Float
    """(n, pixel); NaN and 0 pad it."""
    flux: Float
    """(n, pixel)"""
    ivar: Float
    """(n, pixel) in the inverse square of flux's unit; 0 where there is no information."""
    lsf: Float | None
    """(n, pixel) sigma in wave's unit."""
    wave_unit: str
    flux_unit: str
    where: str
    """File and HDU or column, for messages."""

    def arm(self, rows: slice) -> Arm:
        """Some rows, which share their wavelengths, as an arm."""
        first = self.wave[rows][0]
        real = np.isfinite(first) & (first > 0)
        wave = to_angstrom(first[real], self.wave_unit, self.where)
        factor = to_flux_unit(np.ones_like(wave), wave, self.flux_unit, self.where)
        lsf = None
        if self.lsf is not None:
            lsf = to_angstrom(self.lsf[rows][:, real], self.wave_unit, self.where)
        return Arm(
            name=self.name,
            wave=wave,
            flux=(self.flux[rows][:, real] * factor).astype(np.float32),
            ivar=(self.ivar[rows][:, real] / factor**2).astype(np.float32),
            resolution=None if lsf is None else lsf.astype(np.float32),
        )


def read_band(sources: Sources, band: str) -> Band | None:
    """A band of some sources, or None where the file has none of it or no usable wavelengths.

    A source without usable wavelengths keeps its row, with those of its neighbour and ivar 0.
    """
    found = _from_images(sources, band) if sources.spectra is None else _from_table(sources, band)
    if found is None:
        return None
    usable = _usable(found.wave)
    if not usable.any():
        return None
    # each unusable row takes the wavelengths of the last usable row before it, or the first of all
    last = np.maximum.accumulate(np.where(usable, np.arange(len(usable)), -1))
    found.wave[:] = found.wave[np.where(last < 0, np.argmax(usable), last)]
    found.ivar[~usable] = 0
    return found


def runs(bands: list[Band]) -> Iterator[slice]:
    """Runs of rows that share the wavelengths of every band, in order."""
    changes = np.zeros(len(bands[0].wave) - 1, bool)
    for band in bands:
        before, after = band.wave[:-1], band.wave[1:]
        same = (before == after) | (np.isnan(before) & np.isnan(after))
        changes |= ~same.all(axis=1)
    starts = (np.flatnonzero(changes) + 1).tolist()
    for start, stop in pairwise([0, *starts, len(bands[0].wave)]):
        yield slice(start, stop)


def _usable(wave: Float) -> NDArray[np.bool_]:
    """(n,) whether wavelengths (n, pixel) increase, but for padding by NaN or 0."""
    kept = [row[np.isfinite(row) & (row > 0)] for row in wave]
    return np.array([len(row) > 1 and bool(np.all(np.diff(row) > 0)) for row in kept], bool)


def _from_images(sources: Sources, band: str) -> Band | None:
    """A band of image HDUs; see :func:`read_band`."""
    file, layout = sources.file, sources.layout
    name = {key: getattr(layout, key).format(band=band) for key in ("wave", "flux", "ivar")}
    if not file.has(name["wave"]) and not file.has(name["flux"]):
        return None
    flux = _image(file, name["flux"], sources.rows)
    noise = _noise(file, layout, band, sources.rows)
    wave = _image(file, name["wave"], sources.rows)
    lsf_name = layout.lsf.format(band=band)
    lsf = _image(file, lsf_name, sources.rows) if file.has(lsf_name) else None
    for array, hdu in ((noise, name["ivar"]), (wave, name["wave"]), (lsf, lsf_name)):
        if array is not None and array.shape != flux.shape:
            raise InputError(
                f"{file.path}, HDU {hdu}: shape {array.shape} does not fit {flux.shape} of "
                f"{name['flux']}"
            )
    return Band(
        name=band,
        wave=wave,
        flux=flux,
        ivar=noise,
        lsf=lsf,
        wave_unit=_unit(file.header(name["wave"]), "BUNIT") or layout.wave_unit,
        flux_unit=_unit(file.header(name["flux"]), "BUNIT") or layout.flux_unit,
        where=f"{file.path}, HDU {name['flux']}",
    )


def _noise(file: FitsFile, layout: Layout, band: str, rows: NDArray[np.int64]) -> Float:
    """(n, pixel) ivar of image HDUs, from ivar or error, 0 where the mask is set."""
    ivar_name, error_name = layout.ivar.format(band=band), layout.error.format(band=band)
    if file.has(ivar_name) or not file.has(error_name):
        ivar = _image(file, ivar_name, rows)
    else:
        ivar = _inverse_square(_image(file, error_name, rows))
    mask = layout.mask.format(band=band)
    if file.has(mask):
        ivar = np.where(_image(file, mask, rows) == 0, ivar, 0)
    return ivar


def _image(file: FitsFile, hdu: str, rows: NDArray[np.int64]) -> Float:
    """(n, pixel) rows of an image; one of a single row (pixel,) is the same for all."""
    shape = file.hdus[file.index(hdu)].shape
    if len(shape) == 1:
        return np.tile(file.image(hdu).astype(np.float64), (len(rows), 1))
    if len(shape) != 2:
        raise InputError(f"{file.path}, HDU {hdu}: has {len(shape)} axes; (source, pixel) expected")
    first, last = int(rows[0]), int(rows[-1])
    if last >= shape[0]:
        raise InputError(f"{file.path}, HDU {hdu}: has {shape[0]} rows; {last + 1} were expected")
    return file.image(hdu, slice(first, last + 1))[rows - first].astype(np.float64)


def _from_table(sources: Sources, band: str) -> Band | None:
    """A band of the table of spectra; sources that lack it have NaN wavelengths."""
    file, layout = sources.file, sources.layout
    rows = (sources.spectra or {})[band]
    there = np.flatnonzero(rows >= 0)
    if not len(there):
        return None
    names = (layout.wave_column, layout.flux_column, layout.error_column)
    wave, flux, error = (_vectors(file, layout, name, rows, there) for name in names)
    units = {
        name: _unit(file.header(layout.spectra), f"TUNIT{_number(file, layout, name)}")
        for name in names
    }
    return Band(
        name=band,
        wave=wave,
        flux=flux,
        ivar=_inverse_square(error),
        lsf=None,
        wave_unit=units[layout.wave_column] or layout.wave_unit,
        flux_unit=units[layout.flux_column] or layout.flux_unit,
        where=f"{file.path}, HDU {layout.spectra}",
    )


def _vectors(
    file: FitsFile,
    layout: Layout,
    name: str,
    rows: NDArray[np.int64],
    there: NDArray[np.intp],
) -> Float:
    """(n, pixel) of a vector column; NaN for sources that are not ``there``."""
    order = np.argsort(rows[there])
    data = file.column(layout.spectra, name, rows[there][order])
    if data.ndim != 2 or data.dtype.kind not in "iuf":
        raise InputError(
            f"{file.path}, HDU {layout.spectra}: column {name} has no vector of numbers in each row"
        )
    full = np.full((len(rows), data.shape[1]), np.nan)
    full[there[order]] = data
    return full


def _number(file: FitsFile, layout: Layout, name: str) -> int:
    """Number of a column of the table of spectra, from 1."""
    return file.columns(layout.spectra).index(name.upper()) + 1


def _inverse_square(error: Float) -> Float:
    """1 / error², and 0 where the error is not finite or not above 0."""
    good = np.isfinite(error) & (error > 0)
    return np.divide(1.0, error**2, out=np.zeros_like(error), where=good)


def _unit(header: Mapping[str, Any], card: str) -> str:
    """A unit card without blanks; empty where it is missing."""
    return str(header.get(card) or "").strip()
