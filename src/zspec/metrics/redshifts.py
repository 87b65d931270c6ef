"""How near redshifts are to the truth. All take arrays (n,).

Nothing here may be NaN, but z in ``gf`` and ``right``, where it is no good redshift.

d = (z - z_true) / (1 + z_true). A threshold is one number, or (n,) by the true class.
"""

from __future__ import annotations

import numpy as np

from zspec.metrics.statistics import Floats, Median, Spread, Sums, mean

C = 299792.458
"""km/s, speed of light (exact)."""


def residual(z: Floats, z_true: Floats) -> Floats:
    """Residual d = (z - z_true) / (1 + z_true)."""
    return (z - z_true) / (1 + z_true)


def log_bias(z: Floats, z_true: Floats) -> Floats:
    """|ln((1 + z_true) / (1 + z))|; GaSNet-II eq. 9. NaN for z <= -1, which no redshift is."""
    with np.errstate(invalid="ignore", divide="ignore"):
        out: Floats = np.abs(np.log1p(z_true) - np.log1p(z))
    return out


def bias(z: Floats, z_true: Floats) -> Median:
    """Median of |ln((1 + z_true) / (1 + z))|; GaSNet-II eq. 9."""
    return Median(log_bias(z, z_true))


def offset(z: Floats, z_true: Floats) -> Median:
    """Signed median of d."""
    return Median(residual(z, z_true))


def gf(z: Floats, z_true: Floats, thr: Floats | float) -> Sums:
    """Good fraction N(bias < thr) / N; GaSNet-II eq. 10. A redshift that is NaN is not good."""
    return mean(log_bias(z, z_true) < thr)


def right(z: Floats, z_true: Floats, thr: Floats | float) -> Sums:
    """Fraction with c|d| < thr, in km/s. A redshift that is NaN is not right."""
    return mean(np.abs(C * residual(z, z_true)) < thr)


def dz(z: Floats, z_true: Floats) -> Sums:
    """Mean of |d|; GaSNet-II eq. 11."""
    return mean(np.abs(residual(z, z_true)))


def mae(z: Floats, z_true: Floats) -> Sums:
    """Mean of |z - z_true|; GaSNet-II eq. 12."""
    return mean(np.abs(z - z_true))


def nmad(z: Floats, z_true: Floats) -> Spread:
    """1.48 median(|Δz - median Δz| / (1 + z_true)) with Δz = z - z_true; CSST paper eq. 5."""
    return Spread(z - z_true, 1 + z_true)


def eta(z: Floats, z_true: Floats, thr: Floats | float) -> Sums:
    """Fraction with |d| > thr; CSST paper eq. 4."""
    return mean(np.abs(residual(z, z_true)) > thr)


def cat_v(z: Floats, z_true: Floats, thr: Floats | float) -> Sums:
    """Fraction with c|d| > thr, in km/s."""
    return mean(np.abs(C * residual(z, z_true)) > thr)
