"""What real spectra teach about the fit's honesty: numbers that a checkpoint stores with its bases.

All are learned on predictions of objects that the bases were not learned from.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from zspec.likelihood.conformal import Scores
from zspec.likelihood.scatter import Knots
from zspec.likelihood.stretch import Factors
from zspec.likelihood.wings import Wing


@dataclass(frozen=True)
class Calibration:
    """How far to believe a fit. The default believes it as it stands."""

    model_error: float = 0.0
    """Fraction of the flux: the model's error, in quadrature to the noise."""
    scatter: Mapping[str, Knots] = field(default_factory=dict)
    """By spectype: knots of the scatter that ZERR holds in quadrature."""
    stretch: Mapping[str, Factors] = field(default_factory=dict)
    """By spectype: knots of the factor by which the fit's sigma is too small where it is large."""
    wings: Mapping[str, Wing] = field(default_factory=dict)
    """By spectype: share and width of the wider normal that p(z) has about a redshift."""
    temper: float = 1.0
    """Power of the evidence: below 1 it counts for less than it says."""
    delta: float = 16.0
    """SMALL_DELTA_CHI2 below it. The default is what sky fibres of SDSS teach, rounded up."""
    unexplained: float = math.inf
    """OUT_OF_DISTRIBUTION above it: share of a spectrum's structure that the best fit leaves."""
    own: tuple[float, float] = (-math.inf, math.inf)
    """OUT_OF_DISTRIBUTION beyond these: share of the light that the basis gives, no polynomial."""
    confidence: tuple[float, ...] = ()
    """Coefficients of :mod:`~zspec.likelihood.confidence`; empty: ZCONF is not known."""

    conformal: Scores = field(default_factory=dict)
    """Scores of :mod:`~zspec.likelihood.conformal`; empty: no interval can be given."""

    def stored(self) -> dict[str, Any]:
        """All of it for JSON, but for limits that are not known."""
        kept = dataclasses.asdict(self)
        return {key: value for key, value in kept.items() if not _endless(value)}

    @classmethod
    def restore(cls, kept: Mapping[str, Any]) -> Calibration:
        """Build one from what ``stored`` gave. TypeError where it has an unknown key."""
        confidence = tuple(kept.get("confidence", ()))
        scatter = {kind: _knots(value) for kind, value in kept.get("scatter", {}).items()}
        stretch = {kind: _knots(value) for kind, value in kept.get("stretch", {}).items()}
        wings = {kind: (float(a), float(b)) for kind, (a, b) in kept.get("wings", {}).items()}
        known = {**kept, "confidence": confidence, "scatter": scatter, "stretch": stretch}
        known["wings"] = wings
        known.pop("misfit", None)  # of older checkpoints: a limit of another measure
        if "own" in kept:
            known["own"] = (float(kept["own"][0]), float(kept["own"][1]))
        return cls(**known)


def _endless(value: Any) -> bool:
    """Whether a limit is none."""
    ends = value if isinstance(value, tuple) else (value,)
    return any(isinstance(end, float) and math.isinf(end) for end in ends)


def _knots(value: Any) -> Knots:
    """Pairs as they were stored; the one number of older checkpoints is a knot."""
    if isinstance(value, float | int):
        return ((0.0, float(value)),)
    return tuple((float(z), float(sigma)) for z, sigma in value)
