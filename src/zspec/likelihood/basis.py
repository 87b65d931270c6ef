"""A rest-frame basis: what objects of one class look like, on the common log grid.

The grid is log10(λ / Å) = k · 1e-4 with integer k, in vacuum: the phase of SDSS's own pixels. A
redshift z is a shift by s = 1e4 · log10(1 + z) pixels.

Vectors are scaled so that the coefficients of the training set, divided by the amplitude c[0], have
mean (1, 0, 0, ...) and about the covariance diag(0, 1, 1, ...): vector 0 is the mean spectrum, and
the others are the ways in which objects of the class differ from it, by one standard deviation
each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

STEP = 1e-4
"""Step of the common grid in log10 λ."""
LIGHT = 299792.458
"""Speed of light in km/s (exact, SI)."""
PIXEL_LN = math.log(10) * STEP
"""Width of one grid pixel in ln λ, hence in ln(1 + z)."""
PIXEL_KMS = LIGHT * PIXEL_LN
"""Velocity width of one grid pixel, 69.03 km/s."""


@dataclass(frozen=True, eq=False)
class Basis:
    """K rest-frame vectors of one class, and how its objects mix them."""

    name: str
    """The class's label, as ``STAR_F``."""
    spectype: str
    """GALAXY, QSO or STAR."""
    subtype: str
    """For stars the type; else empty."""
    k0: int
    """Grid index of the first pixel."""
    vectors: NDArray[np.float64]
    """(K, pixel) flux density per unit wavelength; vacuum, rest frame; 0 beyond the ends."""
    mean: NDArray[np.float64]
    """(K,) mean of the training set's coefficients at amplitude 1."""
    spread: NDArray[np.float64]
    """(K, K) their covariance; row and column 0 are 0 where c[0] is the amplitude."""
    z_range: tuple[float, float]
    """Lowest and highest redshift to search."""
    good_dz: float
    """What |dz|/(1+z) counts as a good redshift of this class."""
    lsf: float = 1.0
    """Sigma of the line-spread function that the vectors contain, in grid pixels."""
    forest: str = "none"
    """``included``: vectors show the mean Lyman forest of their redshift; ``none``: no forest."""

    density: tuple[tuple[float, float], ...] = ()
    """(z, log10 of the number of objects per unit ln(1 + z)), relative; linear in between.

    Empty: flat. Only what is orders of magnitude deserves a place here, as quasars at z > 5.
    """

    def rarity(self, shift: torch.Tensor) -> torch.Tensor:
        """What ``density`` adds to chi2 at shifts in grid pixels: -2 ln of it; 0 where flat."""
        if not self.density:
            return torch.zeros_like(shift)
        knots, logs = np.array(self.density).T
        log10 = np.interp(10 ** (shift.cpu().numpy() * STEP) - 1, knots, logs)
        return torch.from_numpy(-2 * math.log(10) * log10).to(shift.device)

    @cached_property
    def ends(self) -> tuple[float, float]:
        """``z_range`` in grid pixels."""
        low, high = (math.log10(1 + z) / STEP for z in self.z_range)
        return low, high

    @property
    def shifts(self) -> tuple[int, int]:
        """First and last shift in whole grid pixels that hold ``z_range``."""
        return math.floor(self.ends[0]), math.ceil(self.ends[1])

    @property
    def separation(self) -> float:
        """Grid pixels between two different redshifts: 1000 km/s, and 100 for stars (redrock)."""
        return (100 if self.spectype == "STAR" else 1000) / PIXEL_KMS

    @cached_property
    def precision(self) -> torch.Tensor:
        """(K, K) inverse of ``spread`` on its support: no prior on the amplitude."""
        return torch.from_numpy(np.linalg.pinv(self.spread, rcond=1e-10, hermitian=True))

    def header(self) -> dict[str, Any]:
        """All but the arrays, for JSON."""
        keys = (
            "name",
            "spectype",
            "subtype",
            "k0",
            "z_range",
            "good_dz",
            "lsf",
            "forest",
            "density",
        )
        return {key: getattr(self, key) for key in keys}

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """The arrays, named for one file with other bases; float32 holds SNR 1e6 a pixel."""
        arrays = {"vectors": self.vectors, "mean": self.mean, "spread": self.spread}
        return {f"{self.name}.{key}": value.astype(np.float32) for key, value in arrays.items()}

    @classmethod
    def restore(cls, header: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Basis:
        """Build a basis from what ``header`` and ``tensors`` gave. KeyError where it lacks one."""
        arrays = {
            key: np.asarray(tensors[f"{header['name']}.{key}"], np.float64)
            for key in ("vectors", "mean", "spread")
        }
        low, high = header["z_range"]
        labels: dict[str, Any] = {**header, "z_range": (float(low), float(high))}
        labels["density"] = tuple((float(z), float(log)) for z, log in header["density"])
        labels.update(arrays)
        return cls(**labels)


@lru_cache(maxsize=64)
def broadened(basis: Basis, sigma: float) -> torch.Tensor:
    """(K, pixel) vectors, convolved with a Gaussian of ``sigma`` grid pixels (0: as they are)."""
    return torch.from_numpy(blur(basis.vectors, sigma))


def blur(vectors: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """(K, pixel) vectors, convolved with a Gaussian; weights are normalised at the ends."""
    if sigma <= 0:
        return vectors
    reach = math.ceil(4 * sigma)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    norm = np.convolve(np.ones(vectors.shape[1]), kernel, mode="same")
    return np.stack([np.convolve(v, kernel, mode="same") / norm for v in vectors])
