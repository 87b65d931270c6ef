"""What the network proposes and the scan has not among its minima: candidates of their own."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from zspec.joint.proposed import NEAR, Proposed
from zspec.likelihood import posterior
from zspec.likelihood.basis import PIXEL_LN, Basis
from zspec.likelihood.refine import Minima
from zspec.likelihood.solve import Solutions

PROPOSALS = 3
"""Redshifts of the network, of all spectypes, that get a fit."""
LEAST = 0.01
"""Unless it gives them less than this."""
SHORT = 4 * NEAR
"""Bins: a class with a smaller range, as stars, is scanned as densely as it can be proposed."""


def with_proposals(found: Solutions, proposed: Proposed, bases: Sequence[Basis]) -> Solutions:
    """More columns, for minima of the scan near the network's redshifts; inf where there is none.

    Those that are there already are marked as wanted. A new one takes its mass out of ``rest``.
    """
    before = found.value.shape[1]
    parts = {name: getattr(found, name).clone() for name in ("value", "basin", "rest")}
    made = dataclasses.replace(found, wanted=torch.zeros_like(found.fitted), **parts)
    for label, shifts, values, centres in _proposals(found, proposed, bases):
        apart, half = bases[label].separation, (NEAR + 0.5) * proposed.width / PIXEL_LN
        for centre in centres.unbind(1):
            made = _joined(made, label, *_deepest(values, shifts, centre, half), apart)
        _weigh(made, label, before, values, shifts, apart)
    return made


Place = tuple[int, torch.Tensor, torch.Tensor, torch.Tensor]
"""Label, shifts (S,), values of the scan (n, S), centres of windows (n, PROPOSALS) or NaN."""


def _proposals(found: Solutions, proposed: Proposed, bases: Sequence[Basis]) -> Iterator[Place]:
    """Every class that one of the network's redshifts may be of."""
    peaks = proposed.peaks(PROPOSALS)
    middle = (proposed.edges[peaks.bin] + proposed.width / 2) / PIXEL_LN
    for mine, one in found.scans or ():
        reach = float(one.shifts[-1] - one.shifts[0]) * PIXEL_LN
        if reach < SHORT * proposed.width:
            continue
        number = proposed.kinds.index(bases[mine[0]].spectype)
        centres = torch.where((peaks.kind == number) & (peaks.mass > LEAST), middle, math.nan)
        for j, label in enumerate(mine):
            yield label, one.shifts, one.values[:, j], centres


def _deepest(
    values: torch.Tensor, shifts: torch.Tensor, centre: torch.Tensor, half: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Place and depth (n,) of the deepest minimum of scans (n, S) within ``half`` of ``centre``.

    Where a window has none, which takes minima that are broader than it, its lowest point counts.
    Without a centre, or beyond the scan, there is NaN and inf.
    """
    padded = torch.nn.functional.pad(values, (1, 1), value=math.inf)
    low = (values < padded[:, :-2]) & (values <= padded[:, 2:])
    inside = (shifts - centre[:, None]).abs() <= half
    chosen = inside & (low | ~(low & inside).any(1, keepdim=True))
    depth, at = torch.where(chosen, values, math.inf).min(1)
    return torch.where(depth.isfinite(), shifts[at], math.nan), depth


def _joined(
    made: Solutions, label: int, shift: torch.Tensor, depth: torch.Tensor, apart: float
) -> Solutions:
    """With one more minimum of a class at ``shift`` (n,) where it has none nearer than ``apart``.

    Where it has, that one is wanted. The new one has no width yet.
    """
    assert made.wanted is not None
    mine = (made.label == label).nonzero()[:, 0]
    near = (made.shift[:, mine] - shift[:, None]).abs() <= apart
    made.wanted[:, mine] |= near
    new = shift.isfinite() & ~near.any(1)
    if not new.any():
        return made
    return _appended(made, label, shift.where(new, math.nan), depth.where(new, math.inf))


def _appended(found: Solutions, label: int, shift: torch.Tensor, value: torch.Tensor) -> Solutions:
    """Solutions with one more column, which is not yet fitted, and wanted."""
    nan, no = torch.full_like(value, math.nan), torch.zeros_like(value, dtype=torch.bool)
    more = dict.fromkeys(("sigma", "chi2", "outliers", "light", "own", "unexplained", "spike"), nan)
    more |= {"shift": shift, "value": value, "basin": torch.zeros_like(value)}
    more |= {"fitted": no, "settled": no, "wanted": value.isfinite()}
    made: dict[str, Any] = {
        name: torch.cat([getattr(found, name), part[:, None]], 1) for name, part in more.items()
    }
    return dataclasses.replace(found, label=torch.cat([found.label, torch.tensor([label])]), **made)


def _weigh(
    made: Solutions,
    label: int,
    before: int,
    values: torch.Tensor,
    shifts: torch.Tensor,
    apart: float,
) -> None:
    """Share the scan (n, S) of a class anew where it has a minimum beyond column ``before``."""
    mine = (made.label == label).nonzero()[:, 0]
    if mine[-1] < before:
        return
    rows = made.shift[:, mine[mine >= before]].isfinite().any(1).nonzero()[:, 0]
    at = (rows[:, None], mine)
    shift, sigma = made.shift[at], made.sigma[at]
    step = int(shifts[1] - shifts[0])
    level = made.value[at] - posterior.spacious(sigma, made.basin[at], step)
    basin, rest = posterior.basins(values[rows], Minima(shift, level, sigma), shifts, apart)
    made.value[at] = level + posterior.spacious(sigma, basin, step)
    made.basin[at] = basin
    made.rest[rows, label] = rest
