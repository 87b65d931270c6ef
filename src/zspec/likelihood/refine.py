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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.linalg import vecdot

from zspec.likelihood.basis import STEP, Basis
from zspec.likelihood.normal import solve_normal, times
from zspec.likelihood.nuisance import orthonormal
from zspec.likelihood.pixels import NPOLY, Native, own
from zspec.likelihood.places import Lookup, Scattered, Stretch, lookup
from zspec.likelihood.scan import certain

STEPS = 5
"""Gauss-Newton steps at most; two do for most, since the scan's parabola starts close by."""
ENOUGH = 0.5
"""Sigmas: a shorter Newton step is the last, and what it gains in chi2, below 0.25, is foreseen."""
SHALLOW = -0.05
"""Slope of the steps with the shift, -1 where the model is right, above which it is not trusted."""
MAX_STEP = 1.0
"""Grid pixels: no step is longer."""
SETTLED = 0.1
"""Grid pixels: a longer last step did not converge, unless it is shorter than ENOUGH."""
OUTLIER = 5.0
"""Residual in sigma beyond which a pixel is an outlier (redrock)."""
SPIKE = 3
"""Outliers in a run of so many pixels at most are a cosmic ray: no strong line is as narrow."""
ERRORS = 1.5
"""chi2 per good pixel that errors which are too small explain: right ones of SDSS reach it where
noise is all that a model can miss, below SNR 2."""
BUDGET = 100_000
"""Numbers that are worked on at once: 0.8 MB, half of what a core's cache holds."""
DEVICE_BUDGET = 10_000_000
"""The same beside a CPU: 80 MB, and up to 1.6 GB of designs and sides of as many pixels."""


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
    """Σ ivar (d - m)² over native pixels, by the ``stated`` ivar."""
    unexplained: torch.Tensor
    """chi2 beyond ``ERRORS`` a good pixel, over that of the polynomials alone; without spikes, by
    the ivar of the fit, and with the term of the polynomials' prior."""
    outliers: torch.Tensor
    """Share of the good pixels beyond ``OUTLIER``."""
    spike: torch.Tensor
    """How much a single pixel gains in chi2 over the polynomials of the fit alone, at most."""
    light: torch.Tensor
    """Mean flux of the model, weighted by ivar."""
    own: torch.Tensor
    """Share of ``light`` that the basis gives, and not the polynomials."""
    settled: torch.Tensor
    """bool: the last step was short."""
    mixture: torch.Tensor
    """(m, K) coefficients of the basis; 0 for vectors that it has fewer than others."""
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
    stated: torch.Tensor
    """(n, pixel) the ivar that the chi2 of fits is given by."""
    root: torch.Tensor
    """(n, pixel) square root of ivar."""
    residual: torch.Tensor
    """(n, pixel) flux without the polynomials' share, times root."""
    sides: torch.Tensor
    """(n, NPOLY + 1, pixel) the polynomials of a pixel's own arm times root, turned by ``lower``;
    last, flux times root."""
    lower: torch.Tensor
    """(n, P, P) ortho = lower⁻¹ polynomials · root."""
    fitted: torch.Tensor
    """(n, P) coefficients of ortho in the data."""
    good: torch.Tensor
    """(n,) number of pixels with weight."""
    total: torch.Tensor
    """(n,) Σ ivar."""
    level: torch.Tensor
    """(n,) chi2 of the polynomials alone, with their prior's term."""


def prepare(pixels: Native, stated: torch.Tensor | None = None) -> Prepared:
    """What the final fits of n spectra share, whatever the class.

    ``stated`` (n, pixel): the ivar that their chi2 is given by, where it is not the fit's own.
    """
    root, lower = pixels.ivar.sqrt(), orthonormal(pixels)
    signal = root * pixels.flux
    residual, sides = signal.clone(), signal.new_empty(len(root), NPOLY + 1, root.shape[1])
    fitted = []
    for number, (part, one) in enumerate(zip(pixels.arms, pixels.apart, strict=True)):
        triangle, poly = lower[:, own(number), own(number)], root[:, None, part] * one.polynomials
        ortho = torch.linalg.solve_triangular(triangle, poly, upper=False)
        fitted.append(times(ortho, signal[:, part]))
        residual[:, part] -= (fitted[-1][:, None] @ ortho)[:, 0]
        sides[:, :-1, part] = ortho
    sides[:, -1] = signal
    held = torch.cat(fitted, 1)
    return Prepared(
        pixels=pixels,
        stated=pixels.ivar if stated is None else stated,
        root=root,
        residual=residual,
        sides=sides,
        lower=lower,
        fitted=held,
        good=(root > 0).sum(1),
        total=pixels.ivar.sum(1),
        level=vecdot(signal, signal) - vecdot(held, held),
    )


def refine(
    data: Prepared,
    basis: Basis,
    rows: torch.Tensor,
    shifts: torch.Tensor,
    patient: torch.Tensor,
    sigma: float = 0.0,
) -> Fit:
    """Fit candidates of one class: see :func:`refine_all`."""
    return refine_all(data, [basis], [sigma], torch.zeros_like(rows), rows, shifts, patient)


def refine_all(
    data: Prepared,
    bases: Sequence[Basis],
    sigmas: Sequence[float],
    which: torch.Tensor,
    rows: torch.Tensor,
    shifts: torch.Tensor,
    patient: torch.Tensor,
) -> Fit:
    """Fit candidates: basis ``which[i]`` (m,) to spectrum ``rows[i]`` near ``shifts[i]``.

    Each basis is broadened by its sigma in grid pixels. Those that are not ``patient`` (m,) get one
    step, the others as many as they need.
    """
    parts, order = [], []
    for some in _alike(bases):
        place = torch.full((len(bases),), -1)
        place[some] = torch.arange(len(some))
        number = place.to(which.device)[which]
        mine = (number >= 0).nonzero()[:, 0]
        table = lookup([bases[k] for k in some], [sigmas[k] for k in some], data.pixels)
        precision = torch.stack([certain(bases[k].precision, table.vectors) for k in some])
        precision = precision.to(shifts.device)
        for block in _blocks(mine, data.root.shape[1]):
            at = mine[block]
            problem = _Problem(data, table, precision[number[at]], number[at], rows[at])
            parts.append(_finished(problem, _settle(problem, shifts[at], patient[at])))
        order.append(mine)
    back = torch.cat(order).argsort()
    return Fit(**{name: _joined(parts, name)[back] for name in Fit.__dataclass_fields__})


def _alike(bases: Sequence[Basis]) -> list[list[int]]:
    """Numbers of bases that are fitted together: none has many columns that are another's only."""
    most: dict[str, int] = {}
    for basis in bases:
        most[basis.spectype] = max(most.get(basis.spectype, 0), len(basis.vectors))
    sizes = [most[basis.spectype] for basis in bases]
    return [[k for k, each in enumerate(sizes) if each == size] for size in sorted(set(sizes))]


def _joined(parts: Sequence[Fit], name: str) -> torch.Tensor:
    """One value of all candidates; mixtures are as long as the longest."""
    values = [getattr(part, name) for part in parts]
    if name == "mixture":
        most = max(value.shape[1] for value in values)
        values = [torch.nn.functional.pad(v, (0, most - v.shape[1])) for v in values]
    return torch.cat(values)


def _blocks(rows: torch.Tensor, each: int) -> list[slice]:
    """Slices of candidates ``rows`` (m,), of so many numbers each, that keep to the budget."""
    size = max(1, (BUDGET if rows.is_cpu else DEVICE_BUDGET) // each)
    return [slice(i, i + size) for i in range(0, len(rows), size)]


@dataclass(frozen=True)
class _Problem:
    """What m candidates are fitted to."""

    data: Prepared
    """Of n spectra."""
    table: Lookup
    precision: torch.Tensor
    """(m, K, K) of the prior on the shape."""
    which: torch.Tensor
    """(m,) number of the basis."""
    rows: torch.Tensor
    """(m,) which of the n spectra."""

    def __getitem__(self, some: torch.Tensor) -> _Problem:
        """The problem of some of the candidates."""
        chosen = self.precision[some], self.which[some], self.rows[some]
        return _Problem(self.data, self.table, *chosen)

    def of(self, values: torch.Tensor, at: slice) -> torch.Tensor:
        """Values (n, ...) of the spectra of some candidates; of one a view, which costs nothing."""
        rows = self.rows[at]
        return values[int(rows)][None] if len(rows) == 1 else values[rows]


@dataclass(frozen=True)
class _Step:
    """m candidates at one shift, and where they go from there; (m,) as in ``Fit``."""

    shift: torch.Tensor
    sigma: torch.Tensor
    value: torch.Tensor
    chi2: torch.Tensor
    """By the ivar of the fit, with the term of the polynomials' prior."""
    settled: torch.Tensor
    done: torch.Tensor
    """bool: Newton's step is so short that another is of no use."""
    mixture: torch.Tensor
    share: torch.Tensor
    """(m, P) coefficients of the orthonormal polynomials."""


def _settle(problem: _Problem, shift: torch.Tensor, patient: torch.Tensor) -> _Step:
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
    return fit


def _step(problem: _Problem, shift: torch.Tensor) -> _Step:
    """The fit at ``shift`` (m,), and the shift one Gauss-Newton step further.

    All that is needed of the residual r are products with rows of the design: rᵀt is what t has of
    the data less what it has of the fit.
    """
    data, rows, parts = problem.data, problem.rows, _parts(problem, shift)
    fitted = data.fitted[rows]
    normal = torch.cat([part.design @ part.design.mT for part in parts])
    arms = data.pixels.arms
    seen = torch.cat([_beside(part.sides, part.design, arms) for part in parts])  # (m, P + 1, K)
    overlap = seen[:, :-1]
    found = solve_normal(normal, overlap, seen[:, -1], fitted, problem.precision)
    share = fitted - times(overlap, found.c)
    every = _along(parts, found.c, arms)
    bare, mixed, along = (torch.cat(each) for each in zip(*every, strict=True))
    inner = mixed - times(overlap.mT, along[:, :-1])
    curve = bare - along[:, :-1].square().sum(1) - (inner * times(found.inverse, inner)).sum(1)
    slope = along[:, -1] - (mixed * found.c).sum(1) - (along[:, :-1] * share).sum(1)
    newton = torch.where(curve > 0, slope / curve, 0.0)
    step = newton.clamp(-MAX_STEP, MAX_STEP)
    sigma = torch.where(curve > 0, curve, math.nan).rsqrt()
    done = ~(newton.abs() > ENOUGH * sigma)
    gain = torch.where(done & (curve > 0), step * (2 * newton - step) * curve, 0.0)
    chi2 = data.level[rows] - found.explained - gain
    settled = done | (step.abs() < SETTLED)
    return _Step(shift + step, sigma, chi2 + found.penalty, chi2, settled, done, found.c, share)


@dataclass(frozen=True)
class _Part:
    """Some of the candidates at their shifts, as few as a core's cache holds."""

    at: slice
    """Which."""
    places: Stretch | Scattered
    root: torch.Tensor
    """(m or 1, pixel) as in ``Prepared``."""
    sides: torch.Tensor
    """(m or 1, NPOLY + 1, pixel) as in ``Prepared``."""
    design: torch.Tensor
    """(m, K, pixel) the basis times root."""


def _parts(problem: _Problem, shift: torch.Tensor) -> list[_Part]:
    """All candidates at ``shift`` (m,). Pixels enter here, and not again before the fit is done."""
    data, places, parts = problem.data, problem.table.at(problem.which, shift), []
    size = problem.table.vectors + data.sides.shape[1]
    for at in _blocks(problem.rows, size * data.root.shape[1]):
        root, here = problem.of(data.root, at), places[at]
        parts.append(_Part(at, here, root, problem.of(data.sides, at), here.design(root)))
    return parts


def _along(
    parts: Sequence[_Part], c: torch.Tensor, arms: Sequence[slice]
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Products of t, the derivative of mixtures ``c`` (m, K), for each part.

    With itself (m,), with the design (m, K) and with the sides (m, P + 1).
    """
    for part in parts:
        t = -part.root * part.places.sloped(c[part.at])
        beside = _beside(part.sides, t[:, None], arms)[..., 0]
        yield vecdot(t, t), times(part.design, t), beside


def _beside(sides: torch.Tensor, rows: torch.Tensor, arms: Sequence[slice]) -> torch.Tensor:
    """(m, P + 1, V) products of rows (m, V, pixel) with the polynomials of all arms and the data.

    ``sides`` as in ``Prepared``: polynomials of one arm have nothing in the others.
    """
    each = [sides[..., part] @ rows[..., part].mT for part in arms]
    data = torch.stack([one[:, -1:] for one in each]).sum(0)
    return torch.cat([*(one[:, :-1] for one in each), data], 1)


def _finished(problem: _Problem, last: _Step) -> Fit:
    """Fits with their models at native wavelengths, and what these say of the data."""
    data, rows, pixels = problem.data, problem.rows, problem.data.pixels
    c = torch.linalg.solve_triangular(data.lower[rows].mT, last.share[..., None], upper=True)
    places = problem.table.at(problem.which, last.shift)
    each = _blocks(rows, problem.table.vectors * data.root.shape[1])
    model = torch.cat([places[at].mixed(last.mixture[at]) for at in each])
    polynomials = torch.cat(
        [
            _mixed(problem, one.polynomials, c[:, own(number)])
            for number, one in enumerate(pixels.apart)
        ],
        1,
    )
    light = vecdot(pixels.ivar[rows], polynomials)
    model += polynomials
    square = (pixels.flux[rows] - model).square()
    squares = pixels.ivar[rows] * square  # of residuals in sigma
    whole = vecdot(pixels.ivar[rows], model)
    far = squares > OUTLIER**2
    above = torch.where(_spikes(far), squares - OUTLIER**2, 0.0).sum(1)
    left = last.chi2 - above - ERRORS * data.good[rows]
    return Fit(
        shift=last.shift,
        sigma=last.sigma,
        value=last.value,
        chi2=vecdot(data.stated[rows], square),
        unexplained=left / (data.level[rows] - above).clamp(min=1.0),
        outliers=far.sum(1) / data.good[rows].clamp(min=1).double(),
        spike=(data.residual[rows].square() - squares).amax(1),
        light=whole / data.total[rows],
        own=1 - light / whole,
        settled=last.settled,
        mixture=last.mixture,
        model=model,
    )


def _spikes(far: torch.Tensor) -> torch.Tensor:
    """(m, pixel) those of the outliers ``far`` that stand in runs of ``SPIKE`` pixels at most."""
    out, count = far.clone(), far.shape[1] - SPIKE
    if count > 0:
        longer = torch.stack([far[:, k : k + count] for k in range(SPIKE + 1)]).all(0)
        for k in range(SPIKE + 1):
            out[:, k : k + count] &= ~longer
    return out


def _mixed(problem: _Problem, vectors: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    """(m, pixel) mixtures ``c`` (m, V, 1) of what each spectrum has of vectors (n, V, pixel)."""
    parts = _blocks(problem.rows, vectors[0].numel())
    return torch.cat([(c[at].mT @ problem.of(vectors, at))[:, 0] for at in parts])


def redshift(shift: torch.Tensor) -> torch.Tensor:
    """Redshift of a shift in grid pixels."""
    return torch.expm1(shift * (math.log(10) * STEP))


def z_sigma(shift: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Standard deviation of z from that of the shift in grid pixels."""
    return sigma * math.log(10) * STEP * (1 + redshift(shift))
