"""What p(z) says of the true redshift: the level of its region, its rank, its score.

p(z) is linear between points u = ln(1 + z) and 0 beyond, so that all of it is exact. A metric is
then a count of these numbers, one a row.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from zspec.metrics.statistics import Floats, Sums, mean
from zspec.metrics.uncertainties import PIT_STEPS, from_uniform

NODES = np.sqrt(0.6) * np.array([-1.0, 0.0, 1.0])
"""Gauss-Legendre on (-1, 1), exact for polynomials to degree 5; the squared CDF has degree 4."""
WEIGHTS = np.array([5.0, 8.0, 5.0]) / 18
"""Of a mean."""


class Judged(NamedTuple):
    """One p(z) against one true redshift."""

    level: float
    """Probability of the smallest highest-density region that holds the truth; 1 where p is 0."""
    rank: float
    """Probability below the truth."""
    score: float
    """Continuous ranked probability score, in z."""


def judge(u: Floats, p: Floats, z_true: float) -> Judged:
    """Level, rank and score of a density ``p`` (k,) at ``u`` = ln(1 + z); NaN of no point."""
    if len(u) < 2:
        return Judged(np.nan, np.nan, np.nan)
    at = float(np.log1p(z_true))
    points = np.unique(np.append(u, at))
    density = np.interp(points, u, p, 0, 0)
    mass = np.diff(points) * (density[1:] + density[:-1]) / 2
    total = mass.sum()
    here = float(np.interp(at, u, p, 0, 0))
    rank = mass[points[1:] <= at].sum()
    level = _above(points, density, here) if here > 0 else total
    return Judged(level / total, rank / total, _crps(points, density / total, at))


def _above(u: Floats, p: Floats, level: float) -> float:
    """Probability where p is above ``level``: of each interval the part that is."""
    low, high = np.minimum(p[1:], p[:-1]), np.maximum(p[1:], p[:-1])
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.where(high > low, (high - level) / (high - low), 0.0)
    part = np.where(low > level, 1.0, np.clip(part, 0.0, 1.0))
    mean_there = (high + np.maximum(low, level)) / 2
    return float((np.diff(u) * part * mean_there).sum())


def _crps(u: Floats, p: Floats, at: float) -> float:
    """∫ (F(z) - [z > z_true])² dz; Gneiting+2005, MWR 133, 1098, eq. 1. The truth is a point."""
    width, slope = np.diff(u), np.diff(p) / np.diff(u)
    below = np.concatenate([[0.0], np.cumsum(width * (p[1:] + p[:-1]) / 2)])[:-1]
    t = width[:, None] * (NODES + 1) / 2  # (interval, node)
    distribution = below[:, None] + p[:-1, None] * t + slope[:, None] * t**2 / 2
    step = (u[:-1] >= at)[:, None]
    stretch = np.exp(u[:-1, None] + t)  # dz / du
    return float(width @ ((distribution - step) ** 2 * stretch @ WEIGHTS))


def coverage(level: Floats, thr: Floats | float) -> Sums:
    """Fraction of true redshifts in the highest-density region of probability ``thr``."""
    return mean(level <= thr)


def pit(rank: Floats) -> Sums:
    """Largest distance of the ranks' cumulative distribution from the uniform; 0 where honest."""
    code = np.minimum(np.floor(rank * PIT_STEPS).astype(np.intp), PIT_STEPS - 1)
    return Sums((np.ones(len(rank)),), np.maximum(code, 0), PIT_STEPS, from_uniform)


def crps(score: Floats) -> Sums:
    """Mean continuous ranked probability score, in z."""
    return mean(score)
