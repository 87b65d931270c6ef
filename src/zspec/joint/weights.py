"""The few numbers that join likelihood and network: fitted once, stored with the checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Weights:
    """How much each of the two counts. The default takes both at their word."""

    evidence: float = 1.0
    """a: power of the likelihood where it says little."""
    saturation: float = 1e6
    """2 ln of the odds of the object against none at which that power has halved: what a model
    explains of a bright spectrum it explains to a fraction, so that more light is not more sure."""
    network: Mapping[str, float] = field(default_factory=dict)
    """b by spectype: power of the network's density; 1 where none is given."""
    prior: Mapping[str, float] = field(default_factory=dict)
    """ln of the prior by spectype, relative; 0 where none is given."""
    floor: float = 1e-4
    """Share of the network's density that is the same everywhere: what it makes of an answer is the
    floor to the power b at least, relative to a flat density, and never a veto."""
    nearby: float = 0.0
    """Redshift below which the prior of galaxies and quasars falls with the volume; 0: nowhere."""

    def stored(self) -> dict[str, Any]:
        """All of it for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def restore(cls, kept: Mapping[str, Any]) -> Weights:
        """What ``stored`` gave. TypeError where it has an unknown key."""
        return cls(**kept)
