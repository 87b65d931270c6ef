"""Where a minimum of the likelihood meets what the network says: mass, place and width of both.

At high resolving power a minimum is far narrower than the network's bins, and only the density
where it stands matters. A slitless spectrum has minima of many bins, within which the network knows
more: there the product of both, N(u; minimum, sigma) q(u), has a mean and a width of its own.
"""

from __future__ import annotations

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
    broad = (sigma > NARROW * proposed.width) & place.isfinite()
    rows, columns = broad.nonzero(as_tuple=True)
    if len(rows):
        wide = sigma[broad].clamp(max=BROADEST * proposed.width)
        mean, moved, width = _products(proposed, rows, kind[columns], place[broad], wide)
        excess[broad] = mean
        shift[broad] += moved * wide / PIXEL_LN
        narrowed[broad] = width
    return Meeting(excess, shift, narrowed)


def _products(
    proposed: Proposed,
    rows: torch.Tensor,
    kind: torch.Tensor,
    place: torch.Tensor,
    sigma: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(m,) ln of the mean excess of m minima, and their products' mean and sigma, in sigma.

    Moments of a normal cut into bins of constant density; beyond all bins there is nothing. Where
    the network sees nothing anywhere near, the minimum stays as it is.
    """
    x = (proposed.edges - place[:, None]) / sigma[:, None]  # (m, bin + 1)
    phi = torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)
    held = torch.special.ndtr(x).diff(dim=1)  # (m, bin)
    highest = proposed.highest[rows, kind]
    excess = (held * (highest - proposed.flat).exp()).sum(1).log()
    own = held * proposed.log_q[rows, kind].exp()
    total = own.sum(1)
    density = torch.where(held > 0, own / held, 0.0)
    first = -(density * phi.diff(dim=1)).sum(1) / total
    second = 1 - (density * (x * phi).diff(dim=1)).sum(1) / total
    sees = total > 0
    width = (second - first.square()).clamp(min=0).sqrt()
    return excess, torch.where(sees, first, 0.0), torch.where(sees, width, 1.0)
