"""Where a minimum of the likelihood meets what the network says: mass, place and width of both.

At high resolving power a minimum is far narrower than the network's bins, and only the density
where it stands matters. A slitless spectrum has minima of several bins, within which the network
knows more: there the product of both, N(u; minimum, sigma) q(u), has a mean and a width of its own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from zspec.joint.proposed import Proposed, numbers
from zspec.likelihood.basis import PIXEL_LN, Basis
from zspec.likelihood.solve import Solutions

NARROW = 0.1
"""Bins: a minimum of less sigma is a point."""
BROADEST = 10.0
"""Bins: no minimum counts as broader, since others stand beside it."""
STEPS = (NARROW, 0.5, 2.0, BROADEST)
"""Bins: minima between two of these are taken together."""
REACH = 6.0
"""Sigmas from a minimum beyond which there is nothing of it."""
FLAT = 1e-3
"""Of a flat density, what is added to the network's: where it is silent a minimum stays."""


@dataclass(frozen=True)
class Meeting:
    """The products of n spectra's minima with the network's density, (n, T) each."""

    excess: torch.Tensor
    """ln of the network's density over the flat one, averaged over the minimum; not floored."""
    shift: torch.Tensor
    """Mean of the product, grid pixels."""
    narrowed: torch.Tensor
    """Its standard deviation over that of the minimum."""


def meet(
    found: Solutions, proposed: Proposed, bases: Sequence[Basis], sigma: torch.Tensor
) -> Meeting:
    """All minima, with a calibrated ``sigma`` (n, T) of their shifts; NaN: a point.

    What redshifts scatter by beyond that is no part of it: no spectrum tells it, so that it is the
    same in what the network learned.
    """
    kind = numbers(proposed.kinds, [basis.spectype for basis in bases])[found.label]
    place, sigma = found.shift * PIXEL_LN, sigma * PIXEL_LN
    excess = proposed.excess(kind, place, 0.0)
    shift, narrowed = found.shift.clone(), torch.ones_like(found.shift)
    bins = (sigma / proposed.width).clamp(max=BROADEST)
    for low, high in itertools.pairwise(STEPS):
        some = (bins > low) & (bins <= high) & place.isfinite()
        rows, columns = some.nonzero(as_tuple=True)
        if len(rows):
            reach = math.ceil(REACH * high)
            mean, moved, width = _products(
                proposed, rows, kind[columns], place[some], bins[some], reach
            )
            counted = bins[some] * proposed.width
            excess[some] = mean
            shift[some] += moved * counted / PIXEL_LN
            narrowed[some] = width * counted / sigma[some]
    ends = torch.tensor([bases[label].ends for label in found.label.tolist()], dtype=shift.dtype)
    return Meeting(excess, shift.clamp(ends[:, 0], ends[:, 1]), narrowed)


def _products(
    proposed: Proposed,
    rows: torch.Tensor,
    kind: torch.Tensor,
    place: torch.Tensor,
    sigma: torch.Tensor,
    reach: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(m,) ln of the mean excess of m minima, and their products' mean and sigma, in sigma.

    ``place`` in ln(1 + z), ``sigma`` in bins, of which ``reach`` on either side hold all of it.
    Moments of a normal cut into bins of constant density; beyond all bins there is nothing. The
    excess is that of the highest of each bin and its neighbours, as of a point. Where the network
    knows no redshift near, the minimum stays as it is.
    """
    at = (place - proposed.edges[0]) / proposed.width  # in bins
    first = at.floor() - reach
    count = 2 * reach + 1
    x = (first[:, None] + torch.arange(count + 1) - at[:, None]) / sigma[:, None]  # of edges
    x = x.clamp(-REACH, REACH)  # bins beyond are empty
    phi = torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)
    held = torch.special.ndtr(x).diff(dim=1)  # (m, count)
    bins = first.long()[:, None] + torch.arange(count)
    last = len(proposed.edges) - 2
    inside = (bins >= 0) & (bins <= last)
    flat = ((rows * len(proposed.kinds) + kind) * (last + 1))[:, None] + bins.clamp(0, last)
    density = torch.where(inside, proposed.log_q.flatten()[flat], -math.inf).exp()
    density = torch.where(density > 0, density + FLAT * math.exp(proposed.flat), 0.0)
    highest = torch.where(inside, proposed.highest.flatten()[flat], -math.inf)
    excess = (held * (highest - proposed.flat).exp()).sum(1).log()
    total = (held * density).sum(1)
    mean = -(density * phi.diff(dim=1)).sum(1) / total
    square = 1 - (density * (x * phi).diff(dim=1)).sum(1) / total
    sees = total > 0
    width = (square - mean.square()).clamp(min=0).sqrt()
    return excess, torch.where(sees, mean, 0.0), torch.where(sees, width, 1.0)
