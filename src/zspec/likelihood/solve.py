"""All solutions of a set of spectra: scan every class, fit the best candidates, weigh them all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from zspec.likelihood import posterior, refine, scan
from zspec.likelihood.basis import Basis
from zspec.likelihood.noise import with_model_error
from zspec.likelihood.nuisance import nuisance
from zspec.likelihood.pixels import Native, between, gather, trimmed

NREFINE = 6
"""Candidates over all classes that get the final fit, besides the best of each spectype."""
NPATIENT = 3
"""As NREFINE, of those whose final fit takes as many steps as it needs; the others get one."""
HOPELESS = (100.0, 0.05)
"""A minimum is listed as the scan has it where that is above the best by so much, and this fraction
of what the best gains over a smooth continuum: what the scan, which is coarse, may be wrong by at
high SNR. Its share is nil, and its redshift not needed to a fraction of its sigma. Only the best
other answer gets a final fit all the same, of one step: DELTACHI2 is the difference to it. (Of 30
mocks of fibre spectra 5.4 of 6.8 fits each were of hopeless minima, of 10 slitless ones 0.2 of 7;
fitted they were still at 0.92 or more of the difference that the scan saw.)"""
NMINIMA = {"GALAXY": 5, "QSO": 5, "STAR": 2}
"""Minima that a scan hands on, by spectype."""
BROADER = 1.5
"""An instrument whose LSF is wider than the basis' by this factor has the basis broadened."""


Scans = tuple[tuple[tuple[int, ...], scan.Scan], ...]


@dataclass
class Solutions:
    """Every minimum of every class for n spectra, (n, T) each unless said otherwise.

    Columns of one class stand together, but for those that a guide adds at the end. Where
    ``fitted`` is False, values are the scan's.
    """

    label: torch.Tensor
    """(T,) index of the class."""
    shift: torch.Tensor
    """Grid pixels; NaN where a class has fewer minima."""
    sigma: torch.Tensor
    """Of the shift; NaN where unknown."""
    value: torch.Tensor
    """-2 ln of the mass of the posterior around it: what ranks solutions; inf for none."""
    basin: torch.Tensor
    """Width of the minimum in the scan, grid pixels."""
    rest: torch.Tensor
    """(n, class) -2 ln of the mass beyond all minima of the class."""
    null: torch.Tensor
    """(n,) the same of a smooth continuum: no object at all."""
    fitted: torch.Tensor
    """bool: had the final fit on native pixels."""
    chi2: torch.Tensor
    """By the ivar of the file, on native pixels; NaN where not fitted."""
    outliers: torch.Tensor
    """Share of pixels beyond 5 sigma, the model's error included."""
    light: torch.Tensor
    """Mean flux of the model, weighted by ivar."""
    own: torch.Tensor
    """Share of ``light`` that the basis gives, and not the polynomials; NaN where not fitted."""
    unexplained: torch.Tensor
    """Share of the structure beyond a smooth continuum that the model leaves, see ``Fit``."""
    spike: torch.Tensor
    """How much a single pixel gains in chi2 over polynomials alone, at most."""
    settled: torch.Tensor
    """bool: the final fit converged, near where the scan had its minimum."""
    model: torch.Tensor | None
    """(n, pixel) of the solution of lowest value, or what the guide weighs lowest, where asked for;
    0 beyond the data."""
    scans: Scans | None = None
    """Every scan, the prior included: (indices of its G classes, values (n, G, S)) each, on the
    CPU, where asked for."""
    offset: torch.Tensor | None = None
    """(n,) what puts values of ``scans`` on the scale of ``value``."""
    wanted: torch.Tensor | None = None
    """(n, T) bool: gets the final fit whatever its value; None: no more than the best do."""
    hopeless: torch.Tensor | None = None
    """(n, T) bool: among the best, but so far behind that it was not fitted; None: none is."""

    @property
    def listed(self) -> torch.Tensor:
        """(n, T) bool: those that may be candidates."""
        return self.fitted if self.hopeless is None else self.fitted | self.hopeless

    @property
    def evidence(self) -> torch.Tensor:
        """(n, T) 2 ln of the odds of each solution against none."""
        return self.null[:, None] - self.value


@dataclass(frozen=True)
class Guide:
    """What another's knowledge of n spectra changes in how they are solved."""

    search: Callable[[Native, Sequence[Basis], torch.Tensor, float, bool], Solutions]
    """Pixels, bases, priors, resolution and whether to keep scans, to solutions that are not yet
    fitted: in place of :func:`scanned`."""
    weigh: Callable[[Solutions], torch.Tensor]
    """Values (n, T) whose lowest says which model is kept, in place of ``value``."""


def solve(
    given: Native,
    bases: Sequence[Basis],
    resolution: float,
    model_error: float = 0.0,
    with_model: bool = False,
    device: str = "cpu",
    keep_scans: bool = False,
    guide: Guide | None = None,
) -> Solutions:
    """Scan and fit n spectra with at least one pixel each.

    ``resolution`` is the sigma of their LSF in grid pixels, 0 where unknown; ``model_error`` the
    fraction of the flux that :mod:`~zspec.likelihood.noise` adds to their noise. Pixels go to the
    ``device`` once; what comes back are minima and fits, on the CPU.
    """
    whole = given
    given, columns_used = trimmed(whole)
    given = given.to(device)
    pixels = with_model_error(given, model_error)
    priors = posterior.measure(bases)
    search = guide.search if guide else scanned
    found = search(pixels, bases, priors, resolution, keep_scans)
    before = found.value.clone()
    chosen, patient = _choose(found, bases)
    found.hopeless = chosen & _hopeless(found) & ~_first_two(found, bases)
    chosen &= ~found.hopeless
    if found.wanted is not None:
        chosen |= found.wanted
    rows, columns = (chosen & found.value.isfinite()).nonzero(as_tuple=True)
    start, keen = found.shift[rows, columns], patient[rows, columns]
    widths = [broadening(basis, resolution) for basis in bases]
    where = [each.to(device) for each in (found.label[columns], rows, start, keen)]
    fit = refine.refine_all(refine.prepare(pixels, given.ivar), bases, widths, *where)
    _store(found, fit, rows, columns, bases, priors)
    _level(found, before)
    ends = torch.tensor([bases[label].ends for label in found.label.tolist()], dtype=torch.float64)
    found.shift = found.shift.clamp(ends[:, 0], ends[:, 1])  # a scan, and a fit, may end beyond
    if with_model:
        value = guide.weigh(found) if guide else found.value
        best = torch.where(found.fitted, value, torch.inf).argmin(1)
        found.model = torch.zeros_like(whole.flux)
        mine = columns == best[rows]
        found.model[rows[mine, None], columns_used.cpu()] = fit.model[mine.to(device)].cpu()
        found.model *= between(whole)
    return found


def broadening(basis: Basis, resolution: float) -> float:
    """Sigma in grid pixels by which a basis lacks an instrument's LSF; 0 where it is close."""
    if resolution < BROADER * basis.lsf:
        return 0.0
    return float((resolution**2 - basis.lsf**2) ** 0.5)


def scanned(
    pixels: Native,
    bases: Sequence[Basis],
    priors: torch.Tensor,
    resolution: float,
    keep_scans: bool,
) -> Solutions:
    """The minima of all classes at all redshifts, not yet fitted."""
    sums, extra = gather(pixels), nuisance(pixels)
    widths = [broadening(basis, resolution) for basis in bases]
    scans = scan.scan_all(sums, extra, bases, widths)
    return searched(scans, extra.null, bases, priors, keep_scans)


def searched(
    scans: Iterable[tuple[list[int], scan.Scan]],
    null: torch.Tensor,
    bases: Sequence[Basis],
    priors: torch.Tensor,
    keep_scans: bool,
) -> Solutions:
    """The minima of scans of n spectra, whose evidence of no object is ``null`` (n,)."""
    n = len(null)
    parts, labels, basins = [], [], []
    rest = torch.zeros(n, len(bases), dtype=torch.float64)
    kept: list[tuple[tuple[int, ...], scan.Scan]] = []
    for mine, one in scans:
        basis, count = bases[mine[0]], NMINIMA[bases[mine[0]].spectype]
        first, own = int(one.shifts[0]), tuple(bases[i] for i in mine)
        rare = _rarities(own, first, len(one.shifts), one.step) + priors[mine, None]  # (G, S)
        values = (one.values + rare.to(one.values.device)).flatten(0, 1)  # (n * G, S)
        if keep_scans:
            whole = values.view(one.values.shape).cpu()
            kept.append((tuple(mine), scan.Scan(whole, one.shifts.cpu(), one.step)))
        part = refine.minima(values, first, count, basis.separation, one.step)
        basin, beyond = posterior.basins(values, part, one.shifts, basis.separation)
        parts.append([getattr(part, name).reshape(n, -1) for name in ("shift", "value", "sigma")])
        basins.append(basin.reshape(n, -1))
        rest[:, mine] = beyond.reshape(n, -1).cpu()
        labels += [number for number in mine for _ in range(count)]
    shift, value, sigma = (torch.cat(each, dim=1).cpu() for each in zip(*parts, strict=True))
    basin = torch.cat(basins, dim=1).cpu()
    steps = scan.steps(bases)[labels]
    nan = torch.full_like(value, torch.nan)
    no = torch.zeros_like(value, dtype=torch.bool)
    return Solutions(
        label=torch.tensor(labels),
        shift=shift,
        sigma=sigma,
        value=value + posterior.spacious(sigma, basin, steps),
        basin=basin,
        rest=rest,
        null=null.cpu(),
        fitted=no,
        chi2=nan,
        outliers=nan.clone(),
        light=nan.clone(),
        own=nan.clone(),
        unexplained=nan.clone(),
        spike=nan.clone(),
        settled=no.clone(),
        model=None,
        scans=tuple(kept) if keep_scans else None,
    )


@lru_cache(maxsize=64)
def _rarities(bases: tuple[Basis, ...], first: int, count: int, step: int) -> torch.Tensor:
    """(G, count) what the densities of bases add at every ``step`` grid pixels from ``first``."""
    shifts = first + step * torch.arange(count, dtype=torch.float64)
    return torch.stack([basis.rarity(shifts) for basis in bases])


def _choose(found: Solutions, bases: Sequence[Basis]) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, T) bool: minima that get the final fit, and those that get all steps which it needs.

    The NREFINE, or NPATIENT, best minima of all, and the best of each spectype; no step more than
    one for what is hopeless.
    """
    order, leaders = found.value.argsort(dim=1), torch.zeros_like(found.fitted)
    kinds = [bases[label].spectype for label in found.label.tolist()]
    for spectype in set(kinds):
        columns = torch.tensor([i for i, kind in enumerate(kinds) if kind == spectype])
        best = columns[found.value[:, columns].argmin(1, keepdim=True)]
        leaders.scatter_(1, best, True)
    chosen, patient = (leaders.scatter(1, order[:, :count], True) for count in (NREFINE, NPATIENT))
    there = found.value.isfinite()
    return chosen & there, patient & there & ~_hopeless(found)


def _first_two(found: Solutions, bases: Sequence[Basis]) -> torch.Tensor:
    """(n, T) bool: the best minimum, and the best of another redshift or spectype."""
    names = [basis.spectype for basis in bases]
    kind = torch.tensor([names.index(name) for name in names])[found.label]
    apart = torch.tensor([basis.separation for basis in bases], dtype=torch.float64)[found.label]
    best = found.value.argmin(1, keepdim=True)
    near = (found.shift - found.shift.gather(1, best)).abs() <= apart
    other = torch.where(near & (kind == kind[best]), torch.inf, found.value)
    out = torch.zeros_like(found.fitted).scatter_(1, best, True)
    return out.scatter_(1, other.argmin(1, keepdim=True), True)


def _hopeless(found: Solutions) -> torch.Tensor:
    """(n, T) bool: minima that cannot win; see ``HOPELESS``."""
    best = found.value.amin(1, keepdim=True)
    margin = HOPELESS[0] + HOPELESS[1] * (found.null[:, None] - best).clamp(min=0)
    return found.value > best + margin


STORED = ("shift", "sigma", "value", "chi2", "unexplained", "outliers", "spike", "light", "own")
"""What solutions have of fits as it is."""


def _store(
    found: Solutions,
    fit: refine.Fit,
    rows: torch.Tensor,
    columns: torch.Tensor,
    bases: Sequence[Basis],
    priors: torch.Tensor,
) -> None:
    """Put fits where their minima stood."""
    label, place = found.label[columns], (rows, columns)
    near = torch.tensor([max(refine.MAX_STEP, basis.separation / 2) for basis in bases])[label]
    before = found.shift[place]
    for name in STORED:
        getattr(found, name)[place] = getattr(fit, name).cpu()
    shift, sigma = found.shift[place], found.sigma[place]
    width = posterior.spacious(sigma, found.basin[place], scan.steps(bases)[label])
    found.value[place] += _rarity(bases, label, shift) + priors[label] + width
    inside = (shift - before).abs() <= near
    found.settled[place] = fit.settled.cpu() & sigma.isfinite() & inside
    found.fitted[place] = True


def _rarity(bases: Sequence[Basis], label: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """(m,) what the density of the class ``label`` (m,) adds at ``shift`` (m,) grid pixels."""
    out = torch.zeros_like(shift)
    for number, basis in enumerate(bases):
        if basis.density:
            mine = label == number
            out[mine] = basis.rarity(shift[mine])
    return out


def _level(found: Solutions, scanned: torch.Tensor) -> None:
    """Put minima that were not fitted on the scale of those that were.

    The scan knows coarse native pixels less exactly than the fit does, so that their chi2 differ:
    by as much, to first order, as they do at the best solution. None may outrank that one; what is
    hopeless, none that was fitted, so that DELTACHI2 is a difference of fits.
    """
    fitted = torch.where(found.fitted, found.value, torch.inf)
    best, at = fitted.min(1, keepdim=True)
    offset = best - scanned.gather(1, at)
    moved = torch.maximum(scanned + offset, best)
    if found.hopeless is not None:
        last = torch.where(found.fitted, found.value, -torch.inf).amax(1, keepdim=True)
        first = torch.where(found.hopeless, moved, torch.inf).amin(1, keepdim=True)
        moved += found.hopeless * (last + 1 - first).clamp(min=0)  # all by as much: in their order
    found.value = torch.where(found.fitted, found.value, moved)
    found.rest += offset
    found.offset = offset[:, 0]
