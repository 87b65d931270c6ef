"""What calibration is, once learned: a monotone map of the predictive CDF, stored as numbers.

For a Gaussian prediction (z, sigma), t = (z' - z) / sigma is a redshift in units of its sigma, and
its CDF is Φ(t). A map R turns Φ(t) into the frequency with which truths lie below t. R can depend
on a covariate x = ln(1 + SNR) by its coefficients, which are interpolated between knots.

- ``beta``: R = expit(a ln Φ(t) - b ln Φ(-t) + c), a, b >= 0 (Kull+2017, PMLR 54, 623, eq. 4);
- ``temperature``: R = Φ(t / T) (Guo+2017, arXiv:1706.04599, for a regression: Levi+2019);
- ``isotonic``: R is any monotone function, straight from probit to probit between quantiles of t;
- ``none``: R = Φ(t).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_ndtr, ndtr, ndtri

Floats = NDArray[np.float64]
Method = Literal["beta", "temperature", "isotonic", "none"]
METHODS: tuple[Method, ...] = ("beta", "temperature", "isotonic", "none")

FARTHEST = 40.0
"""|t| beyond which nothing is asked: Φ(-40) is 0 in float64."""
CENTRAL68 = 0.682689492137086
"""Probability of a Gaussian within 1 sigma."""


@dataclass(frozen=True)
class Calibration:
    """One map. The default changes nothing."""

    method: Method = "none"
    knots: tuple[float, ...] = ()
    """Values of x; empty: the same map for all."""
    values: tuple[tuple[float, ...], ...] = field(default=())
    """For each knot (or once) a row: a, b, c of ``beta``, ln T of ``temperature``, or for
    ``isotonic`` the probits of the frequencies at the values of t that its very first row holds."""

    def cdf(self, t: Floats, x: Floats) -> Floats:
        """Frequency of truths below t; ``t`` (..., n) and ``x`` (n,)."""
        if self.method == "none":
            return np.asarray(ndtr(t))
        if self.method == "isotonic":
            at, *rows = map(np.array, self.values)
            probits = np.stack([straight(t, at, row) for row in rows], axis=-1)
            return np.asarray(ndtr((probits * hats(x, np.array(self.knots))).sum(-1)))
        parts = (hats(x, np.array(self.knots)) @ np.array(self.values)).T
        if self.method == "temperature":
            return np.asarray(ndtr(t / np.exp(parts[0])))
        a, b, c = parts
        return np.asarray(expit(a * log_ndtr(t) - b * log_ndtr(-t) + c))

    def quantile(self, p: float, x: Floats) -> Floats:
        """(n,) t below which truths lie with frequency ``p``; within ±FARTHEST."""
        low: Floats = np.full(len(x), -FARTHEST)
        high: Floats = np.full(len(x), FARTHEST)
        for _ in range(60):  # bisection: 80 / 2^60 is below float64's precision
            middle = 0.5 * (low + high)
            below = self.cdf(middle, x) < p
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        middle = 0.5 * (low + high)
        return middle

    def interval(self, share: float, x: Floats) -> tuple[Floats, Floats]:
        """(n,) ends in t of the central interval that holds ``share`` of the truths."""
        return self.quantile((1 - share) / 2, x), self.quantile((1 + share) / 2, x)

    def widening(self, x: Floats) -> Floats:
        """(n,) what sigma is multiplied by: half the width of the mapped central 68.27 %."""
        low, high = self.interval(CENTRAL68, x)
        half: Floats = (high - low) / 2
        return half

    def within(self, distance: Floats, x: Floats) -> Floats:
        """(n,) probability that |t| < distance."""
        share: Floats = self.cdf(distance, x) - self.cdf(-distance, x)
        return share

    def stored(self) -> dict[str, Any]:
        """All of it for JSON."""
        knots, values = list(self.knots), [list(row) for row in self.values]
        return {"method": self.method, "knots": knots, "values": values}

    @classmethod
    def restore(cls, kept: Mapping[str, Any]) -> Calibration:
        """Build one from what ``stored`` gave. Raises ValueError for anything else."""
        try:
            values = tuple(tuple(float(v) for v in row) for row in kept["values"])
            made = cls(kept["method"], tuple(float(k) for k in kept["knots"]), values)
        except (KeyError, TypeError) as error:
            raise ValueError(f"no calibration: {error}") from None
        made._check()
        return made

    def _check(self) -> None:
        """Raise ValueError where rows do not fit the method."""
        rows, columns = {
            "beta": (max(len(self.knots), 1), 3),
            "temperature": (max(len(self.knots), 1), 1),
            "isotonic": (max(len(self.knots), 1) + 1, len(self.values[0]) if self.values else 0),
            "none": (0, 0),
        }.get(self.method, (-1, -1))
        if len(self.values) != rows or any(len(row) != columns for row in self.values):
            raise ValueError(f"no calibration: {self.method} with {len(self.values)} rows")


def hats(x: Floats, knots: Floats) -> Floats:
    """(n, knot) weights of linear interpolation, rows sum to 1; one column of 1 without knots.

    Beyond the outer knots the outer one holds.
    """
    if not len(knots):
        return np.ones((len(x), 1))
    return np.stack([np.interp(x, knots, row) for row in np.eye(len(knots))], axis=1)


def straight(t: Floats, at: Floats, value: Floats) -> Floats:
    """Piecewise linear function through knots; beyond the outer ones it goes on with slope 1."""
    inside = np.interp(t, at, value)
    return np.asarray(inside + np.minimum(t - at[0], 0) + np.maximum(t - at[-1], 0))


def covariate(snr: Floats) -> Floats:
    """(n,) x of SNR: ln(1 + SNR), 0 for negative and unknown ones."""
    return np.log1p(np.maximum(np.nan_to_num(np.asarray(snr, np.float64)), 0.0))


def probit(p: Floats) -> Floats:
    """Inverse of Φ."""
    return np.asarray(ndtri(p))
