"""Spectra to SDSS's own layouts: spec-lite for one, spPlate and spZbest for several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zspec import Arm, OutputError, Spectra, Truth, write_fits
from zspec_sdss.masks import SPPIXMASK
from zspec_sdss.metadata import plate_mjd_fiber
from zspec_sdss.spplate import zbest_name

UNIT = "1E-17 erg/cm^2/s/Ang"
"""BUNIT, as the survey spells it."""
EMPTY: NDArray[np.float32] = np.zeros(0, np.float32)
"""Data of a primary HDU without data."""


def write_spec(path: Path, spectra: Spectra) -> None:
    """Write one spectrum as a spec-lite file. Raises OutputError."""
    arm = _arm(path, spectra)
    loglam, _ = _log_uniform(path, arm)
    coadd = {
        "flux": arm.flux[0],
        "loglam": loglam.astype(np.float32),
        "ivar": arm.ivar[0],
        "and_mask": _mask(arm)[0],
        "or_mask": _mask(arm)[0],
        "wdisp": _wdisp(arm, loglam)[0],
    }
    row = {**_keys(spectra), **_labels(spectra)}
    header = {"VACUUM": True, "BUNIT": UNIT}
    write_fits(path, [("", EMPTY, header), ("COADD", coadd, {}), ("SPALL", row, {})])


def write_plate(path: Path, spectra: Spectra) -> None:
    """Write a spPlate file, and what is known of class and redshift to spZbest beside it.

    An arm that is log-uniform keeps its pixels. Raises OutputError.
    """
    arm = _arm(path, spectra)
    loglam, step = _log_uniform(path, arm)
    header = {"COEFF0": float(loglam[0]), "COEFF1": step, "VACUUM": True, "BUNIT": UNIT}
    mask = _mask(arm)
    images = {
        "": arm.flux,
        "IVAR": arm.ivar,
        "ANDMASK": mask,
        "ORMASK": mask,
        "WAVEDISP": _wdisp(arm, loglam),
    }
    plate = [(name, data, {} if name else header) for name, data in images.items()]
    write_fits(path, [*plate, ("PLUGMAP", _keys(spectra), {})])
    labels = _labels(spectra)
    if labels:
        labels |= {k: spectra.table[k] for k in ("PLATE", "MJD", "FIBERID") if k in spectra.table}
        write_fits(path.with_name(zbest_name(path.name)), [("", EMPTY, {}), ("ZBEST", labels, {})])


def _arm(path: Path, spectra: Spectra) -> Arm:
    """The one arm that SDSS's layouts hold."""
    if len(spectra.arms) != 1:
        raise OutputError(f"{path}: SDSS's layout holds one arm, and these spectra have several")
    return spectra.arms[0]


def _mask(arm: Arm) -> NDArray[np.int32]:
    """(n, pixel) SPPIXMASK: FULLREJECT where not good, NODATA where no spectrum is."""
    bits = np.where(arm.usable, 0, 1 << SPPIXMASK["FULLREJECT"])
    none = ~arm.usable.any(axis=0)
    return np.where(none, 1 << SPPIXMASK["NODATA"], bits).astype(np.int32)


def _log_uniform(path: Path, arm: Arm) -> tuple[NDArray[np.float64], float]:
    """(pixel,) log10 Å and the step."""
    loglam = np.log10(arm.wave)
    step = float(loglam[-1] - loglam[0]) / max(len(loglam) - 1, 1)
    if np.max(np.abs(loglam[0] + step * np.arange(len(loglam)) - loglam)) > 0.01 * step:
        raise OutputError(f"{path}: SDSS's layout holds log-uniform pixels, and these are not")
    return loglam, step


def _wdisp(arm: Arm, loglam: NDArray[np.float64]) -> NDArray[np.float32]:
    """(n, pixel) LSF sigma in pixels; 0 where it is not known."""
    if arm.resolution is None:
        return np.zeros(arm.flux.shape, np.float32)
    width = arm.wave * np.log(10) * np.median(np.diff(loglam))
    return np.broadcast_to(arm.resolution / width, arm.flux.shape).astype(np.float32)


def _keys(spectra: Spectra) -> dict[str, NDArray[Any]]:
    """Columns that identify the spectra, so that reading gives the same ids and table."""
    table = dict(spectra.table)
    digits = {"PLATE", "MJD", "FIBERID"} <= table.keys() and np.array_equal(
        plate_mjd_fiber(table), spectra.ids
    )
    return table if digits else {**table, "CATALOGID": spectra.ids}


def _labels(spectra: Spectra) -> dict[str, NDArray[Any]]:
    """Columns of spZbest that are known."""
    labels: dict[str, NDArray[Any]] = {}
    if spectra.truth is not None:
        labels |= {"CLASS": spectra.truth.spectype.astype("U6"), "Z": spectra.truth.z}
        if spectra.truth.label is not None:
            labels["SUBCLASS"] = subclasses(spectra.truth)
    if spectra.zwarn is not None:
        labels["ZWARNING"] = spectra.zwarn
    if spectra.snr is not None:
        labels["SN_MEDIAN_ALL"] = spectra.snr
    return labels


def subclasses(truth: Truth) -> NDArray[np.str_]:
    """(n,) SUBCLASS of each label: what follows the class; blank where that is ``nan``."""
    assert truth.label is not None
    ends = [label.partition(" ")[2] for label in truth.label.astype(str)]
    return np.array([" " if end in ("", "nan") else end for end in ends])
