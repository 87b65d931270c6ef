"""All that validation spectra taught about the joint estimator, as a checkpoint stores it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from zspec.joint.weights import Weights
from zspec.likelihood.calibration import Calibration


@dataclass(frozen=True)
class JointCalibration:
    """How far to believe the joint posterior. The default believes it as it stands."""

    weights: Weights = field(default_factory=Weights)
    fit: Calibration = field(default_factory=Calibration)
    """The likelihood's own, but for DELTACHI2's threshold and conformal scores, which are those of
    the joint posterior. Its ``temper`` and ``confidence`` are not used."""
    confidence: tuple[float, ...] = ()
    """Coefficients of :mod:`~zspec.joint.confidence`; empty: ZCONF is not known."""
    distance: float = math.inf
    """OUT_OF_DISTRIBUTION above it: distance from the network's training set."""

    def stored(self) -> dict[str, Any]:
        """All of it for JSON."""
        kept: dict[str, Any] = {
            "weights": self.weights.stored(),
            "fit": self.fit.stored(),
            "confidence": list(self.confidence),
        }
        return kept if math.isinf(self.distance) else {**kept, "distance": self.distance}

    @classmethod
    def restore(cls, kept: Mapping[str, Any]) -> JointCalibration:
        """What ``stored`` gave. KeyError and TypeError where it is not that."""
        return cls(
            weights=Weights.restore(kept["weights"]),
            fit=Calibration.restore(kept["fit"]),
            confidence=tuple(kept["confidence"]),
            distance=float(kept.get("distance", math.inf)),
        )

    def with_fit(self, **changes: Any) -> JointCalibration:
        """The same with changes to ``fit``."""
        return dataclasses.replace(self, fit=dataclasses.replace(self.fit, **changes))
