"""From photons to flux: what a detector counts, and what a pipeline makes of it.

Counts are drawn on native pixels from a Gaussian of the Poisson variance of source, sky and dark
current plus read noise; with tens of electrons of sky a pixel its skewness is below 0.2.

The error that comes out is the pipeline's, made from what a pipeline has: its model of sky, dark
and read noise, and the source's counts as measured, averaged over ``SMOOTHED`` pixels and never
below 0 with the sky. It is not the true variance, which would tell the noise-free source. It knows
the share ``sky.known`` of what sky subtraction leaves, and nothing of errors of the calibration.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from zspec.simulate.optics import Optics, Source
from zspec.simulate.spectrograph import Spectrograph

SMOOTHED = 5
"""Pixels of the running mean of the source's counts, from which the error is made."""
NODES = 12
"""Points over the range between which the residual of the sky lines changes its size smoothly:
lines a few hundred Å apart are subtracted alike, as one wavelength solution serves them."""


@dataclass(frozen=True)
class Conditions:
    """What changes from target to target; (1, n) or (pixel, n)."""

    count: torch.Tensor
    """(1, n) exposures."""
    seconds: torch.Tensor
    """(1, n) of all of them."""
    continuum: torch.Tensor
    """(1, n) brightness of the sky's continuum, 1 on average."""
    lines: torch.Tensor
    """(1, n) brightness of its lines."""
    tilt: torch.Tensor
    """(1, n) ln(flux) at the red end, by a wrong calibration."""
    steps: torch.Tensor
    """(camera, n) ln(flux) of each camera, likewise."""


@dataclass(frozen=True)
class Exposed:
    """Spectra on native pixels, (pixel, n), before they are joined."""

    flux: torch.Tensor
    ivar: torch.Tensor
    """0 where masked."""
    per_electron: torch.Tensor
    """Flux of one electron, for what else falls on the detector."""


def draw_conditions(spec: Spectrograph, n: int, rng: torch.Generator) -> Conditions:
    """The conditions of ``n`` targets."""

    def normal(rows: int = 1) -> torch.Tensor:
        return torch.randn(rows, n, generator=rng, device=rng.device)

    count = spec.exposure.count * torch.exp(spec.exposure.scatter * normal())
    return Conditions(
        count=count,
        seconds=count * spec.exposure.seconds,
        continuum=torch.exp(spec.sky.scatter * normal()),
        lines=torch.exp(spec.sky.scatter * normal()),
        tilt=spec.calibration.tilt * normal(),
        steps=spec.calibration.step * normal(len(spec.cameras)),
    )


def expose(
    clean: torch.Tensor, spec: Spectrograph, optics: Optics, seen: Conditions, rng: torch.Generator
) -> Exposed:
    """Observe noise-free flux (pixel, n) in 1e-17 erg/s/cm2/Å."""
    unit = optics.unit * seen.seconds  # (pixel, n) electrons per unit of flux
    lines = optics.lines * seen.lines * unit
    steady = optics.continuum * seen.continuum * unit + lines
    steady += optics.dark * seen.seconds
    noise = optics.reads * seen.count
    counts = clean * unit
    sigma = _variance(counts.clamp(min=0) + steady, noise, counts, spec).sqrt_()
    counts += sigma.mul_(torch.randn(counts.shape, generator=rng, device=rng.device))
    counts += _residual(lines, unit, spec, optics, seen, rng)
    source = smooth(counts, optics)
    variance = _variance((source + steady).clamp_(min=0), noise, source, spec)
    variance += lines.mul_(spec.sky.known * spec.sky.residual).square_()
    if spec.sky.bright:
        hidden = optics.bright & (steady > counts + spec.sky.bright * variance.sqrt())
        variance = torch.where(hidden, torch.inf, variance)
    per_electron = _gain(optics, seen).div_(unit)
    ivar = variance.mul_(per_electron.square()).reciprocal_()
    return Exposed(counts.mul_(per_electron), ivar, per_electron)


def _variance(
    counted: torch.Tensor, noise: torch.Tensor, source: torch.Tensor, spec: Spectrograph
) -> torch.Tensor:
    """(pixel, n) electrons2: of all that was ``counted``, which it is made in, and of the rest."""
    counted += noise
    if spec.calibration.floor:
        counted += (spec.calibration.floor * source) ** 2
    return counted


def smooth(counts: torch.Tensor, optics: Optics) -> torch.Tensor:
    """The running mean of (pixel, n) within each camera; shorter at its ends."""
    made = torch.empty_like(counts)
    for part in optics.cameras:
        inside = counts[part]
        total, there = inside.clone(), torch.ones_like(inside[:, :1])
        for k in range(1, SMOOTHED // 2 + 1):
            total[k:] += inside[:-k]
            total[:-k] += inside[k:]
            there[k:] += 1
            there[:-k] += 1
        made[part] = total / there
    return made


def _residual(
    lines: torch.Tensor,
    unit: torch.Tensor,
    spec: Spectrograph,
    optics: Optics,
    seen: Conditions,
    rng: torch.Generator,
) -> torch.Tensor:
    """(pixel, n) electrons that sky subtraction leaves: of the lines' brightness and place."""
    n = lines.shape[1]
    nodes = torch.randn(NODES, n, generator=rng, device=rng.device)
    place = (optics.along[:, 0] + 1) * (NODES - 1) / 2  # (pixel,) from 0 to NODES - 1
    at = place.long().clamp(max=NODES - 2)
    share = (place - at)[:, None]
    # between nodes the weights add in quadrature, so that the scatter is the same everywhere
    size = torch.sqrt((1 - share) ** 2 + share**2)
    left = lines * (spec.sky.residual * (nodes[at] * (1 - share) + nodes[at + 1] * share) / size)
    shift = torch.randn(len(optics.cameras), n, generator=rng, device=rng.device)
    for part, moved in zip(optics.cameras, shift, strict=True):
        slope = optics.slope[part] * seen.lines * unit[part]
        left[part] += slope * (spec.sky.shift * moved)
    return left


def _gain(optics: Optics, seen: Conditions) -> torch.Tensor:
    """(pixel, n) measured flux over true flux."""
    error = optics.along * seen.tilt
    for part, step in zip(optics.cameras, seen.steps, strict=True):
        error[part] += step
    return error.exp_()


def join(exposed: Exposed, optics: Optics) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Flux and ivar, (pixel, n), of each arm that comes out.

    Each camera is resampled by overlap times ivar, and cameras are averaged by ivar; ivar is the
    diagonal of what that makes of independent native pixels.
    """
    made = []
    n = exposed.flux.shape[1]
    for arm in optics.arms:
        total, weighted = exposed.flux.new_zeros(2, len(arm.wave), n)
        for source in arm.sources:
            flux, ivar = _resampled(source, exposed)
            total[source.rows] += ivar
            weighted[source.rows] += ivar.mul_(flux)
        made.append((weighted.div_(total).nan_to_num_(0.0), total))
    return made


def _resampled(source: Source, exposed: Exposed) -> tuple[torch.Tensor, torch.Tensor]:
    """As ``zspec.grid.resample``, on tensors: Σ o w f / Σ o w and (Σ o w)² / Σ o² w."""
    flux, ivar = exposed.flux[source.pixels], exposed.ivar[source.pixels]
    if source.shared is None or source.squared is None:
        return flux, ivar.clone()
    weight = source.shared @ ivar
    noise = source.squared @ ivar
    new = (source.shared @ (ivar * flux)).div_(weight).nan_to_num_(0.0)
    return new, weight.square_().div_(noise).nan_to_num_(0.0)
