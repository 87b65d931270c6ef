"""By how much a fit's own sigma is too small where features are faint.

Coefficients fit noise too, and lines that noise has strengthened look sharper than they are: the
curvature of the fit is that of the lines that it found. Where draws have the features that the
prior expects this is of no account; most real galaxies have less of them. What tells is the fit's
own sigma: of real galaxies with noise added, those of 5 km/s, which have narrow lines, move as it
says, and those of 30 km/s, whose continuum is all there is, by two to three times as much, whatever
their SNR and the evidence for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from zspec.likelihood.scatter import REACH, SHARE

Array = NDArray[np.float64]
Factors = tuple[tuple[float, float], ...]
"""(sigma of ln(1 + z) by the fit, its factor), linear in the logarithm of sigma in between,
constant beyond; factors rise."""

LEAST = 50
"""Redshifts to a knot at least: its factor is then known to 14 %."""
MOST = 8
"""Knots of a spectype."""
FINEST = 1e-7
"""A sigma below it, 30 m/s, counts as this."""


def learn(spectype: Sequence[str], sigma: Array, pull: Array) -> dict[str, Factors]:
    """Factors of each spectype from pulls (n,) of right redshifts, in bins of as many each."""
    kinds = np.array(spectype)
    out = {}
    for kind in sorted(set(spectype)):
        mine = np.flatnonzero(kinds == kind)
        mine = mine[np.argsort(sigma[mine], kind="stable")]
        parts = np.array_split(mine, min(MOST, max(1, len(mine) // LEAST)))
        width = [float(np.quantile(np.abs(pull[p]), SHARE)) / REACH for p in parts]
        sizes = [float(len(p)) for p in parts]
        rise = isotonic_regression(width, weights=sizes).x
        places = [float(f"{max(FINEST, np.median(sigma[p])):.4g}") for p in parts]
        out[kind] = tuple(
            (place, round(max(1.0, float(f)), 3)) for place, f in zip(places, rise, strict=True)
        )
    return out


def at(stretch: Mapping[str, Factors], spectype: str, sigma: Array) -> Array:
    """Factors of one spectype for sigma of any shape; 1 where nothing was learned, or NaN is."""
    knots = stretch.get(spectype)
    if not knots:
        return np.ones_like(sigma)
    places, values = np.array(knots).T
    known = np.log(np.fmax(sigma, FINEST))
    return np.asarray(np.interp(known, np.log(places), values))
