"""spPlate files: all fibres of a plate, with the redshifts of the spZbest file beside it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from zspec import HDU, FitsFile, InputError, Spectra, open_fits
from zspec_sdss import masks, metadata, pixels

if TYPE_CHECKING:
    from zspec_sdss.adapter import SDSS

FLUX, IVAR, AND_MASK, OR_MASK, WDISP, PLUGMAP = range(6)
"""Numbers of the HDUs; the older files have no names."""
LABELS = ("CLASS", "SUBCLASS", "Z", "VDISP", "ZWARNING", "SN_MEDIAN_ALL")
"""Columns of spZbest that are read."""
CHUNK = 512
"""Most spectra that are read at once."""

log = logging.getLogger("zspec.sdss")


def matches(hdus: Sequence[HDU]) -> bool:
    """Flux with COEFF0, ivar of the same shape, and a plug map."""
    if len(hdus) <= PLUGMAP or hdus[PLUGMAP].kind != "table":
        return False
    flux = hdus[FLUX]
    plate = {"COEFF0", "COEFF1"} <= flux.header.keys() and len(flux.shape) == 2
    return plate and all(hdu.shape == flux.shape for hdu in hdus[IVAR:WDISP])


def count(hdus: Sequence[HDU]) -> int:
    """Fibres of a file that matches."""
    return hdus[FLUX].shape[0]


def read(file: FitsFile, rows: range | None, options: SDSS.Options) -> Iterator[Spectra]:
    """The fibres in the order of the file, in chunks."""
    n = file.hdus[FLUX].shape[0]
    labels = _labels(file)
    for start in range(0, n, CHUNK):
        chunk = range(start, min(start + CHUNK, n))
        wanted = np.array([r for r in chunk if rows is None or r in rows], np.int32)
        if len(wanted):
            yield _chunk(file, wanted, labels, options)


def _chunk(
    file: FitsFile, wanted: NDArray[np.int32], labels: metadata.Columns, options: SDSS.Options
) -> Spectra:
    """The fibres of these rows, which lie close to each other."""
    header = file.header(FLUX)
    rows = slice(int(wanted[0]), int(wanted[-1]) + 1)
    inside = wanted - wanted[0]
    flux, ivar = (file.image(hdu, rows)[inside] for hdu in (FLUX, IVAR))
    good = None
    if options.mask != "none":
        mask = file.image(AND_MASK if options.mask == "and" else OR_MASK, rows)[inside]
        good = masks.good(mask, options.bits)
    arm = pixels.arm(
        loglam(header["COEFF0"], header["COEFF1"], flux.shape[1]),
        flux,
        ivar,
        str(file.path),
        good,
        _wdisp(file, rows, flux.shape, inside),
        metadata.in_vacuum(header, file.path),
    )
    origin = metadata.Origin(file.path, wanted)
    return metadata.spectra(arm, _given(file, wanted, labels), origin)


def loglam(coeff0: float, coeff1: float, size: int) -> NDArray[np.float64]:
    """(pixel,) log10 Å from the cards COEFF0 and COEFF1."""
    return np.asarray(float(coeff0) + float(coeff1) * np.arange(size), np.float64)


def _wdisp(
    file: FitsFile, rows: slice, shape: tuple[int, ...], inside: NDArray[np.int32]
) -> NDArray[np.floating] | None:
    """(n, pixel) dispersion, None where the file has none."""
    hdu = file.hdus[WDISP]
    if hdu.kind != "image" or hdu.shape != file.hdus[FLUX].shape:
        return None
    return file.image(WDISP, rows)[inside].reshape(shape)


def _given(file: FitsFile, wanted: NDArray[np.int32], labels: metadata.Columns) -> metadata.Columns:
    """Columns of the header, of the plug map and of spZbest, for these rows."""
    n = len(wanted)
    plugs = metadata.columns(file, PLUGMAP, wanted.astype(np.int64))
    given = {**metadata.cards(file.header(FLUX), n, ("PLATE", "MJD")), **plugs}
    chosen = {name: values[wanted] for name, values in labels.items()}
    return {**given, "FIBERID": _fibers(file)[wanted], **chosen}


def _fibers(file: FitsFile) -> NDArray[np.int64]:
    """(fibre,) FIBERID of each row: the plug map's, or else counted from 1."""
    if file.has(PLUGMAP, "FIBERID"):
        return file.numbers(PLUGMAP, "FIBERID").astype(np.int64)
    return np.arange(1, file.hdus[FLUX].shape[0] + 1)


def _labels(file: FitsFile) -> metadata.Columns:
    """Class, Z, ZWARNING and SNR of each row from spZbest; nothing where there is no such file.

    A spZbest that cannot be read, or is of another plate, costs the labels only, and is logged.
    """
    beside = zbest(file.path)
    if beside is None:
        return {}
    try:
        with open_fits(beside) as best:
            found = metadata.columns(best, 1)
    except InputError as error:
        log.warning("labels left out: %s", error)
        return {}
    fibers = _fibers(file)
    same = len(found.get("Z", ())) == len(fibers)
    if not same or not np.array_equal(found.get("FIBERID", fibers), fibers):
        log.warning("labels left out: %s is not of %s", beside, file.path.name)
        return {}
    return {k: v for k, v in found.items() if k in LABELS}


def zbest(path: Path) -> Path | None:
    """The spZbest file of a spPlate file: beside it, or in a folder below (run1d)."""
    name = zbest_name(path.name)
    found = [path.with_name(name), *sorted(path.parent.glob(f"*/{name}"))]
    return next((p for p in found if p.is_file()), None)


def zbest_name(name: str) -> str:
    """Name of the spZbest file that belongs to a file of fluxes."""
    stem = next((stem for stem in ("spPlate", "spField") if stem in name), None)
    return name.replace(stem, "spZbest") if stem else f"spZbest-{name}"
