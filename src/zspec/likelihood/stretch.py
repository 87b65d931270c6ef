"""By how much a fit's own sigma is too small where features are faint.

Coefficients fit noise too, and lines that noise has strengthened look sharper than they are: the
curvature of the fit is that of the lines that it found. Where draws have the features that the
prior expects this is of no account; most real galaxies have less of them. What tells is not SNR
but the evidence for any object over none: with noise added, redshifts of real spectra move as
sigma says where it is above some hundreds, and by several times as much where it is below 50.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from zspec.likelihood.scatter import MAD

Array = NDArray[np.float64]
Factors = tuple[tuple[float, float], ...]
"""(2 ln of the odds of the object against none, factor of sigma), linear in the logarithm of the
odds' in between, constant beyond; factors fall."""

LEAST = 50
"""Redshifts to a knot at least: its factor is then known to 12 %."""
MOST = 8
"""Knots of a spectype."""
FAINTEST = 1.0
"""Evidence below it counts as this."""


def learn(spectype: Sequence[str], evidence: Array, pull: Array) -> dict[str, Factors]:
    """Factors of each spectype from pulls (n,) of right redshifts, in bins of as many each."""
    kinds = np.array(spectype)
    out = {}
    for kind in sorted(set(spectype)):
        mine = np.flatnonzero(kinds == kind)
        mine = mine[np.argsort(evidence[mine], kind="stable")]
        parts = np.array_split(mine, min(MOST, max(1, len(mine) // LEAST)))
        width = [float(np.median(np.abs(pull[p]))) / MAD for p in parts]
        sizes = [float(len(p)) for p in parts]
        fall = isotonic_regression(width, weights=sizes, increasing=False).x
        places = [round(max(FAINTEST, float(np.median(evidence[p]))), 2) for p in parts]
        out[kind] = tuple(
            (place, round(max(1.0, float(f)), 3)) for place, f in zip(places, fall, strict=True)
        )
    return out


def at(stretch: Mapping[str, Factors], spectype: str, evidence: Array) -> Array:
    """Factors of one spectype for evidence of any shape; 1 where nothing was learned."""
    knots = stretch.get(spectype)
    if not knots:
        return np.ones_like(evidence)
    places, values = np.array(knots).T
    return np.asarray(np.interp(np.log(np.maximum(evidence, FAINTEST)), np.log(places), values))
