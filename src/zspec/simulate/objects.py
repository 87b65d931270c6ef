"""What a simulator of sources hands to a simulator of instruments: noise-free objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray


@dataclass(frozen=True)
class Objects:
    """n objects as they reach the top of the atmosphere: no line spread, no noise.

    Redshift, velocity dispersion, the Lyman forest and Galactic extinction are in the flux.
    """

    wave: torch.Tensor
    """(wave,) float64 Å, vacuum, observed frame, evenly spaced in ln λ."""
    flux: torch.Tensor
    """(n, wave) float32, 1e-17 erg/s/cm2/Å; scaled to the magnitude that ``truth`` states."""
    truth: Mapping[str, NDArray[Any]]
    """(n,) columns of the truth table. Always LABEL (the population's class), SPECTYPE, SUBTYPE,
    Z, MAG (AB, in the population's band), SED (which source it is: sets are split by it), EBV."""

    def __len__(self) -> int:
        """Number of objects."""
        return len(self.flux)
