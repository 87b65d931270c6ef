"""What real spectra teach about the fit's honesty: numbers that a checkpoint stores with its bases.

All are learned on predictions of objects that the bases were not learned from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Calibration:
    """How far to believe a fit. The default believes it as it stands."""

    model_error: float = 0.0
    """Fraction of the flux: the model's error, in quadrature to the noise."""
    scatter: Mapping[str, float] = field(default_factory=dict)
    """By spectype: standard deviation in ln(1 + z) that ZERR holds in quadrature."""
    temper: float = 1.0
    """Power of the evidence: below 1 it counts for less than it says."""

    confidence: tuple[float, ...] = ()
    """Coefficients of :mod:`~zspec.likelihood.confidence`; empty: ZCONF is not known."""

    def stored(self) -> dict[str, Any]:
        """All of it for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def restore(cls, kept: Mapping[str, Any]) -> Calibration:
        """Build one from what ``stored`` gave. TypeError where it has an unknown key."""
        return cls(**{**kept, "confidence": tuple(kept.get("confidence", ()))})
