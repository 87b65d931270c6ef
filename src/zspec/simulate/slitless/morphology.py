"""Shapes of galaxies: sizes by magnitude, Sérsic indices and ellipticities by kind.

A galaxy is early where its own spectrum has a strong 4000 Å break. Sizes: ln r_eff falls linearly
with magnitude, with the spread p(r) ∝ r exp(-(r/a)^(4/3)); ellipticities of discs and spheroids:
both from Miller+2013 (MNRAS 429, 2858), appendix B.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import gamma, norm

from zspec.simulate.objects import Objects
from zspec.simulate.slitless.design import Design, Kinship
from zspec.simulate.slitless.profile import INDICES, Shapes

Float = NDArray[np.float64]

BREAK = ((3850.0, 3950.0), (4000.0, 4100.0))
"""Å; Balogh+1999, ApJ 527, 54: ratio of mean flux per frequency."""
PIVOT = 23.0
"""Magnitude of ``Kinship.size``; Miller+2013."""
SPREAD = 1.5
"""(r/a)^(4/3) is distributed as Gamma(3/2) for p(r) ∝ r exp(-(r/a)^(4/3))."""
DRAWS = 6
"""Uniform numbers that decide a shape."""


def break_strength(objects: Objects) -> Float:
    """(n,) narrow 4000 Å break of the noise-free spectra; NaN where the grid does not hold it."""
    z = torch.as_tensor(np.asarray(objects.truth["Z"], np.float64), device=objects.flux.device)
    rest = (objects.wave[None, :] / (1 + z[:, None])).float()
    per_frequency = objects.flux * rest**2
    means = []
    for low, high in BREAK:
        inside = (rest >= low) & (rest < high)
        means.append((per_frequency * inside).sum(1) / inside.sum(1))
    return (means[1] / means[0]).double().cpu().numpy()


def draw_shapes(objects: Objects, design: Design, uniform: Float) -> Shapes:
    """Shapes of all objects from ``uniform`` (n, DRAWS) in [0, 1)."""
    form = design.morphology
    early = break_strength(objects) > form.divide  # NaN is late
    magnitude = np.asarray(objects.truth["MAG"], np.float64)
    point = np.isin(objects.truth["SPECTYPE"], ("STAR", "QSO"))

    def by_kind(late: Float, early_one: Float) -> Float:
        return np.where(early, early_one, late)

    size = by_kind(
        *(sizes(kind, magnitude, uniform[:, 0], form.largest) for kind in (form.late, form.early))
    )
    size = np.where(point, 0.0, size)
    index = by_kind(*(indices(kind, uniform[:, 1]) for kind in (form.late, form.early)))
    flat = by_kind(*(ellipticities(kind, uniform[:, 2]) for kind in (form.late, form.early)))
    columns = (
        size / design.detector.scale,
        index,
        (1 - flat) / (1 + flat),  # b/a: P2's equation 3
        np.pi * uniform[:, 3],
        uniform[:, 4] - 0.5,  # sources do not know of pixels
        form.offset * norm.ppf(np.clip(uniform[:, 5], 1e-9, 1 - 1e-9)),
    )
    device = objects.flux.device
    made = (torch.tensor(c, dtype=torch.float32, device=device) for c in columns)
    return Shapes(*made)


def sizes(kind: Kinship, magnitude: Float, uniform: Float, largest: float) -> Float:
    """(n,) r_eff in arcsec, from that part of the distribution that is not above ``largest``."""
    median = np.exp(kind.size + kind.slope * (magnitude - PIVOT))
    middle = gamma.ppf(0.5, SPREAD)
    below = gamma.cdf(middle * (largest / median) ** (4 / 3), SPREAD)
    return np.asarray(median * (gamma.ppf(uniform * below, SPREAD) / middle) ** 0.75)


def indices(kind: Kinship, uniform: Float) -> Float:
    """(n,) Sérsic index, from that part of the distribution that profiles are known for."""
    low, high = norm.cdf(np.log(INDICES[[1, -1]] / kind.index) / kind.scatter)
    drawn = norm.ppf(low + uniform * (high - low))
    return np.asarray(kind.index * np.exp(kind.scatter * drawn), np.float64)


def ellipticities(kind: Kinship, uniform: Float) -> Float:
    """(n,) |ε| = (1 - b/a) / (1 + b/a)."""
    grid, cumulative = _ellipticity(kind.disc)
    return np.interp(uniform, cumulative, grid)


@lru_cache(maxsize=2)
def _ellipticity(disc: bool) -> tuple[Float, Float]:
    """Ellipticities and their cumulative distribution: Miller+2013, equations B2 and B3."""
    e = np.linspace(0, 0.804, 805)
    if disc:
        density = e * (1 - np.exp((e - 0.804) / 0.2539)) / ((1 + e) * np.sqrt(e**2 + 0.0256**2))
    else:
        density = e * np.exp(-2.368 * e - 6.691 * e**2)
    total = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return e, total / total[-1]
