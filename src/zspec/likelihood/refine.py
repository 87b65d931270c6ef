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

import math
from dataclasses import dataclass

import torch

from zspec.likelihood.basis import STEP, Basis
from zspec.likelihood.interpolation import slopes, taps
from zspec.likelihood.pixels import Native
from zspec.likelihood.places import Lookup, lookup
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
OUTLIER = 5.0
"""Residual in sigma beyond which a pixel is an outlier (redrock)."""
BUDGET = 200_000
"""Numbers of a block of candidates: about 2 MB, which a core's cache holds."""


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
    mixture: torch.Tensor
    """(m, K) coefficients of the basis."""
    share: torch.Tensor
    """(m, P) coefficients of the orthonormal polynomials."""
    model: torch.Tensor
    """(m, pixel) the best model at native wavelengths."""

    def to(self, device: str) -> Fit:
        """The same on a device."""
        return Fit(**{name: getattr(self, name).to(device) for name in Fit.__dataclass_fields__})


def minima(values: torch.Tensor, first: int, count: int, apart: float, step: int = 1) -> Minima:
    """Local minima of (n, S) scans, more than ``apart`` grid pixels apart.

    Scans start at shift ``first`` and go on in steps of so many grid pixels. An edge counts where
    the scan falls towards it. The loop runs over the candidates. Minima are two steps apart at
    least, so that one that is taken bars no more than ``crowd`` others.
    """
    padded = torch.nn.functional.pad(values, (1, 1), value=math.inf)
    left, right = padded[:, :-2], padded[:, 2:]
    low = torch.where((values < left) & (values <= right), values, math.inf)
    crowd = 2 * int(apart / (2 * step))
    few = min(count + (count - 1) * crowd, values.shape[1])
    depth, index = low.topk(few, dim=1, largest=False)  # (n, few), by depth
    picked = []
    for _ in range(count):
        best = depth.argmin(1, keepdim=True)
        picked.append((index.gather(1, best), depth.gather(1, best)))
        near = (index - picked[-1][0]).abs() * step <= apart
        depth = torch.where(near, math.inf, depth)
    at, value = (torch.cat(each, 1) for each in zip(*picked, strict=True))  # (n, count)
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
    sides: torch.Tensor
    """(n, P + 1, pixel) the polynomials times root, made orthonormal; last, flux times root."""
    lower: torch.Tensor
    """(n, P, P) ortho = lower⁻¹ polynomials · root."""
    fitted: torch.Tensor
    """(n, P) coefficients of ortho in the data."""

    @property
    def ortho(self) -> torch.Tensor:
        """(n, P, pixel) the polynomials of ``sides``."""
        return self.sides[:, :-1]


def prepare(pixels: Native) -> Prepared:
    """What the final fits of n spectra share, whatever the class."""
    root = pixels.ivar.sqrt()
    lower = orthonormal(pixels)
    ortho = torch.linalg.solve_triangular(lower, root[:, None] * pixels.polynomials.T, upper=False)
    signal = root * pixels.flux
    fitted = (ortho @ signal[..., None])[..., 0]
    residual = signal - (fitted[:, None] @ ortho)[:, 0]
    return Prepared(pixels, root, residual, torch.cat([ortho, signal[:, None]], 1), lower, fitted)


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
    table, block = lookup(basis, sigma, data.pixels), len(rows)
    if shifts.is_cpu:
        each = data.root.shape[1] * (len(basis.vectors) + data.sides.shape[1])
        block = max(1, BUDGET // each)
    parts = [
        _finished(_settle(_problem(data, basis, table, rows[at]), shifts[at], patient[at]))
        for at in (slice(i, i + block) for i in range(0, len(rows), block))
    ]
    names = Fit.__dataclass_fields__
    return Fit(**{name: torch.cat([getattr(p, name) for p in parts]) for name in names})


@dataclass(frozen=True)
class _Problem:
    """What m candidates of one basis are fitted to; tensors as in ``Prepared``."""

    data: Prepared
    """Of n spectra."""
    basis: Basis
    table: Lookup
    rows: torch.Tensor
    """(m,) which of the n spectra."""
    root: torch.Tensor
    sides: torch.Tensor
    fitted: torch.Tensor
    level: torch.Tensor
    """(m,) chi2 of the polynomials alone."""

    def __getitem__(self, some: torch.Tensor) -> _Problem:
        """The problem of some of the candidates."""
        return _problem(self.data, self.basis, self.table, self.rows[some])


def _problem(data: Prepared, basis: Basis, table: Lookup, rows: torch.Tensor) -> _Problem:
    """The problem of spectra ``rows`` (m,)."""
    level = data.residual[rows].square().sum(1)
    parts = data.root[rows], data.sides[rows], data.fitted[rows]
    return _Problem(data, basis, table, rows, *parts, level)


@dataclass(frozen=True)
class _Step:
    """m candidates at one shift, and where they go from there; (m,) as in ``Fit``."""

    shift: torch.Tensor
    sigma: torch.Tensor
    value: torch.Tensor
    chi2: torch.Tensor
    settled: torch.Tensor
    done: torch.Tensor
    """bool: the step was so short that another is of no use."""
    mixture: torch.Tensor
    share: torch.Tensor


def _settle(
    problem: _Problem, shift: torch.Tensor, patient: torch.Tensor
) -> tuple[_Problem, _Step]:
    """Steps, of those that still move, until they are short.

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
        for name in _Step.__dataclass_fields__:
            getattr(fit, name)[moving] = getattr(again, name)
    return problem, fit


def _step(problem: _Problem, shift: torch.Tensor) -> _Step:
    """The fit at ``shift`` (m,), and the shift one Gauss-Newton step further.

    All that is needed of the residual r are products with rows of the design: rᵀt is what t has of
    the data less what it has of the fit.
    """
    root, sides = problem.root, problem.sides
    places = problem.table.at(shift)
    design = places.design().mul_(root[..., None])  # (m, pixel, K)
    seen = sides @ design  # (m, P + 1, K)
    overlap, whole = seen[:, :-1], seen[:, -1]
    found = _solve(design.mT @ design, overlap, whole, problem)
    share = problem.fitted - _times(overlap, found.c)
    tangent = places.mixed(found.c, slopes) * -root
    along, mixed = _times(sides, tangent), _times(design.mT, tangent)  # (m, P + 1), (m, K)
    inner = mixed - _times(overlap.mT, along[:, :-1])
    curve = tangent.square().sum(1) - along[:, :-1].square().sum(1)
    curve = curve - (inner * _times(found.inverse, inner)).sum(1)
    slope = along[:, -1] - (mixed * found.c).sum(1) - (along[:, :-1] * share).sum(1)
    step = torch.where(curve > 0, (slope / curve).clamp(-MAX_STEP, MAX_STEP), 0.0)
    sigma = torch.where(curve > 0, curve, math.nan).rsqrt()
    done = ~(step.abs() > ENOUGH * sigma)
    gain = torch.where(done & (curve > 0), step.square() * curve, 0.0)
    chi2 = problem.level - found.explained - gain
    settled = done | (step.abs() < SETTLED)
    return _Step(shift + step, sigma, chi2 + found.penalty, chi2, settled, done, found.c, share)


def _times(matrix: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    """(m, i) products of matrices (m, i, j) and vectors (m, j)."""
    return (matrix @ vector[..., None])[..., 0]


def _finished(settled: tuple[_Problem, _Step]) -> Fit:
    """Fits with their models at native wavelengths, and what these say of the data."""
    problem, last = settled
    root, signal, pixels = problem.root, problem.sides[:, -1], problem.data.pixels
    lower = problem.data.lower[problem.rows].mT
    c = torch.linalg.solve_triangular(lower, last.share[..., None], upper=True)[..., 0]
    model = problem.table.at(last.shift).mixed(last.mixture, taps) + c @ pixels.polynomials.T
    far = (signal - root * model).abs() > OUTLIER
    ivar = root.square()
    return Fit(
        shift=last.shift,
        sigma=last.sigma,
        value=last.value,
        chi2=last.chi2,
        outliers=far.sum(1) / (root > 0).sum(1).clamp(min=1).double(),
        light=(ivar * model).sum(1) / ivar.sum(1),
        settled=last.settled,
        mixture=last.mixture,
        share=last.share,
        model=model,
    )


def own_share(data: Prepared, fit: Fit, rows: torch.Tensor) -> torch.Tensor:
    """(m,) share of the light of fits to spectra ``rows`` (m,) that is not the polynomials'."""
    weight = (data.ortho @ data.root[..., None])[..., 0]  # (n, P)
    total = data.pixels.ivar.sum(1)[rows]
    return 1 - (fit.share * weight[rows]).sum(1) / total / fit.light


@dataclass(frozen=True)
class _Solved:
    """The linear fit at one shift, (m, ...)."""

    c: torch.Tensor
    """(m, K) coefficients."""
    inverse: torch.Tensor
    """(m, K, K) of the normal matrix."""
    penalty: torch.Tensor
    """(m,) what the prior adds to chi2."""
    explained: torch.Tensor
    """(m,) by how much the basis lowers chi2 of the polynomials alone."""


def _solve(
    normal: torch.Tensor, overlap: torch.Tensor, whole: torch.Tensor, problem: _Problem
) -> _Solved:
    """Fit a design: its products with itself, the polynomials (m, P, K) and the data (m, K)."""
    right = whole - _times(overlap.mT, problem.fitted)
    scale = amplitude(whole[:, 0], normal[:, 0, 0])
    prior = problem.basis.precision.to(scale.device) / PRIOR_WIDTH**2 / scale[:, None, None]
    bare = normal - overlap.mT @ overlap
    full = bare + prior
    diagonal = full.diagonal(dim1=1, dim2=2)
    diagonal += TINY * diagonal.mean(1, keepdim=True).clamp(min=1e-300)
    factor = torch.linalg.cholesky(full)
    inverse = torch.cholesky_inverse(factor)
    c = _times(inverse, right)
    volume = 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)
    penalty = (c * _times(prior, c)).sum(1) + occam(volume, scale, len(c[0]))
    return _Solved(c, inverse, penalty, (c * (2 * right - _times(bare, c))).sum(1))


def redshift(shift: torch.Tensor) -> torch.Tensor:
    """Redshift of a shift in grid pixels."""
    return torch.expm1(shift * (math.log(10) * STEP))


def z_sigma(shift: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Standard deviation of z from that of the shift in grid pixels."""
    return sigma * math.log(10) * STEP * (1 + redshift(shift))
