"""The common tensor: what every network sees, whatever the survey."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from zspec.arms import to_grid
from zspec.device import move
from zspec.errors import ConfigError, unknown
from zspec.grid import WaveGrid
from zspec.survey import Spectra

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class SpectrumBatch:
    """n spectra on one grid. Finite everywhere; flux and error are 0 where not good."""

    flux: NDArray[np.float32]
    """(n, wave) flux divided by ``scale``, observed frame, vacuum."""
    error: NDArray[np.float32]
    """(n, wave) 1 sigma in the same unit; 0 where not good."""
    good: NDArray[np.bool_]
    """(n, wave) True is usable."""
    grid: WaveGrid
    """The wavelengths."""
    ids: NDArray[np.int64]
    """(n,) TARGETID, in the order of the spectra."""
    scale: NDArray[np.float32]
    """(n,) 1e-17 erg/s/cm2/Å per unit of flux."""

    def __post_init__(self) -> None:
        """Hold what the contract promises. Raises ValueError where it is broken."""
        n, size = len(self.ids), len(self.grid)
        for name in ("flux", "error", "good"):
            if getattr(self, name).shape != (n, size):
                raise ValueError(f"{name}: {getattr(self, name).shape}, expected {(n, size)}")
        if self.scale.shape != (n,):
            raise ValueError(f"scale: {self.scale.shape}, expected {(n,)}")
        if not all(np.isfinite(x).all() for x in (self.flux, self.error, self.scale)):
            raise ValueError("flux, error and scale must be finite")
        if np.any(self.error < 0) or np.any(self.error[~self.good] != 0):
            raise ValueError("error must be >= 0, and 0 where not good")
        if np.any(self.flux[~self.good] != 0):
            raise ValueError("flux must be 0 where not good")

    @property
    def wave(self) -> NDArray[np.float64]:
        """(wave,) Å, vacuum, observed frame."""
        return self.grid.wave

    @classmethod
    def from_spectra(cls, spectra: Spectra, grid: WaveGrid) -> SpectrumBatch:
        """Merge the arms and resample them to ``grid``.

        ``scale`` is the root mean square of the good flux (1 where there is none), so that float32
        holds absolute fluxes of 1e-17 as well as counts.
        """
        flux, ivar = to_grid(spectra.arms, grid)
        good = ivar > 0
        count = np.maximum(good.sum(axis=1), 1)
        scale = np.sqrt((flux**2).sum(axis=1) / count)
        scale = np.where(scale > 0, scale, 1.0)
        error = np.divide(1.0, np.sqrt(ivar), out=np.zeros_like(ivar), where=good)
        limit = np.finfo(np.float32)
        error = error / scale[:, None]
        good &= (error < limit.max) & (error > limit.tiny)  # what float32 cannot hold is not good
        return cls(
            flux=np.where(good, flux / scale[:, None], 0).astype(np.float32),
            error=np.where(good, error, 0).astype(np.float32),
            good=good,
            grid=grid,
            ids=spectra.ids,
            scale=scale.astype(np.float32),
        )

    def inputs(self, channels: Sequence[str], device: str = "cpu") -> torch.Tensor:
        """The tensor (n, channel, wave) float32 of ``flux``, ``error`` or ``good``, in that order.

        Raises ConfigError for a channel that does not exist.
        """
        import torch

        known = {"flux": self.flux, "error": self.error, "good": self.good}
        for channel in channels:
            if channel not in known:
                raise ConfigError(unknown("channel", channel, known))
        stacked = np.stack([known[c].astype(np.float32) for c in channels], axis=1)
        return move(torch.from_numpy(stacked), device)
