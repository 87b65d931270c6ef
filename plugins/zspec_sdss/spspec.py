"""spSpec files of DR7 and before: one spectrum as the rows of the primary image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zspec import HDU, FitsFile, Spectra
from zspec_sdss import masks, metadata, pixels
from zspec_sdss.spplate import loglam

if TYPE_CHECKING:
    from zspec_sdss.adapter import SDSS

SPECTRUM, CONTINUUM_SUBTRACTED, ERROR, MASK = range(4)
"""Rows of the image; a fifth, where there is one, is the sky."""
CLASSES = {1: "STAR", 2: "GALAXY", 3: "QSO", 4: "QSO", 6: "STAR", 7: "GALAXY"}
"""SPEC_CLN, https://classic.sdss.org/dr7/dm/flatFiles/spSpec.html; 0 is unknown, 5 is sky."""
SKY = 5
"""SPEC_CLN of a sky fibre."""


def matches(hdus: Sequence[HDU]) -> bool:
    """Four or more rows, COEFF0, and the cards that LAMOST's files do not have."""
    if not hdus or len(hdus[0].shape) != 2 or not 4 <= hdus[0].shape[0] <= 6:
        return False
    header = hdus[0].header
    return {"COEFF0", "COEFF1", "PLATEID", "FIBERID", "SPEC_CLN"} <= header.keys()


def read(file: FitsFile, rows: range | None, options: SDSS.Options) -> Iterator[Spectra]:
    """The one spectrum of the file, which is row 0."""
    if rows is not None and 0 not in rows:
        return
    image, header = file.image(0), file.header(0)
    error = image[ERROR].astype(np.float64)
    ivar = np.divide(1.0, error**2, out=np.zeros_like(error), where=error > 0)
    mask, wdisp = _last_table(file, options.mask)
    if mask is None:
        mask = np.nan_to_num(image[MASK])
    good = None if options.mask == "none" else masks.good(mask, options.bits)[None]
    arm = pixels.arm(
        loglam(header["COEFF0"], header["COEFF1"], image.shape[1]),
        image[SPECTRUM][None],
        ivar[None],
        str(file.path),
        good,
        None if wdisp is None else wdisp[None],
        metadata.in_vacuum(header, file.path),
    )
    origin = metadata.Origin(file.path, np.zeros(1, np.int32))
    yield metadata.spectra(arm, _given(header), origin)


def _last_table(
    file: FitsFile, mask: str
) -> tuple[NDArray[Any] | None, NDArray[np.floating] | None]:
    """(pixel,) mask and dispersion from the table that has them; not all releases do."""
    size = file.hdus[0].shape[1]
    for index, hdu in enumerate(file.hdus):
        if {"ANDMASK", "ORMASK", "DISPERSION"} <= set(hdu.columns) and hdu.shape == (size,):
            name = "ormask" if mask == "or" else "andmask"
            return file.numbers(index, name), file.numbers(index, "dispersion")
    return None, None


def _given(header: Mapping[str, Any]) -> metadata.Columns:
    """Ids, position and labels. Z_WARNIN has bits of its own and is not read."""
    code = int(header["SPEC_CLN"])
    objtype = "SKY" if code == SKY else str(header.get("OBJTYPE", ""))
    return {
        **metadata.cards(header, 1),
        "OBJTYPE": np.array([objtype]),
        "CLASS": np.array([CLASSES.get(code, "")]),
        "Z": np.array([float(header.get("Z", np.nan))]),
    }
