"""GaSNet-III's grid file: images FLUX and IVAR (spectrum, pixel), and LOGLAM (pixel,)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from zspec import HDU, FitsFile, InputError, Spectra
from zspec_sdss import metadata, pixels
from zspec_sdss.spplate import CHUNK

if TYPE_CHECKING:
    from zspec_sdss.adapter import SDSS


def matches(hdus: Sequence[HDU]) -> bool:
    """Images of these names, of which flux has two axes."""
    images = {hdu.name: hdu for hdu in hdus if hdu.kind == "image"}
    return {"FLUX", "IVAR", "LOGLAM"} <= images.keys() and len(images["FLUX"].shape) == 2


def count(hdus: Sequence[HDU]) -> int:
    """Spectra of a file that matches."""
    return next(hdu.shape[0] for hdu in hdus if hdu.name == "FLUX")


def read(file: FitsFile, rows: range | None, options: SDSS.Options) -> Iterator[Spectra]:
    """The spectra in chunks. There are no masks, so that the options do not matter."""
    shape = file.hdus[file.index("FLUX")].shape
    ivar_shape = file.hdus[file.index("IVAR")].shape
    if ivar_shape != shape:
        raise InputError(f"{file.path}: FLUX is {shape} and IVAR {ivar_shape}; expected the same")
    loglam = file.image("LOGLAM")
    for start in range(0, shape[0], CHUNK):
        stop = min(start + CHUNK, shape[0])
        wanted = np.array([r for r in range(start, stop) if rows is None or r in rows], np.int32)
        if len(wanted):
            part, inside = slice(int(wanted[0]), int(wanted[-1]) + 1), wanted - wanted[0]
            flux, ivar = (file.image(name, part)[inside] for name in ("FLUX", "IVAR"))
            arm = pixels.arm(loglam, flux, ivar, str(file.path))
            yield metadata.spectra(arm, {}, metadata.Origin(file.path, wanted))
