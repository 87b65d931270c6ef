"""One row of a catalogue with its spectrum, its candidates and p(z)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zspec import flags
from zspec.flags import ZWarn
from zspec.survey import Arm

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Solution:
    """A redshift that the catalogue offers; the first of a target is its answer."""

    spectype: str
    label: str
    """CLASS, the model's own label."""
    z: float
    zerr: float
    prob: float
    """Share of the posterior, NaN where the model has none."""
    chi2: float
    model: tuple[NDArray[np.float32], ...] | None = None
    """(pixel,) per arm, in the flux's unit; None where it was not computed."""


@dataclass(frozen=True)
class Target:
    """What there is to look at of one row."""

    number: int
    """Row of the catalogue, from 0."""
    row: dict[str, Any]
    """The columns of REDSHIFTS as plain values."""
    arms: tuple[Arm, ...]
    """Native arms of this one spectrum, in vacuum."""
    solutions: tuple[Solution, ...]
    """The answer, then the other candidates by rank; empty without data."""
    density: tuple[Floats, Floats] | None = None
    """u = ln(1 + z) and p(u), linear in between; None where the catalogue has no ZPDF."""

    @property
    def id(self) -> int:
        """TARGETID."""
        return int(self.row["TARGETID"])

    @property
    def zwarn(self) -> list[str]:
        """A sentence for each bit of ZWARN; none where the row is good."""
        return words(int(self.row["ZWARN"]))


def words(zwarn: int) -> list[str]:
    """NAME: sentence, of each bit.

    >>> words(1)
    ['SKY: The fibre was put on blank sky.']
    """
    sentences = {flag.name: text for flag, text in flags.SENTENCES.items()}
    unknown = "A bit that zspec does not set."
    return [f"{name}: {sentences.get(name, unknown)}" for name in flags.names(zwarn)]


def has_data(target: Target) -> bool:
    """Whether any pixel of it is good."""
    nodata = bool(int(target.row["ZWARN"]) & ZWarn.NODATA)
    return not nodata and any(bool(arm.usable.any()) for arm in target.arms)


def smooth(flux: NDArray[Any], ivar: NDArray[Any], sigma: float) -> Floats:
    """(pixel,) flux convolved with a Gaussian of ``sigma`` pixels, weighted by ivar.

    A pixel without ivar has no weight, and gets what its neighbours say; NaN beyond their reach.
    ``sigma`` 0 only sets pixels without ivar to NaN.
    """
    good = ivar > 0
    if sigma <= 0:
        return np.where(good, flux, np.nan).astype(np.float64)
    from scipy.ndimage import gaussian_filter1d

    weight = gaussian_filter1d(np.asarray(ivar, np.float64), sigma, mode="constant")
    total = gaussian_filter1d(np.asarray(ivar, np.float64) * flux, sigma, mode="constant")
    reach = gaussian_filter1d(good.astype(np.float64), sigma, mode="constant") > REACH
    out = np.full(len(flux), np.nan)
    np.divide(total, weight, out=out, where=reach & (weight > 0))
    return out


REACH = 0.02
"""Share of a Gaussian's weight that must lie on good pixels."""
