"""spec and spec-lite files: the coadd of one spectrum, and its row of specObj or spAll."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from zspec import HDU, FitsFile, InputError, Spectra
from zspec_sdss import masks, metadata, pixels

if TYPE_CHECKING:
    from zspec_sdss.adapter import SDSS

COADD = 1
"""Number of the HDU; its name may be blank."""


def matches(hdus: Sequence[HDU]) -> bool:
    """A table with flux and loglam comes first."""
    return len(hdus) > COADD and {"FLUX", "LOGLAM"} <= set(hdus[COADD].columns)


def read(file: FitsFile, rows: range | None, options: SDSS.Options) -> Iterator[Spectra]:
    """The one spectrum of the file, which is row 0."""
    if rows is not None and 0 not in rows:
        return
    where = f"{file.path}, HDU {COADD}"
    loglam, flux, ivar = (file.numbers(COADD, name) for name in ("loglam", "flux", "ivar"))
    if flux.ndim != 1 or len(flux) < 2:
        raise InputError(f"{where}: shape {flux.shape}; expected one pixel per row, two or more")
    good = None
    if options.mask != "none":
        name = f"{options.mask}_mask"
        if not file.has(COADD, name):
            raise InputError(f"{where}: column {name!r} is missing; try -S mask=none")
        good = masks.good(file.numbers(COADD, name), options.bits)[None]
    wdisp = file.numbers(COADD, "wdisp")[None] if file.has(COADD, "wdisp") else None
    header = file.header(0)
    vacuum = metadata.in_vacuum(header, file.path)
    arm = pixels.arm(loglam, flux[None], ivar[None], where, good, wdisp, vacuum)
    given = {**metadata.cards(header, 1), **_row(file)}
    origin = metadata.Origin(file.path, np.zeros(1, np.int32))
    yield metadata.spectra(arm, given, origin)


def _row(file: FitsFile) -> metadata.Columns:
    """The row of specObj or spAll: of the first table after the coadd that has one row."""
    for index, hdu in enumerate(file.hdus):
        if index > COADD and hdu.kind == "table" and hdu.shape == (1,):
            return metadata.columns(file, index)
    return {}
