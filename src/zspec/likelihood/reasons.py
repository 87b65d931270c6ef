"""Reasons to distrust a fit: the ZWARN bits that it can know, and their thresholds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from zspec.flags import ZWarn, where
from zspec.likelihood.basis import Basis
from zspec.likelihood.ranking import Ranked
from zspec.likelihood.solve import Solutions

SMALL_DELTA = 12.0
"""SMALL_DELTA_CHI2 below it. redrock's is 9; one of 97 sky fibres of SDSS reaches 11.5."""
NO_OBJECT = 20.0
"""SMALL_DELTA_CHI2 too where 2 ln of the odds of an object against polynomials alone is below it.

What the best single pixel gains does not count: a hot pixel is no line.
"""
MANY = 0.05
"""MANY_OUTLIERS above this share of the good pixels (redrock declares it, SDSS sets it)."""
SHARE = 0.1
"""MULTIMODAL, CLASS_AMBIGUOUS: another redshift, another spectype holds more than this."""
EDGE = 1.0
"""Z_FITLIMIT: the best redshift lies within so many grid pixels of the end of its range."""


def reasons(found: Solutions, ranked: Ranked, bases: Sequence[Basis]) -> NDArray[np.int64]:
    """(n,) ZWARN bits, each by its constant above."""
    label = found.label[ranked.column[:, 0]].numpy()
    low, high = np.array([basis.shifts for basis in bases], np.float64)[label].T
    shift = ranked.of(found.shift).numpy()
    object_ = (ranked.evidence - ranked.of(found.spike).clamp(min=0)).numpy()
    small = (ranked.delta.numpy() < SMALL_DELTA) | ~(object_ >= NO_OBJECT)
    return (
        where(small, ZWarn.SMALL_DELTA_CHI2)
        | where((shift < low + EDGE) | (shift > high - EDGE), ZWarn.Z_FITLIMIT)
        | where(~ranked.of(found.settled).numpy(), ZWarn.BAD_MINFIT)
        | where(ranked.of(found.outliers).numpy() > MANY, ZWarn.MANY_OUTLIERS)
        | where(ranked.of(found.light).numpy() <= 0, ZWarn.NEGATIVE_MODEL)
        | where((ranked.share[:, 1:] > SHARE).any(1).numpy(), ZWarn.MULTIMODAL)
        | where((1 - ranked.kinds).numpy() > SHARE, ZWarn.CLASS_AMBIGUOUS)
    )
