"""p(z) of a calibrated Gaussian: one segment a spectrum."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zspec.calibration.maps import Calibration, Floats
from zspec.density import Densities

POINTS = 128
"""Bins between the outer quantiles."""
TAIL = 1e-4
"""Probability that is cut off on either side."""
LOWEST = -0.99
"""No redshift lies below."""


def densities(
    z: Floats, sigma: Floats, x: Floats, calibration: Calibration, seen: NDArray[np.bool_]
) -> Densities:
    """P of ln(1 + z) for rows (n,) that are ``seen``; none for the others.

    ``sigma`` is that before calibration; ``x`` the covariate. Values are the differences of the
    mapped CDF over even bins, so that the sum is 1 whatever the map.
    """
    rows = np.flatnonzero(seen)
    z, sigma, x = z[rows], sigma[rows], x[rows]
    ends = [np.maximum(z + calibration.quantile(p, x) * sigma, LOWEST) for p in (TAIL, 1 - TAIL)]
    low, high = np.log1p(ends)  # (n,) each
    step = np.maximum(high - low, 1e-12) / POINTS
    edges = low + step * np.arange(POINTS + 1)[:, None]  # (bin + 1, n)
    share = np.diff(calibration.cdf((np.expm1(edges) - z) / sigma, x), axis=0)
    share /= np.maximum(share.sum(axis=0), np.finfo(float).tiny)
    value = np.pad(share / step, ((1, 1), (0, 0)))  # a segment begins and ends with 0
    return Densities(
        row=rows,
        label=np.zeros(len(rows), np.int16),
        start=low - step / 2,
        step=step,
        count=np.full(len(rows), POINTS + 2),
        value=value.T.astype(np.float32).ravel(),
    )
