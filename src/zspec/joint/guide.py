"""Where the likelihood looks because the network does.

Everywhere, as ever; and what the network proposes but is no minimum of the scan, deep enough to be
kept, is fitted as well, so that the union of both is ranked. Or, fast, in its windows alone:
:mod:`~zspec.joint.windows`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from zspec.joint.posterior import joined
from zspec.joint.proposed import NEAR, Proposed
from zspec.joint.weights import Weights
from zspec.joint.windows import windows
from zspec.likelihood.basis import PIXEL_LN, Basis
from zspec.likelihood.pixels import Native
from zspec.likelihood.solve import Guide, Solutions, scanned

PROPOSALS = 3
"""Redshifts of the network, of all spectypes, that get a fit."""
LEAST = 0.01
"""Unless it gives them less than this."""
NARROW = 4 * NEAR
"""Bins: a class with a smaller range, as stars, is scanned as densely as it can be proposed."""


def guide(proposed: Proposed, bases: Sequence[Basis], weights: Weights, fast: bool) -> Guide:
    """How spectra of which the network knows so much are solved; ``fast``: in windows alone."""
    search = windows if fast else whole
    return Guide(
        search=functools.partial(search, proposed),
        weigh=lambda found: joined(found, proposed, bases, weights).value,
    )


def whole(
    proposed: Proposed,
    pixels: Native,
    bases: Sequence[Basis],
    priors: torch.Tensor,
    resolution: float,
    keep_scans: bool,
) -> Solutions:
    """The minima of the whole scan, and those near the network's redshifts."""
    found = scanned(pixels, bases, priors, resolution, True)
    made = _with_proposals(found, proposed, bases)
    return made if keep_scans else dataclasses.replace(made, scans=None)


def _with_proposals(found: Solutions, proposed: Proposed, bases: Sequence[Basis]) -> Solutions:
    """More columns, for minima of the scan near the network's redshifts; inf where there is none.

    Those that are there already are marked as wanted.
    """
    wanted = torch.zeros_like(found.fitted)
    labels: list[int] = []
    places: list[torch.Tensor] = []
    depths: list[torch.Tensor] = []
    for label, shifts, step, values, centres in _proposals(found, proposed, bases):
        shift, value = _deepest(values, shifts, centres, (NEAR + 0.5) * proposed.width / PIXEL_LN)
        mine = (found.label == label).nonzero()[:, 0]
        near = (found.shift[:, mine] - shift[:, None]).abs() <= bases[label].separation
        wanted[:, mine] |= near
        known = near.any(1)
        labels.append(label)
        places.append(torch.where(known, math.nan, shift))
        depths.append(torch.where(known, math.inf, value - 2 * math.log(step)))
    if not labels:
        return dataclasses.replace(found, wanted=wanted)
    return _appended(found, wanted, labels, torch.stack(places, 1), torch.stack(depths, 1))


Place = tuple[int, torch.Tensor, int, torch.Tensor, torch.Tensor]
"""Label, shifts (S,), their step, values of the scan (n, S), centre of a window (n,) or NaN."""


def _proposals(found: Solutions, proposed: Proposed, bases: Sequence[Basis]) -> Iterator[Place]:
    """Every class that one of the network's redshifts may be of."""
    peaks = proposed.peaks(PROPOSALS)
    middle = (proposed.edges[peaks.bin] + proposed.width / 2) / PIXEL_LN
    for mine, one in found.scans or ():
        reach = float(one.shifts[-1] - one.shifts[0]) * PIXEL_LN
        if reach < NARROW * proposed.width:
            continue
        number = proposed.kinds.index(bases[mine[0]].spectype)
        for k in range(PROPOSALS):
            sure = (peaks.kind[:, k] == number) & (peaks.mass[:, k] > LEAST)
            centre = torch.where(sure, middle[:, k], math.nan)
            for j, label in enumerate(mine):
                yield label, one.shifts, one.step, one.values[:, j], centre


def _deepest(
    values: torch.Tensor, shifts: torch.Tensor, centre: torch.Tensor, half: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Place and depth (n,) of the deepest minimum of scans (n, S) within ``half`` of ``centre``.

    A window without a minimum, or without a centre, has NaN and inf.
    """
    padded = torch.nn.functional.pad(values, (1, 1), value=math.inf)
    low = (values < padded[:, :-2]) & (values <= padded[:, 2:])
    inside = (shifts - centre[:, None]).abs() <= half
    depth, at = torch.where(low & inside, values, math.inf).min(1)
    return torch.where(depth.isfinite(), shifts[at], math.nan), depth


def _appended(
    found: Solutions,
    wanted: torch.Tensor,
    labels: Sequence[int],
    shift: torch.Tensor,
    value: torch.Tensor,
) -> Solutions:
    """Solutions with more columns (n, more), which are not yet fitted and wanted."""
    nan, no = torch.full_like(value, math.nan), torch.zeros_like(value, dtype=torch.bool)
    more = dict.fromkeys(("sigma", "chi2", "outliers", "light", "own", "misfit", "spike"), nan)
    more |= {"shift": shift, "value": value, "basin": torch.ones_like(value)}
    more |= {"fitted": no, "settled": no}
    made: dict[str, Any] = {
        name: torch.cat([getattr(found, name), part], 1) for name, part in more.items()
    }
    return dataclasses.replace(
        found,
        label=torch.cat([found.label, torch.tensor(labels)]),
        wanted=torch.cat([wanted, value.isfinite()], 1),
        **made,
    )
