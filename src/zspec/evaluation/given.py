"""Redshifts as if the true class were known: those of HDU CLASSPROB (GaSNet-II's own tables)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from zspec.errors import ConfigError, unknown
from zspec.evaluation.densities import KEY
from zspec.evaluation.frame import Frame
from zspec.evaluation.matching import join
from zspec.fits import open_fits


def of_true_class(
    frame: Frame,
    rows: NDArray[np.intp],
    labels: NDArray[np.str_],
    coarse: Mapping[str, str],
    z_sigma: tuple[str, str] = ("Z", "ZERR"),
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Redshift and sigma (n,) of the true class of some rows of a catalogue, of (n,) ``labels``.

    ``z_sigma`` names their columns in CLASSPROB, as Z_POINT for point estimates. ``coarse`` merges
    the model's classes as it merged the labels; of several that are the true class the most
    probable one with a redshift counts. 0 for a class that never has a redshift; NaN where the
    model does not know the class, or did not compute its redshift. Raises ConfigError where the
    catalogue has no CLASSPROB, or that no such column.
    """
    row, columns = _columns(frame, z_sigma)
    names, number = np.unique(columns["CLASS"], return_inverse=True)
    merged = np.array([coarse.get(str(name), str(name)) for name in names])
    still = np.array([np.isnan(columns["Z"][number == i]).all() for i in range(len(names))])
    z, sigma = (columns[name].astype(np.float64) for name in z_sigma)
    z = np.where(still[number], 0.0, z)

    place = np.full(len(frame) + 1, -1)  # the last stands for rows of another catalogue
    place[rows] = np.arange(len(rows))
    at = place[row]
    fits = (at >= 0) & np.isfinite(z) & (merged[number] == labels[at])
    found = np.flatnonzero(fits)
    found = found[np.argsort(columns["PROB"][found], kind="stable")]  # the most probable is last
    given = np.full((2, len(rows)), np.nan)
    given[:, at[found]] = z[found], sigma[found]
    return given[0], given[1]


def _columns(
    frame: Frame, z_sigma: tuple[str, str]
) -> tuple[NDArray[np.intp], dict[str, NDArray[np.generic]]]:
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
        names, there = (*KEY, "CLASS", "PROB", "Z", *z_sigma), file.columns("CLASSPROB")
        if gone := [name for name in names if name not in there]:
            said = unknown("column", gone[0], there)
            raise ConfigError(f"{frame.name}, HDU CLASSPROB, for --given-class: {said}")
        read = {name: file.column("CLASSPROB", name) for name in names}
    columns = {
        name: np.char.strip(values) if values.dtype.kind in "SU" else values
        for name, values in read.items()
    }
    row, _ = join([columns[name] for name in KEY], [frame[name] for name in KEY])
    return row, columns
