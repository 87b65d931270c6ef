"""Whether uncertainties mean what they say. All take arrays (n,); sigma > 0.

The distribution is taken as a Gaussian of mean z and standard deviation sigma.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri

from zspec.metrics.statistics import Floats, Spread, Sums, mean

PIT_STEPS = 100
"""Steps of the cumulative distribution that ``pit`` compares."""


def pulls(z: Floats, z_true: Floats, sigma: Floats) -> Floats:
    """(z - z_true) / sigma."""
    return (z - z_true) / sigma


def pit_values(z: Floats, z_true: Floats, sigma: Floats) -> Floats:
    """Probability that the predicted distribution gives to redshifts below the true one."""
    out: Floats = ndtr(-pulls(z, z_true, sigma))
    return out


def ebar(sigma: Floats, z_true: Floats) -> Sums:
    """Mean of sigma / (1 + z_true); CSST paper eq. 6."""
    return mean(sigma / (1 + z_true))


def t(z: Floats, z_true: Floats, sigma: Floats, thr: Floats | float) -> Sums:
    """Fraction with |z_true - z| / sigma <= thr; GaSNet-II Fig. 16."""
    return mean(np.abs(pulls(z, z_true, sigma)) <= thr)


def pull(z: Floats, z_true: Floats, sigma: Floats) -> Spread:
    """1.48 median absolute deviation of (z - z_true) / sigma: 1 where sigma is honest."""
    return Spread(pulls(z, z_true, sigma))


def coverage(z: Floats, z_true: Floats, sigma: Floats, thr: Floats | float) -> Sums:
    """Fraction of true redshifts in the central interval of probability ``thr``."""
    return mean(np.abs(pulls(z, z_true, sigma)) <= ndtri((1 + np.asarray(thr)) / 2))


def pit(z: Floats, z_true: Floats, sigma: Floats) -> Sums:
    """Largest distance, in steps of 1 %, of the PIT's cumulative distribution from the uniform.

    Probability integral transform: Dawid 1984, JRSS A 147, 278. 0 where p(z) is honest.
    """
    step = np.floor(pit_values(z, z_true, sigma) * PIT_STEPS).astype(np.intp)
    code = np.minimum(step, PIT_STEPS - 1)
    return Sums((np.ones(len(z)),), code, PIT_STEPS, from_uniform)


def from_uniform(sums: Floats) -> Floats:
    """Kolmogorov's distance of a histogram on (0, 1), (..., code, 1), from a flat one."""
    rank = np.cumsum(sums[..., 0], axis=-1)
    total = rank[..., -1:]
    expected = np.arange(1, rank.shape[-1] + 1) / rank.shape[-1]
    with np.errstate(invalid="ignore"):
        out: Floats = np.max(np.abs(rank / total - expected), axis=-1)
    return out


def crps(z: Floats, z_true: Floats, sigma: Floats) -> Sums:
    """Mean continuous ranked probability score, in z: sigma (x (2Φ(x) - 1) + 2φ(x) - 1/√π).

    x = (z_true - z) / sigma; Gneiting+2005, MWR 133, 1098, eq. 5. It is ``mae`` where sigma is 0.
    """
    x = pulls(z, z_true, sigma)
    density = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    return mean(sigma * (x * (2 * ndtr(x) - 1) + 2 * density - 1 / np.sqrt(np.pi)))


def eff(z: Floats, z_true: Floats, bound: Floats) -> Spread:
    """1 / (1.48 median absolute deviation of (z - z_true) / bound)²: 1 at the Cramér–Rao bound."""
    return Spread(pulls(z, z_true, bound), finish=inverse_square)


def inverse_square(x: Floats) -> Floats:
    """1 / x²."""
    with np.errstate(divide="ignore"):
        return 1 / np.asarray(x) ** 2
