"""Reasons to distrust a fit: the ZWARN bits that it can know, and their thresholds.

What stands here is stated beforehand; what data teach is in :mod:`~zspec.likelihood.calibration`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from zspec.flags import AMBIGUOUS, ZWarn, where
from zspec.likelihood.basis import Basis
from zspec.likelihood.calibration import Calibration
from zspec.likelihood.emission import faintest
from zspec.likelihood.pixels import Native
from zspec.likelihood.ranking import Ranked
from zspec.likelihood.refine import redshift
from zspec.likelihood.solve import Solutions

NO_OBJECT = 40.0
"""SMALL_DELTA_CHI2 too where 2 ln of the odds of an object against a smooth continuum is below it.

Odds of 20,000 to 1, as many as a night of a large survey has spectra, against noise on a slope,
where the object may be at any of the 14,000 pixels of redshift that are searched: 20 and 19.
What the best single pixel gains does not count: a hot pixel is no line.
"""
MANY = 0.05
"""MANY_OUTLIERS above this share of the good pixels (redrock declares it, SDSS sets it)."""
NEGATIVE = -3.0
"""NEGATIVE_EMISSION where a line of :mod:`~zspec.likelihood.emission` has a lower SNR (as SDSS)."""
EDGE = 1.0
"""Z_FITLIMIT: the best redshift lies within so many grid pixels of the end of its range."""


def reasons(
    pixels: Native,
    found: Solutions,
    ranked: Ranked,
    bases: Sequence[Basis],
    calibration: Calibration,
) -> NDArray[np.int64]:
    """(n,) ZWARN bits, each by its constant above or by the calibration.

    Without ``found.model`` there is no NEGATIVE_EMISSION.
    """
    label = found.label[ranked.column[:, 0]].numpy()
    low, high = _searched(bases)[label].T
    shift = ranked.of(found.shift).numpy()
    object_ = (ranked.evidence - ranked.of(found.spike).clamp(min=0)).numpy()
    small = (ranked.delta.numpy() < calibration.delta) | ~(object_ >= NO_OBJECT)
    return (
        where(small, ZWarn.SMALL_DELTA_CHI2)
        | where((shift < low + EDGE) | (shift > high - EDGE), ZWarn.Z_FITLIMIT)
        | where(~ranked.of(found.settled).numpy(), ZWarn.BAD_MINFIT)
        | where(ranked.of(found.outliers).numpy() > MANY, ZWarn.MANY_OUTLIERS)
        | where(ranked.of(found.light).numpy() <= 0, ZWarn.NEGATIVE_MODEL)
        | where(_upside_down(pixels, found, ranked, bases, calibration), ZWarn.NEGATIVE_EMISSION)
        | where(_strange(found, ranked, calibration), ZWarn.OUT_OF_DISTRIBUTION)
        | where((ranked.share[:, 1:] > AMBIGUOUS).any(1).numpy(), ZWarn.MULTIMODAL)
        | where((1 - ranked.kinds).numpy() > AMBIGUOUS, ZWarn.CLASS_AMBIGUOUS)
    )


def _searched(bases: Sequence[Basis]) -> NDArray[np.float64]:
    """(class, 2) ends of what was searched for the spectype of each class, grid pixels.

    Bases of one spectype may share its redshifts among them: where one ends is no limit then.
    """
    ends: dict[str, tuple[float, float]] = {}
    for basis in bases:
        low, high = ends.get(basis.spectype, basis.shifts)
        ends[basis.spectype] = min(low, basis.shifts[0]), max(high, basis.shifts[1])
    return np.array([ends[basis.spectype] for basis in bases], np.float64)


def _strange(found: Solutions, ranked: Ranked, calibration: Calibration) -> NDArray[np.bool_]:
    """(n,) whether the best fit leaves more, or is less its basis' own, than of real objects."""
    left, own = ranked.of(found.unexplained).numpy(), ranked.of(found.own).numpy()
    low, high = calibration.own
    return np.asarray((left > calibration.unexplained) | (own < low) | (own > high))


def _upside_down(
    pixels: Native,
    found: Solutions,
    ranked: Ranked,
    bases: Sequence[Basis],
    calibration: Calibration,
) -> NDArray[np.bool_]:
    """(n,) whether a strong emission line of the class is negative in the best model."""
    if found.model is None:
        return np.zeros(len(ranked.column), bool)
    shown = torch.where(found.fitted, found.value, torch.inf).argmin(1)
    kinds = [bases[label].spectype for label in found.label[ranked.column[:, 0]].tolist()]
    z = redshift(ranked.of(found.shift))
    lines = faintest(pixels, found.model.cpu(), z, kinds, calibration.model_error)
    return np.asarray(((lines < NEGATIVE) & (shown == ranked.column[:, 0])).numpy())
