"""From the scan's minima to redshifts: the final fit, on native pixels of all arms.

Each candidate is fitted by variable projection: at shift s the coefficients c are solved for, and s
moves by the Gauss-Newton step of the model's derivative with all coefficients and polynomials
marginalised,

    F = tᵀWt - tᵀWD (DᵀWD + prior)⁻¹ DᵀWt,   ds = tᵀWr / F,   sigma(s) = F^(-1/2),

where D holds basis and polynomials at native wavelengths, t = dm/ds and r is the residual. Basis
and derivative are interpolated between pixels by cubic splines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch

from zspec.likelihood.basis import STEP, Basis, broadened
from zspec.likelihood.interpolation import coefficients, slopes, taps
from zspec.likelihood.pixels import Native
from zspec.likelihood.scan import PRIOR_WIDTH, TINY, amplitude, occam

STEPS = 2
"""Gauss-Newton steps; the scan's parabola starts within a few hundredths of a pixel."""
MAX_STEP = 1.0
"""Grid pixels: no step is longer."""
SETTLED = 0.1
"""Grid pixels, and sigmas: a last step longer than both did not converge."""
OUTLIER = 5.0
"""Residual in sigma beyond which a pixel is an outlier (redrock)."""
BUDGET = 200_000
"""Numbers of a block of candidates: about 2 MB, which a core's cache holds."""
PAD = 16
"""Zeros beyond the ends of a basis, so that its spline runs out to 0."""


@dataclass(frozen=True)
class Minima:
    """The deepest minima of n scans, (n, count) each, best first; inf and NaN beyond the last."""

    shift: torch.Tensor
    """Grid pixels, between pixels by a parabola."""
    value: torch.Tensor
    """Penalised chi2 there; inf where there are fewer minima."""
    sigma: torch.Tensor
    """Standard deviation of the shift by the parabola; NaN at an edge."""


@dataclass(frozen=True)
class Fit:
    """m candidates after their final fit; (m,) each unless said otherwise."""

    shift: torch.Tensor
    """Grid pixels."""
    sigma: torch.Tensor
    """Of the shift; NaN where the curvature is not positive."""
    value: torch.Tensor
    """Penalised chi2: what candidates are ranked by."""
    chi2: torch.Tensor
    """Σ ivar (d - m)² over native pixels."""
    outliers: torch.Tensor
    """Share of the good pixels beyond ``OUTLIER``."""
    light: torch.Tensor
    """Mean flux of the model, weighted by ivar."""
    settled: torch.Tensor
    """bool: the last step was short."""
    model: torch.Tensor
    """(m, pixel) the best model at native wavelengths."""


def minima(values: torch.Tensor, first: int, count: int, apart: float) -> Minima:
    """Local minima of (n, S) scans that start at shift ``first``, more than ``apart`` pixels apart.

    An edge counts where the scan falls towards it. The loop runs over the candidates.
    """
    padded = torch.nn.functional.pad(values, (1, 1), value=math.inf)
    left, right = padded[:, :-2], padded[:, 2:]
    open_ = torch.where((values < left) & (values <= right), values, math.inf)
    index = torch.arange(values.shape[1])
    picked, depth = [], []
    for _ in range(count):
        value, at = open_.min(1)
        picked.append(at)
        depth.append(value)
        open_ = torch.where((index - at[:, None]).abs() <= apart, math.inf, open_)
    at, value = torch.stack(picked, 1), torch.stack(depth, 1)  # (n, count)
    before, after = left.gather(1, at), right.gather(1, at)
    curve = before - 2 * value + after
    offset = torch.where(curve.isfinite(), (before - after) / (2 * curve), 0.0)
    found = value.isfinite()
    return Minima(
        shift=torch.where(found, first + at + offset.nan_to_num(0.0), math.nan),
        value=value - torch.where(found, curve * offset**2 / 2, 0.0).nan_to_num(0.0),
        sigma=torch.where(found & curve.isfinite(), (2 / curve) ** 0.5, math.nan),
    )


def refine(
    pixels: Native, basis: Basis, rows: torch.Tensor, shifts: torch.Tensor, sigma: float = 0.0
) -> Fit:
    """Fit candidates: spectrum ``rows[i]`` (m,) near ``shifts[i]``, with a broadened basis."""
    table = _table(basis, sigma)
    polynomials = pixels.polynomials  # (pixel, P)
    width = table.shape[1] + polynomials.shape[1]
    block = max(1, BUDGET // (pixels.flux.shape[1] * width))
    position = pixels.position
    parts = [
        _refine(pixels[rows[i : i + block]], basis, table, position, polynomials, s)
        for i, s in ((i, shifts[i : i + block]) for i in range(0, len(rows), block))
    ]
    names = Fit.__dataclass_fields__
    return Fit(**{name: torch.cat([getattr(p, name) for p in parts]) for name in names})


@lru_cache(maxsize=64)
def _table(basis: Basis, sigma: float) -> torch.Tensor:
    """(PAD + pixel + PAD, K) spline coefficients of the vectors, broadened by ``sigma``."""
    padded = torch.nn.functional.pad(broadened(basis, sigma), (PAD, PAD))
    return coefficients(padded).T.contiguous()


def _refine(
    data: Native,
    basis: Basis,
    table: torch.Tensor,
    position: torch.Tensor,
    polynomials: torch.Tensor,
    shift: torch.Tensor,
) -> Fit:
    """One block of :func:`refine`."""
    start = position - basis.k0 + PAD
    step = torch.zeros_like(shift)
    for number in range(STEPS + 1):
        at, fraction = _locate(start - shift[:, None], len(table))
        basis_there = _interpolated(table, at, taps(fraction))
        design = torch.cat([basis_there, polynomials.expand(len(at), -1, -1)], dim=-1)
        c, inverse, penalty = _solve(design, data, basis)
        model = (design @ c[..., None])[..., 0]  # (m, pixel)
        residual = data.flux - model
        slope = _interpolated(table, at, slopes(fraction))
        tangent = -(slope @ c[:, : table.shape[1], None])[..., 0]
        weighted = data.ivar * tangent
        mixed = (design.mT @ weighted[..., None])[..., 0]  # (m, K + P)
        curve = (weighted * tangent).sum(1) - torch.einsum("mk,mkl,ml->m", mixed, inverse, mixed)
        if number < STEPS:
            step = ((weighted * residual).sum(1) / curve).clamp(-MAX_STEP, MAX_STEP)
            step = torch.where(curve > 0, step, 0.0)
            shift = shift + step
    pull = residual**2 * data.ivar
    chi2 = pull.sum(1)
    sigma = torch.where(curve > 0, curve, math.nan) ** -0.5
    return Fit(
        shift=shift,
        sigma=sigma,
        value=chi2 + penalty,
        chi2=chi2,
        outliers=(pull > OUTLIER**2).sum(1).double() / (data.ivar > 0).sum(1).clamp(min=1),
        light=(data.ivar * model).sum(1) / data.ivar.sum(1),
        settled=(step.abs() < SETTLED) | (step.abs() < SETTLED * sigma),
        model=model,
    )


def _locate(position: torch.Tensor, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(m, pixel) each: pixel of the padded basis to the left, and the fraction beyond it.

    Positions beyond the ends land among the padding's zeros.
    """
    whole = position.floor()
    fraction = position - whole
    return whole.clamp(1, length - 3).long(), fraction


def _interpolated(table: torch.Tensor, at: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(m, pixel, K) four rows of ``table`` around each of ``at``, summed by (m, pixel, 4)."""
    rows = at[..., None] + torch.arange(-1, 3)  # (m, pixel, 4)
    summed = torch.nn.functional.embedding_bag(
        rows.flatten(0, 1), table, per_sample_weights=weights.flatten(0, 1), mode="sum"
    )
    return summed.view(*at.shape, table.shape[1])


def _solve(
    design: torch.Tensor, data: Native, basis: Basis
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Coefficients (m, K + P), inverse normal matrix, and what the prior adds to chi2 (m,)."""
    size = len(basis.precision)
    weighted = design * data.ivar[..., None]
    normal = weighted.mT @ design
    right = (weighted.mT @ data.flux[..., None])[..., 0]
    scale = amplitude(right[:, 0], normal[:, 0, 0])
    prior = basis.precision / PRIOR_WIDTH**2 / scale[:, None, None]
    normal[:, :size, :size] += prior
    diagonal = normal.diagonal(dim1=1, dim2=2)
    diagonal += TINY * diagonal.mean(1, keepdim=True).clamp(min=1e-300)
    inverse = torch.linalg.inv(normal)
    c = (inverse @ right[..., None])[..., 0]
    shape = c[:, :size]
    penalty = torch.einsum("mk,mkl,ml->m", shape, prior, shape)
    volume = torch.linalg.slogdet(normal)[1] - torch.linalg.slogdet(normal[:, size:, size:])[1]
    return c, inverse, penalty + occam(volume, scale, basis)


def redshift(shift: torch.Tensor) -> torch.Tensor:
    """Redshift of a shift in grid pixels."""
    return torch.expm1(shift * (math.log(10) * STEP))


def z_sigma(shift: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Standard deviation of z from that of the shift in grid pixels."""
    return sigma * math.log(10) * STEP * (1 + redshift(shift))
