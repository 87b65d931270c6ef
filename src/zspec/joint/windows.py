"""The likelihood in the network's windows alone.

A spectrum is scanned for the spectypes that the network does not rule out, which is one for most,
and in the windows of redshift that hold nearly all of its density, which are one or two for most.
What is fitted are the minima there, and what it proposes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from zspec.joint.proposals import with_proposals
from zspec.joint.proposed import Proposed
from zspec.likelihood.basis import PIXEL_LN, Basis
from zspec.likelihood.nuisance import Nuisance, nuisance
from zspec.likelihood.pixels import Native, Sums, gather
from zspec.likelihood.scan import (
    STEPS,
    Scan,
    picked,
    places,
    scan_all,
    together,
)
from zspec.likelihood.solve import NMINIMA, Solutions, broadening, searched

LEFT_OUT = 1e-3
"""Share of the network's density beyond its windows, and in a spectype that is not scanned."""
DILATED = 2
"""Bins by which windows are widened on either side."""
FEW = 40
"""Shifts of a window at most that are looked at one by one; of more, all at once cost less."""
MANY = 400
"""Shifts of a scan at least that windows are cut out of: short ones, as of stars, cost little."""


def windows(
    proposed: Proposed,
    pixels: Native,
    bases: Sequence[Basis],
    priors: torch.Tensor,
    resolution: float,
    keep_scans: bool,
) -> Solutions:
    """The minima in the network's windows; ``keep_scans`` has no meaning here."""
    found = _nothing(len(pixels), bases, pixels.flux.dtype)
    kinds = [basis.spectype for basis in bases]
    wanted = spectypes(proposed, set(kinds))
    sums, extra, known = gather(pixels), nuisance(pixels), within(proposed)
    for kind in sorted(set(kinds)):
        mine = [number for number, one in enumerate(kinds) if one == kind]
        column = proposed.kinds.index(kind)
        rows = wanted[:, column].nonzero()[:, 0]
        if len(rows):
            own, at = [bases[number] for number in mine], rows.to(pixels.flux.device)
            widths = [broadening(basis, resolution) for basis in own]
            given = sums[at], extra[at], own, widths
            scans = _scans(*given, proposed, known[rows, column])
            part = searched(scans, extra.null[at], own, priors[mine], True)
            _place(found, part, rows, mine)
    found = dataclasses.replace(with_proposals(found, proposed, bases), scans=None)
    inside = _inside(found, proposed, bases, known)
    some = (inside & found.value.isfinite()).any(1, keepdim=True)
    found.value = torch.where(inside | ~some, found.value, math.inf)
    return found


def _scans(
    sums: Sums,
    extra: Nuisance,
    bases: Sequence[Basis],
    widths: Sequence[float],
    proposed: Proposed,
    known: torch.Tensor,
) -> Iterator[tuple[list[int], Scan]]:
    """Scans of the bases of one spectype: of a wide range in its windows ``known`` (n, bin)."""
    step = STEPS[bases[0].spectype]
    if any(len(places(basis, step)) < MANY for basis in bases):
        yield from scan_all(sums, extra, bases, widths)
        return
    for number, (basis, width) in enumerate(zip(bases, widths, strict=True)):
        inside = known[:, proposed.bins(places(basis, step) * PIXEL_LN)].double()
        beside = torch.nn.functional.max_pool1d(inside, 3, 1, 1) > 0  # what makes a minimum one
        yield [number], _scan(sums, extra, basis, width, beside.to(sums.weight.device))


def _scan(sums: Sums, extra: Nuisance, basis: Basis, width: float, inside: torch.Tensor) -> Scan:
    """One scan where ``inside`` (n, S), inf elsewhere; all of it where that is much or none."""
    count, step = inside.sum(1), STEPS[basis.spectype]
    few = (count > 0) & (count <= FEW)
    values = torch.empty(len(few), 1, inside.shape[1]).to(sums.square)
    out = Scan(values, places(basis, step).to(values.device), step)
    if few.any():
        out.values[few] = picked(sums[few], extra[few], basis, width, step, inside[few]).values
    if not few.all():
        out.values[~few] = together(sums[~few], extra[~few], [basis], width, step).values
    return out


def spectypes(proposed: Proposed, known: set[str]) -> torch.Tensor:
    """(n, spectype) bool: those to be scanned; all that are known where it would be none."""
    there = torch.tensor([kind in known for kind in proposed.kinds])
    wanted = (proposed.mass.sum(2) > LEFT_OUT) & there
    return wanted | (there & ~wanted.any(1, keepdim=True))


def within(proposed: Proposed) -> torch.Tensor:
    """(n, spectype, bin) bool: the most probable bins, which leave out LEFT_OUT, and neighbours."""
    mass = proposed.mass
    ordered = mass.flatten(1).sort(1)
    below = ordered.values.cumsum(1) <= LEFT_OUT
    out = torch.zeros_like(below).scatter(1, ordered.indices, below).view(mass.shape)
    chosen = (~out & (mass > 0)).double()
    return torch.nn.functional.max_pool1d(chosen, 2 * DILATED + 1, 1, DILATED) > 0


def _inside(
    found: Solutions, proposed: Proposed, bases: Sequence[Basis], known: torch.Tensor
) -> torch.Tensor:
    """(n, T) bool: whether minima lie in the windows ``known`` of their spectype."""
    numbers = torch.tensor([proposed.kinds.index(basis.spectype) for basis in bases])
    at = proposed.bins(found.shift * PIXEL_LN)
    flat = numbers[found.label] * (len(proposed.edges) - 1) + at
    return known.flatten(1).gather(1, flat)


def _nothing(n: int, bases: Sequence[Basis], dtype: torch.dtype) -> Solutions:
    """Solutions of n spectra without a minimum."""
    labels = [k for k, basis in enumerate(bases) for _ in range(NMINIMA[basis.spectype])]
    shape = (n, len(labels))
    nan: dict[str, Any] = {
        name: torch.full(shape, math.nan, dtype=dtype)
        for name in ("shift", "sigma", "chi2", "outliers", "light", "own", "unexplained", "spike")
    }
    return Solutions(
        label=torch.tensor(labels),
        value=torch.full(shape, math.inf, dtype=dtype),
        basin=torch.zeros(shape, dtype=dtype),
        rest=torch.full((n, len(bases)), math.inf, dtype=dtype),
        null=torch.zeros(n, dtype=dtype),
        fitted=torch.zeros(shape, dtype=torch.bool),
        settled=torch.zeros(shape, dtype=torch.bool),
        model=None,
        **nan,
    )


def _place(found: Solutions, part: Solutions, rows: torch.Tensor, mine: Sequence[int]) -> None:
    """Put the minima of classes ``mine`` where they belong; columns of a class stand together."""
    for k, number in enumerate(mine):
        there = (found.label == number).nonzero()[:, 0]
        own = (part.label == k).nonzero()[:, 0]
        for name in ("shift", "sigma", "value", "basin"):
            getattr(found, name)[rows[:, None], there] = getattr(part, name)[:, own]
    found.rest[rows[:, None], torch.tensor(mine)] = part.rest
    found.null[rows] = part.null
    found.scans = (*(found.scans or ()), *_spread(part, rows, mine, len(found.null)))


def _spread(
    part: Solutions, rows: torch.Tensor, mine: Sequence[int], n: int
) -> Iterator[tuple[tuple[int, ...], Scan]]:
    """Scans of some rows of n as of all; inf in the others."""
    for own, one in part.scans or ():
        values = torch.full((n, *one.values.shape[1:]), math.inf, dtype=one.values.dtype)
        values[rows] = one.values
        yield tuple(mine[k] for k in own), Scan(values, one.shifts, one.step)
