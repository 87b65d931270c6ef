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


@dataclass(frozen=True)
class Calibration:
    """How far to believe a fit. The default believes it as it stands."""

    model_error: float = 0.0
    """Fraction of the flux: the model's error, in quadrature to the noise."""
    scatter: Mapping[str, Knots] = field(default_factory=dict)
    """By spectype: knots of the scatter that ZERR holds in quadrature."""
    temper: float = 1.0
    """Power of the evidence: below 1 it counts for less than it says."""
    delta: float = 16.0
    """SMALL_DELTA_CHI2 below it. The default is what sky fibres of SDSS teach, rounded up."""
    misfit: float = math.inf
    """OUT_OF_DISTRIBUTION above it: chi2 per pixel, the model's error included."""
    own: float = -math.inf
    """OUT_OF_DISTRIBUTION below it: share of the light that the basis gives and no polynomial."""
    confidence: tuple[float, ...] = ()
    """Coefficients of :mod:`~zspec.likelihood.confidence`; empty: ZCONF is not known."""

    conformal: Scores = field(default_factory=dict)
    """Scores of :mod:`~zspec.likelihood.conformal`; empty: no interval can be given."""

    def stored(self) -> dict[str, Any]:
        """All of it for JSON, but for limits that are not known."""
        kept = dataclasses.asdict(self)
        return {k: v for k, v in kept.items() if not (isinstance(v, float) and math.isinf(v))}

    @classmethod
    def restore(cls, kept: Mapping[str, Any]) -> Calibration:
        """Build one from what ``stored`` gave. TypeError where it has an unknown key."""
        confidence = tuple(kept.get("confidence", ()))
        scatter = {kind: _knots(value) for kind, value in kept.get("scatter", {}).items()}
        return cls(**{**kept, "confidence": confidence, "scatter": scatter})


def _knots(value: Any) -> Knots:
    """Pairs as they were stored; the one number of older checkpoints is a knot."""
    if isinstance(value, float | int):
        return ((0.0, float(value)),)
    return tuple((float(z), float(sigma)) for z, sigma in value)
