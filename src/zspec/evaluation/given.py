"""Redshifts as if the true class were known: those of HDU CLASSPROB (GaSNet-II's own tables)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from zspec.errors import ConfigError
from zspec.evaluation.densities import KEY
from zspec.evaluation.frame import Frame
from zspec.evaluation.matching import join
from zspec.fits import open_fits

OF_CLASS = ("CLASS", "PROB", "Z", "ZERR")


def of_true_class(
    frame: Frame, rows: NDArray[np.intp], labels: NDArray[np.str_], coarse: Mapping[str, str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Z and ZERR (n,) of the true class of some rows of a catalogue, with (n,) true ``labels``.

    ``coarse`` merges the model's classes as it merged the labels; of several that are the true
    class the most probable one with a redshift counts. 0 for a class that never has a redshift;
    NaN where the model does not know the class, or did not compute its redshift. Raises ConfigError
    where the catalogue has no CLASSPROB.
    """
    row, columns = _columns(frame)
    names, number = np.unique(columns["CLASS"], return_inverse=True)
    merged = np.array([coarse.get(str(name), str(name)) for name in names])
    still = np.array([np.isnan(columns["Z"][number == i]).all() for i in range(len(names))])
    z = np.where(still[number], 0.0, columns["Z"])

    place = np.full(len(frame) + 1, -1)  # the last stands for rows of another catalogue
    place[rows] = np.arange(len(rows))
    at = place[row]
    fits = (at >= 0) & np.isfinite(z) & (merged[number] == labels[at])
    found = np.flatnonzero(fits)
    found = found[np.argsort(columns["PROB"][found], kind="stable")]  # the most probable is last
    made, sigma = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    made[at[found]], sigma[at[found]] = z[found], columns["ZERR"][found]
    return made, sigma


def _columns(frame: Frame) -> tuple[NDArray[np.intp], dict[str, NDArray[np.generic]]]:
    """(m,) row of the catalogue of each row of CLASSPROB, -1 for none, and its columns."""
    missing = ConfigError(
        f"{frame.name}: --given-class needs redshifts by class (HDU CLASSPROB), which a catalogue "
        "of zspec predict --all-classes has"
    )
    if frame.path is None or not all(frame.find(name) for name in KEY):
        raise missing
    with open_fits(frame.path) as file:
        if not file.has("CLASSPROB"):
            raise missing
        read = {name: file.column("CLASSPROB", name) for name in (*KEY, *OF_CLASS)}
    columns = {
        name: np.char.strip(values) if values.dtype.kind in "SU" else values
        for name, values in read.items()
    }
    row, _ = join([columns[name] for name in KEY], [frame[name] for name in KEY])
    return row, columns
