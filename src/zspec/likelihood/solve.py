"""All solutions of a set of spectra: scan every class, fit the best candidates, rank them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from zspec.likelihood import refine, scan
from zspec.likelihood.basis import Basis
from zspec.likelihood.pixels import Native, gather

NREFINE = 6
"""Candidates over all classes that get the final fit, besides the best of each spectype."""
NMINIMA = {"GALAXY": 5, "QSO": 5, "STAR": 2}
"""Minima that a scan hands on, by spectype."""
BROADER = 1.5
"""An instrument whose LSF is wider than the basis' by this factor has the basis broadened."""


@dataclass
class Solutions:
    """Every minimum of every class for n spectra, (n, T) each unless said otherwise.

    Columns stand in the order of the classes. Where ``fitted`` is False, values are the scan's.
    """

    label: torch.Tensor
    """(T,) index of the class."""
    shift: torch.Tensor
    """Grid pixels; NaN where a class has fewer minima."""
    sigma: torch.Tensor
    """Of the shift; NaN where unknown."""
    value: torch.Tensor
    """chi2 with the penalties of mixture and rarity: what ranks solutions; inf for none."""
    fitted: torch.Tensor
    """bool: had the final fit on native pixels."""
    chi2: torch.Tensor
    """On native pixels; NaN where not fitted."""
    outliers: torch.Tensor
    """Share of pixels beyond 5 sigma."""
    light: torch.Tensor
    """Mean flux of the model, weighted by ivar."""
    settled: torch.Tensor
    """bool: the final fit converged, near where the scan had its minimum."""
    model: torch.Tensor | None
    """(n, pixel) of the solution of lowest value, where asked for."""


def solve(
    pixels: Native, bases: Sequence[Basis], resolution: float, with_model: bool = False
) -> Solutions:
    """Scan and fit n spectra with at least one pixel each.

    ``resolution`` is the sigma of their LSF in grid pixels, 0 where unknown.
    """
    found = _scan(pixels, bases, resolution)
    scanned = found.value.clone()
    chosen = _choose(found, bases)
    models: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    for number, basis in enumerate(bases):
        rows, columns = (chosen & (found.label == number)).nonzero(as_tuple=True)
        if len(rows):
            start = found.shift[rows, columns]
            fit = refine.refine(pixels, basis, rows, start, broadening(basis, resolution))
            _store(found, fit, rows, columns, basis)
            if with_model:
                models.append((rows, columns, fit.model))
    _level(found, scanned)
    if with_model:
        best = torch.where(found.fitted, found.value, torch.inf).argmin(1)
        found.model = torch.zeros_like(pixels.flux)
        for rows, columns, model in models:
            mine = columns == best[rows]
            found.model[rows[mine]] = model[mine]
    return found


def broadening(basis: Basis, resolution: float) -> float:
    """Sigma in grid pixels by which a basis lacks an instrument's LSF; 0 where it is close."""
    if resolution < BROADER * basis.lsf:
        return 0.0
    return float((resolution**2 - basis.lsf**2) ** 0.5)


def _scan(pixels: Native, bases: Sequence[Basis], resolution: float) -> Solutions:
    """The minima of all classes, not yet fitted."""
    sums = gather(pixels)
    extra = scan.nuisance(pixels)
    parts, labels = [], []
    for number, basis in enumerate(bases):
        values = scan.scan(sums, extra, basis, broadening(basis, resolution))
        values += basis.rarity(torch.arange(values.shape[1]) + float(basis.shifts[0]))
        count = NMINIMA[basis.spectype]
        parts.append(refine.minima(values, basis.shifts[0], count, basis.separation))
        labels += [number] * count
    shift, value, sigma = (
        torch.cat([getattr(p, name) for p in parts], dim=1) for name in ("shift", "value", "sigma")
    )
    nan = torch.full_like(value, torch.nan)
    no = torch.zeros_like(value, dtype=torch.bool)
    return Solutions(
        label=torch.tensor(labels),
        shift=shift,
        sigma=sigma,
        value=value,
        fitted=no,
        chi2=nan,
        outliers=nan.clone(),
        light=nan.clone(),
        settled=no.clone(),
        model=None,
    )


def _choose(found: Solutions, bases: Sequence[Basis]) -> torch.Tensor:
    """(n, T) which minima get the final fit: the best of all, and the best of each spectype."""
    order = found.value.argsort(dim=1)
    chosen = torch.zeros_like(found.fitted)
    chosen.scatter_(1, order[:, :NREFINE], True)
    for spectype in {basis.spectype for basis in bases}:
        mine = torch.tensor([bases[label].spectype == spectype for label in found.label.tolist()])
        best = torch.where(mine, found.value, torch.inf).argmin(1, keepdim=True)
        chosen.scatter_(1, best, True)
    return chosen & found.value.isfinite()


def _store(
    found: Solutions, fit: refine.Fit, rows: torch.Tensor, columns: torch.Tensor, basis: Basis
) -> None:
    """Put fits where their minima stood."""
    moved = (fit.shift - found.shift[rows, columns]).abs()
    for name in ("shift", "sigma", "value", "chi2", "outliers", "light"):
        getattr(found, name)[rows, columns] = getattr(fit, name)
    inside = moved <= max(refine.MAX_STEP, basis.separation / 2)
    found.value[rows, columns] += basis.rarity(fit.shift)
    found.settled[rows, columns] = fit.settled & fit.sigma.isfinite() & inside
    found.fitted[rows, columns] = True


def _level(found: Solutions, scanned: torch.Tensor) -> None:
    """Put minima that were not fitted on the scale of those that were.

    The scan knows coarse native pixels less exactly than the fit does, so that their chi2 differ:
    by as much, to first order, as they do at the best solution. None may outrank that one.
    """
    fitted = torch.where(found.fitted, found.value, torch.inf)
    best, at = fitted.min(1, keepdim=True)
    moved = torch.maximum(scanned + best - scanned.gather(1, at), best)
    found.value = torch.where(found.fitted, found.value, moved)
