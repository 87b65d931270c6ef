"""What is done to a mock spectrum anew each time that it is seen, on the device.

Noise is added to what is there, so that a bright mock is seen at many SNRs, with another noise each
time. Arms go missing, runs of pixels are masked, and what a pipeline does wrong is done: errors off
by a factor, a wrong slope of the flux calibration, an arm with too much or too little of the sky
taken off, spikes that nobody masked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class AugmentSettings:
    """Shares of the spectra that are changed, and by how much."""

    noise: float = 0.7
    """Share to which noise is added."""
    factor: float = 8.0
    """Largest factor by which the SNR falls; log-uniform from 1."""
    cut: float = 0.15
    """Share that loses all pixels on one side of a wavelength, as a dead arm does."""
    keep: float = 0.35
    """Least part of the grid that is left by it."""
    gap: float = 0.3
    """Share that loses a run of pixels."""
    spikes: float = 0.1
    """Share with a few pixels that are off by many sigma."""
    error: float = 0.1
    """Sigma of ln(stated error)."""
    slope: float = 0.05
    """Sigma of the flux calibration's slope and curvature, over half of the grid."""
    offset: float = 0.4
    """Sigma of a constant flux on one side of a wavelength, in median errors."""

    def __post_init__(self) -> None:
        """Raise ValueError for what is no share."""
        for name in ("noise", "cut", "gap", "spikes", "keep"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1]")
        if self.factor < 1 or min(self.error, self.slope, self.offset) < 0:
            raise ValueError("factor must be at least 1, and error, slope and offset at least 0")


LONGEST = 0.08
"""Longest run of pixels that is masked, as part of the grid."""
SPIKES = 3
"""Most pixels that stand out."""
OUTSTANDING = 30.0
"""Sigmas that they stand out by, on average."""


def augment(
    flux: Tensor, error: Tensor, settings: AugmentSettings, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Flux and error (n, wave) as they are seen this time; error 0 is a bad pixel."""
    flux, error = _add_noise(flux, error, settings, rng)
    flux, error = _miscalibrate(flux, error, settings, rng)
    flux = _offset(flux, error, settings, rng)
    flux = _spike(flux, error, settings, rng)
    keep = ~(_cut(error, settings, rng) | _gap(error, settings, rng))
    return flux * keep, error * keep


def _uniform(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(shape, generator=rng, device=rng.device)


def _normal(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=rng, device=rng.device)


def _chosen(rng: torch.Generator, count: int, share: float) -> Tensor:
    """(n, 1) whether a spectrum is one of the share."""
    return _uniform(rng, count, 1) < share


def _add_noise(
    flux: Tensor, error: Tensor, settings: AugmentSettings, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Lower the SNR by a factor; variances add."""
    count = len(flux)
    factor = torch.exp(_uniform(rng, count, 1) * math.log(settings.factor))
    factor = torch.where(_chosen(rng, count, settings.noise), factor, 1.0)
    more = error * (factor**2 - 1).sqrt()
    return flux + more * _normal(rng, *flux.shape), error * factor


def _miscalibrate(
    flux: Tensor, error: Tensor, settings: AugmentSettings, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A parabola of ln(flux), and a stated error that is off by a factor."""
    along = torch.linspace(-1, 1, flux.shape[1], device=flux.device)
    slope, bend = (settings.slope * _normal(rng, 2, len(flux), 1)).unbind(0)
    gain = torch.exp(slope * along + bend * along**2)
    return flux * gain, error * gain * torch.exp(settings.error * _normal(rng, len(flux), 1))


def _offset(flux: Tensor, error: Tensor, settings: AugmentSettings, rng: torch.Generator) -> Tensor:
    """A sky level that is off on one side of a wavelength, as that of one arm; of all spectra."""
    typical = torch.where(error > 0, error, math.nan).nanmedian(dim=1, keepdim=True).values
    height = settings.offset * typical.nan_to_num(0.0) * _normal(rng, len(flux), 1)
    return flux + height * (error > 0) * _side(error, _uniform(rng, len(flux), 1), rng)


def _spike(flux: Tensor, error: Tensor, settings: AugmentSettings, rng: torch.Generator) -> Tensor:
    """A few pixels that stand out, up or down."""
    count, size = flux.shape
    at = (_uniform(rng, count, SPIKES) * size).long()
    there = _chosen(rng, count, settings.spikes) & (_uniform(rng, count, SPIKES) < 0.6)
    sign = torch.where(_uniform(rng, count, SPIKES) < 0.8, 1.0, -1.0)
    height = -OUTSTANDING * torch.log1p(-_uniform(rng, count, SPIKES)) * sign * there
    return flux.scatter_add(1, at, height * error.gather(1, at))


def _cut(error: Tensor, settings: AugmentSettings, rng: torch.Generator) -> Tensor:
    """(n, wave) pixels on the wrong side of a wavelength."""
    count = len(error)
    part = settings.keep + (1 - settings.keep) * _uniform(rng, count, 1)
    return ~_side(error, part, rng) & _chosen(rng, count, settings.cut)


def _side(error: Tensor, part: Tensor, rng: torch.Generator) -> Tensor:
    """(n, wave) the blue or the red ``part`` (n, 1) of the grid."""
    count, size = error.shape
    along = torch.arange(size, device=error.device) / size
    red = _uniform(rng, count, 1) < 0.5
    return torch.where(red, along >= 1 - part, along < part)


def _gap(error: Tensor, settings: AugmentSettings, rng: torch.Generator) -> Tensor:
    """(n, wave) pixels of one run."""
    count, size = error.shape
    along = torch.arange(size, device=error.device) / size
    first = _uniform(rng, count, 1)
    inside = (along >= first) & (along < first + LONGEST * _uniform(rng, count, 1))
    return inside & _chosen(rng, count, settings.gap)
