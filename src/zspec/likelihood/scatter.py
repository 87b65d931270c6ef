"""What a fit's own sigma lacks: redshifts scatter by more than the noise makes them.

A quasar's lines are shifted against each other, those of high ionisation most: where only C IV and
the like are seen, redshifts differ by hundreds of km/s, where [O III] is, by tens. So the scatter
is learned, by spectype, as a function of redshift, which says what lines are seen: from labels, and
from mocks, whose redshifts are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Knots = tuple[tuple[float, float], ...]
"""(z, standard deviation in ln(1 + z)), linear in ln(1 + z) in between, constant beyond."""

LEAST = 25
"""Redshifts to a knot at least: its scatter is then known to 20 %."""
MOST = 12
"""Knots of a spectype."""
SHARE = 0.6827
"""Of the offsets, which a normal's are to hold as many of. Tails that are heavier than a normal's
are for :mod:`~zspec.likelihood.wings`."""
REACH = 1.0
"""Sigmas within which a normal has ``SHARE``."""
FLOOR = 2.2e-5
"""6.6 km/s, in quadrature: taken, not measured. Labels of the same spectra cannot tell of an error
of wavelengths, which both share, and mocks have none. Repeated observations of bright galaxies by
DESI agree to about 10 km/s, noise included (Lan et al. 2023, arXiv:2208.08516), so that it is not
much more."""
NARROW = 0.05
"""In ln(1 + z): a spectype with a smaller range, as stars, has one knot."""
MAD = 0.6745
"""Median of |x| of a standard normal."""
LARGEST = 0.01
"""No spectype lacks more."""


def learn(spectype: Sequence[str], z: Array, offset: Array, sigma: Array) -> dict[str, Knots]:
    """Knots of each spectype from right redshifts (n,), in bins of as many each.

    ``offset`` and ``sigma``, that of the label included, are those of ln(1 + z).
    """
    kinds = np.array(spectype)
    out = {}
    for kind in sorted(set(spectype)):
        mine = np.flatnonzero(kinds == kind)
        mine = mine[np.argsort(z[mine], kind="stable")]
        count = min(MOST, max(1, len(mine) // LEAST)) if np.ptp(np.log1p(z[mine])) > NARROW else 1
        parts = np.array_split(mine, count)
        out[kind] = tuple(
            (round(float(np.median(z[p])), 4), float(np.hypot(FLOOR, lacking(offset[p], sigma[p]))))
            for p in parts
        )
    return out


def lacking(offset: Array, sigma: Array) -> float:
    """The standard deviation that makes ``SHARE`` of offset / sigma lie where a normal's do."""

    def wide(more: float) -> bool:
        return bool(np.quantile(np.abs(offset) / np.hypot(sigma, more), SHARE) > REACH)

    return crossing(wide, LARGEST)


def at(scatter: Mapping[str, Knots], spectype: str, z: Array) -> Array:
    """Of one spectype at redshifts of any shape; 0 where nothing was learned."""
    knots = scatter.get(spectype)
    if not knots:
        return np.zeros_like(z)
    places, values = np.array(knots).T
    return np.asarray(np.interp(np.log1p(z), np.log1p(places), values))


def crossing(above: Callable[[float], bool], high: float) -> float:
    """Where a condition that falls off between 0 and ``high`` stops to hold; 0 if nowhere."""
    low = 0.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if above(middle) else (low, middle)
    return round(low, 8)
