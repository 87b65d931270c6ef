"""From the scan's minima to redshifts: the final fit, on native pixels of all arms.

Each candidate is fitted by variable projection: at shift s the coefficients c are solved for, and s
moves by the Gauss-Newton step of the model's derivative with all coefficients and polynomials
marginalised,

    F = tᵀt - tᵀD (DᵀD + prior)⁻¹ Dᵀt,   ds = tᵀr / F,   sigma(s) = F^(-1/2),

where D holds the basis at native wavelengths, t = dm/ds and r is the residual, all of them divided
by the noise and with the polynomials projected out. Basis and derivative are interpolated between
pixels by cubic splines.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import lru_cache

import torch

from zspec.likelihood.basis import STEP, Basis, broadened
from zspec.likelihood.interpolation import coefficients, slopes, taps
from zspec.likelihood.pixels import Native
from zspec.likelihood.scan import PRIOR_WIDTH, TINY, amplitude, occam, orthonormal

STEPS = 5
"""Gauss-Newton steps at most; two do for most, since the scan's parabola starts close by."""
ENOUGH = 0.5
"""Sigmas: a shorter step is the last, and what it gains in chi2, less than 0.25, is foreseen."""
SHALLOW = -0.05
"""Slope of the steps with the shift, -1 where the model is right, above which it is not trusted."""
MAX_STEP = 1.0
"""Grid pixels: no step is longer."""
SETTLED = 0.1
"""Grid pixels: a longer last step did not converge, unless it is shorter than ENOUGH."""
ALIKE = 1e-6
"""Grid pixels: native pixels whose distances differ from 1 by less are pixels of the grid."""
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
    done: torch.Tensor
    """bool: it was so short that another is of no use."""
    mixture: torch.Tensor
    """(m, K) coefficients of the basis."""
    share: torch.Tensor
    """(m, P) coefficients of the orthonormal polynomials."""
    model: torch.Tensor
    """(m, pixel) the best model at native wavelengths; empty until all is settled."""

    def to(self, device: str) -> Fit:
        """The same on a device."""
        return Fit(**{name: getattr(self, name).to(device) for name in Fit.__dataclass_fields__})


def minima(values: torch.Tensor, first: int, count: int, apart: float, step: int = 1) -> Minima:
    """Local minima of (n, S) scans, more than ``apart`` grid pixels apart.

    Scans start at shift ``first`` and go on in steps of so many grid pixels. An edge counts where
    the scan falls towards it. The loop runs over the candidates.
    """
    padded = torch.nn.functional.pad(values, (1, 1), value=math.inf)
    left, right = padded[:, :-2], padded[:, 2:]
    open_ = torch.where((values < left) & (values <= right), values, math.inf)
    index = torch.arange(values.shape[1], device=values.device)
    picked, depth = [], []
    for _ in range(count):
        value, at = open_.min(1)
        picked.append(at)
        depth.append(value)
        open_ = torch.where((index - at[:, None]).abs() * step <= apart, math.inf, open_)
    at, value = torch.stack(picked, 1), torch.stack(depth, 1)  # (n, count)
    before, after = left.gather(1, at), right.gather(1, at)
    curve = before - 2 * value + after
    offset = torch.where(curve.isfinite(), (before - after) / (2 * curve), 0.0)
    found = value.isfinite()
    return Minima(
        shift=torch.where(found, first + step * (at + offset.nan_to_num(0.0)), math.nan),
        value=value - torch.where(found, curve * offset**2 / 2, 0.0).nan_to_num(0.0),
        sigma=torch.where(found & curve.isfinite(), step * (2 / curve) ** 0.5, math.nan),
    )


@dataclass(frozen=True)
class Prepared:
    """n spectra divided by their noise, and their polynomials, (n, ...)."""

    pixels: Native
    root: torch.Tensor
    """(n, pixel) square root of ivar."""
    residual: torch.Tensor
    """(n, pixel) flux without the polynomials' share, times root."""
    ortho: torch.Tensor
    """(n, P, pixel) the polynomials times root, made orthonormal."""
    lower: torch.Tensor
    """(n, P, P) ortho = lower⁻¹ polynomials · root."""
    fitted: torch.Tensor
    """(n, P) coefficients of ortho in the data."""

    def __getitem__(self, rows: torch.Tensor) -> Prepared:
        """Some of the spectra, or one several times."""
        parts = {f: getattr(self, f)[rows] for f in Prepared.__dataclass_fields__}
        return Prepared(**parts)


def prepare(pixels: Native) -> Prepared:
    """What the final fits of n spectra share, whatever the class."""
    root = pixels.ivar.sqrt()
    lower = orthonormal(pixels)
    weighted = root[:, None] * pixels.polynomials.T
    ortho = torch.linalg.solve_triangular(lower, weighted, upper=False)
    signal = root * pixels.flux
    fitted = (ortho @ signal[..., None])[..., 0]
    residual = signal - (fitted[:, None] @ ortho)[:, 0]
    return Prepared(pixels, root, residual, ortho, lower, fitted)


def refine(
    data: Prepared,
    basis: Basis,
    rows: torch.Tensor,
    shifts: torch.Tensor,
    patient: torch.Tensor,
    sigma: float = 0.0,
) -> Fit:
    """Fit candidates: spectrum ``rows[i]`` (m,) near ``shifts[i]``, with a broadened basis.

    Those that are not ``patient`` (m,) get one step, the others as many as they need.
    """
    table = _table(basis, sigma, shifts.device)
    position = data.pixels.position - basis.k0 + PAD
    block = len(rows)
    if shifts.is_cpu:
        block = max(1, BUDGET // (len(position) * (table.shape[1] + data.fitted.shape[1])))
    parts = [
        _refine(_Problem(data[rows[at]], basis, table, position), shifts[at], patient[at])
        for at in (slice(i, i + block) for i in range(0, len(rows), block))
    ]
    names = Fit.__dataclass_fields__
    return Fit(**{name: torch.cat([getattr(p, name) for p in parts]) for name in names})


@lru_cache(maxsize=64)
def _table(basis: Basis, sigma: float, device: torch.device) -> torch.Tensor:
    """(PAD + pixel + PAD, K) spline coefficients of the vectors, broadened by ``sigma``."""
    padded = torch.nn.functional.pad(broadened(basis, sigma), (PAD, PAD))
    return coefficients(padded).T.contiguous().to(device)


@dataclass(frozen=True)
class _Problem:
    """What m candidates of one basis are fitted to."""

    data: Prepared
    """Of m spectra."""
    basis: Basis
    table: torch.Tensor
    """(rest, K) of :func:`_table`."""
    position: torch.Tensor
    """(pixel,) row of the table at each native pixel, with fraction, at shift 0."""

    def __getitem__(self, rows: torch.Tensor) -> _Problem:
        """The problem of some of the candidates."""
        return dataclasses.replace(self, data=self.data[rows])


def _refine(problem: _Problem, shift: torch.Tensor, patient: torch.Tensor) -> Fit:
    """One block of :func:`refine`: steps, of those that still move, until they are short.

    Where a model fits badly Gauss-Newton steps are too long or too short, so that they are taken
    for a function of the shift whose zero the secant method finds.
    """
    fit, at = _step(problem, shift), shift.clone()
    move = fit.shift - at
    for _ in range(STEPS - 1):
        moving = (patient & ~fit.done).nonzero()[:, 0]
        if not len(moving):
            break
        start = at[moving] + move[moving]
        again = _step(problem[moving], start)
        step, before = again.shift - start, (fit.shift - at)[moving]
        slope = (step - before) / move[moving]
        secant = torch.where(slope < SHALLOW, -step / slope, step)
        move[moving], at[moving] = secant.clamp(-MAX_STEP, MAX_STEP), start
        for name in Fit.__dataclass_fields__:
            getattr(fit, name)[moving] = getattr(again, name)
    return dataclasses.replace(fit, model=_model(problem, fit))


def _step(problem: _Problem, shift: torch.Tensor) -> Fit:
    """The fit at ``shift`` (m,), and the shift one Gauss-Newton step further."""
    data, table = problem.data, problem.table
    places = _locate(problem.position, shift, len(table))
    design = places.design(table, taps(places.fraction)) * data.root[..., None]  # (m, pixel, K)
    overlap = data.ortho @ design  # (m, P, K)
    c, inverse, penalty = _solve(design, overlap, problem)
    spline = c @ table.T  # (m, rest)
    share = data.fitted - (overlap @ c[..., None])[..., 0]  # (m, P)
    signal = data.root * data.pixels.flux
    residual = signal - (design @ c[..., None])[..., 0] - (share[:, None] @ data.ortho)[:, 0]
    tangent = -data.root * places.sampled(spline, slopes(places.fraction))
    tangent -= ((data.ortho @ tangent[..., None]).mT @ data.ortho)[:, 0]
    mixed = design.mT @ tangent[..., None]  # (m, K, 1)
    curve = tangent.square().sum(1) - (mixed.mT @ inverse @ mixed)[:, 0, 0]
    step = ((tangent * residual).sum(1) / curve).clamp(-MAX_STEP, MAX_STEP)
    step = torch.where(curve > 0, step, 0.0)
    sigma = torch.where(curve > 0, curve, math.nan).rsqrt()
    pull = residual.square()
    chi2 = pull.sum(1)
    done = ~(step.abs() > ENOUGH * sigma)
    gain = torch.where(done & (curve > 0), step.square() * curve, 0.0)
    return Fit(
        shift=shift + step,
        sigma=sigma,
        value=chi2 + penalty - gain,
        chi2=chi2 - gain,
        outliers=(pull > OUTLIER**2).sum(1).double() / (data.root > 0).sum(1).clamp(min=1),
        light=(data.root * (signal - residual)).sum(1) / data.pixels.ivar.sum(1),
        settled=done | (step.abs() < SETTLED),
        done=done,
        model=shift.new_empty(len(shift), 0),
        mixture=c,
        share=share,
    )


def _model(problem: _Problem, fit: Fit) -> torch.Tensor:
    """(m, pixel) the models of fits at native wavelengths."""
    data, table = problem.data, problem.table
    places = _locate(problem.position, fit.shift, len(table))
    c = torch.linalg.solve_triangular(data.lower.mT, fit.share[..., None], upper=True)[..., 0]
    polynomials: torch.Tensor = c @ data.pixels.polynomials.T
    return places.sampled(fit.mixture @ table.T, taps(places.fraction)) + polynomials


@dataclass(frozen=True)
class _Places:
    """Where the native pixels of m candidates lie on a padded basis."""

    at: torch.Tensor
    """(m, 4, pixel) the four pixels around each; (m, pixel + 3) where they are neighbours."""
    fraction: torch.Tensor
    """(m, pixel) beyond the second of the four; (m, 1) where it is the same for all."""

    def sampled(self, spline: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """(m, pixel) coefficients of splines (m, rest), summed with weights of the fraction."""
        if self.at.dim() == 3:
            around = spline.gather(1, self.at.flatten(1)).view(self.at.shape)
            return (around * weights.movedim(-1, 1)).sum(1)
        return _slid(spline.gather(1, self.at), weights)

    def design(self, table: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """(m, pixel, K) the same for every vector of ``table`` (rest, K)."""
        if self.at.dim() == 2:
            return _slid(table[self.at], weights[..., None])
        rows = self.at.movedim(1, -1).flatten(0, 1)  # (m * pixel, 4)
        summed = torch.nn.functional.embedding_bag(
            rows, table, per_sample_weights=weights.flatten(0, 1), mode="sum"
        )
        return summed.view(len(self.at), -1, table.shape[1])


def _slid(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(m, pixel, ...) sums of four neighbours of values (m, pixel + 3, ...)."""
    count = values.shape[1] - 3
    total = values[:, :count] * weights[:, :, 0]
    for q in range(1, 4):
        total.addcmul_(values[:, q : q + count], weights[:, :, q])
    return total


def _locate(position: torch.Tensor, shift: torch.Tensor, length: int) -> _Places:
    """Places of pixels at ``position`` (pixel,) for shifts (m,), on a basis of ``length``.

    Positions beyond the ends land among the padding's zeros.
    """
    neighbours = bool(((position - position[0]).diff() - 1).abs().amax() < ALIKE)
    start = position[:1] if neighbours else position
    moved = start - shift[:, None]
    whole = moved.floor()
    at = whole.clamp(-length, 2 * length).long()
    if neighbours:
        around = at + torch.arange(-1, len(position) + 2, device=at.device)
    else:
        around = at[:, None] + torch.arange(-1, 3, device=at.device)[:, None]
    return _Places(around.clamp(0, length - 1), moved - whole)


def _solve(
    design: torch.Tensor, overlap: torch.Tensor, problem: _Problem
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Coefficients (m, K), inverse normal matrix, and what the prior adds to chi2 (m,)."""
    data, basis = problem.data, problem.basis
    normal = design.mT @ design
    right = (design.mT @ data.residual[..., None])[..., 0]
    whole = right[:, 0] + (overlap[..., 0] * data.fitted).sum(1)
    scale = amplitude(whole, normal[:, 0, 0])
    prior = basis.precision.to(scale.device) / PRIOR_WIDTH**2 / scale[:, None, None]
    normal += prior - overlap.mT @ overlap
    diagonal = normal.diagonal(dim1=1, dim2=2)
    diagonal += TINY * diagonal.mean(1, keepdim=True).clamp(min=1e-300)
    factor = torch.linalg.cholesky(normal)
    inverse = torch.cholesky_inverse(factor)
    c = (inverse @ right[..., None])[..., 0]
    penalty = (c[:, None] @ prior @ c[..., None])[:, 0, 0]
    volume = 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)
    return c, inverse, penalty + occam(volume, scale, len(prior[0]))


def redshift(shift: torch.Tensor) -> torch.Tensor:
    """Redshift of a shift in grid pixels."""
    return torch.expm1(shift * (math.log(10) * STEP))


def z_sigma(shift: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Standard deviation of z from that of the shift in grid pixels."""
    return sigma * math.log(10) * STEP * (1 + redshift(shift))
