"""The joint posterior of spectype and redshift.

    ln p(z, c | d) = a ln L(z, c) + b_c ln q(z, c) + ln prior_c(z) - ln Z

L is the likelihood's evidence relative to no object at all, q the network's density relative to one
that is flat. a is one number for all classes, since a difference would decide every bright spectrum
by its class alone; it falls with the evidence, a = evidence / (1 + E / saturation), since a model
that explains a bright spectrum to a fraction is wrong by that fraction, however many photons there
are. What a minimum of the likelihood holds is its mass to the power a, times q to the power b_c, q
averaged over the minimum, whose own width calibration tells; see :mod:`zspec.joint.meeting`. The
prior is flat in ln(1 + z), but for what L has of rare quasars and for the little space that lies
next to us, :func:`volume`; beyond the minima it is flat, since of that range next to us is little.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from zspec.joint.meeting import Meeting, meet
from zspec.joint.proposed import Proposed, floored, numbers
from zspec.joint.weights import Weights
from zspec.likelihood.basis import PIXEL_LN, Basis
from zspec.likelihood.ranking import Ranked, rank
from zspec.likelihood.scan import Scan
from zspec.likelihood.solve import Solutions

CLOSEST = 0.001
"""Redshift that galaxies have by motions of their own, 300 km/s: no nearer one is rarer."""


def joined(
    found: Solutions,
    proposed: Proposed,
    bases: Sequence[Basis],
    weights: Weights,
    sigma: torch.Tensor,
    beyond: bool = True,
) -> Solutions:
    """The same solutions, whose ``value`` is -2 ln of their joint mass, up to a constant.

    Shares are those of the masses as they stand (temper 1). ``sigma`` (n, T) is that of the shifts,
    calibrated; shifts and sigmas returned are those of likelihood and network together. Without
    ``beyond`` the minima have all of the mass and no scan is joined: their order is the same.
    """
    power = powers(found, weights)
    part = to_power(found, power)
    met = meet(found, proposed, bases, sigma)
    said = opinions(found, met, bases, weights)
    made = dataclasses.replace(
        part, value=part.value - said, shift=met.shift, sigma=sigma * met.narrowed, scans=None
    )
    if not beyond:
        return dataclasses.replace(made, rest=torch.full_like(part.rest, torch.inf))
    excess = averages(found, proposed, bases, weights.floor)
    return dataclasses.replace(
        made,
        rest=part.rest - _said(excess, bases, weights),
        scans=None if found.scans is None else _scans(found, proposed, bases, weights, power),
    )


def to_power(found: Solutions, power: torch.Tensor) -> Solutions:
    """The likelihood's part of the joint posterior: its evidence to a ``power`` (n, 1)."""
    level = found.null[:, None]
    return dataclasses.replace(
        found,
        value=power * (found.value - level),
        rest=power * (found.rest - level),
        null=torch.zeros_like(found.null),
    )


def powers(found: Solutions, weights: Weights) -> torch.Tensor:
    """(n, 1) a: the power of the likelihood."""
    gain = (found.null - found.value.amin(1)).clamp(min=0)
    return (weights.evidence / (1 + gain / weights.saturation))[:, None]


def opinions(
    found: Solutions, met: Meeting, bases: Sequence[Basis], weights: Weights
) -> torch.Tensor:
    """(n, T) 2 (b ln q + ln prior) of each solution, where it stands."""
    b, prior = _by_class(bases, weights)
    excess = floored(met.excess, weights.floor)
    close = volume(found.shift * PIXEL_LN, extragalactic(bases)[found.label], weights.nearby)
    return 2 * (b[found.label] * excess + prior[found.label] + close)


def volume(u: torch.Tensor, extragalactic: torch.Tensor, nearby: float) -> torch.Tensor:
    """Ln of the prior density at u = ln(1 + z), any shape, relative to that beyond ``nearby``.

    Galaxies and quasars fill space, whose volume per redshift grows with z² (Hogg 1999,
    arXiv:astro-ph/9905116, eq. 28, nearby), until surveys see no more than the bright ones. 0 for
    stars, where ``nearby`` is 0, and where u is NaN.
    """
    if not nearby:
        return torch.zeros_like(u)
    share = torch.expm1(u).clamp(min=CLOSEST, max=nearby) / nearby
    return torch.where(extragalactic, 2 * share.log(), 0.0).nan_to_num(0.0)


def extragalactic(bases: Sequence[Basis]) -> torch.Tensor:
    """(class,) bool: those that are no stars."""
    return torch.tensor([basis.spectype != "STAR" for basis in bases])


def averages(
    found: Solutions, proposed: Proposed, bases: Sequence[Basis], floor: float
) -> torch.Tensor:
    """(n, class) ln q on average where ``rest`` is: a class' redshifts beyond its minima."""
    apart = torch.tensor([basis.separation for basis in bases], dtype=torch.float64)[found.label]
    low, high = ((found.shift + side * apart) * PIXEL_LN for side in (-1, 1))
    taken = proposed.summed(low, high, found.label, len(bases))  # (n, class, bin)
    free = (proposed.reached(bases) - taken.clamp_(max=1)).clamp_(min=0)
    return proposed.average(numbers(proposed.kinds, _spectypes(bases)), free, floor)


def evidence(found: Solutions) -> torch.Tensor:
    """(n,) 2 ln of the odds of any object against none, by the likelihood alone."""
    return found.null + 2 * torch.logsumexp(-torch.cat([found.value, found.rest], 1) / 2, 1)


def ranked(found: Solutions, together: Solutions, bases: Sequence[Basis]) -> Ranked:
    """The joint solutions in their order; whether anything is there is the likelihood's to say."""
    return dataclasses.replace(rank(together, bases, 1.0), evidence=evidence(found))


def _said(excess: torch.Tensor, bases: Sequence[Basis], weights: Weights) -> torch.Tensor:
    """(n, class) 2 (b ln q + ln prior) of the excess of each class."""
    b, prior = _by_class(bases, weights)
    return 2 * (b * excess + prior)


def _by_class(bases: Sequence[Basis], weights: Weights) -> tuple[torch.Tensor, torch.Tensor]:
    """B and ln prior of each class."""
    kinds = _spectypes(bases)
    b = torch.tensor([weights.network.get(kind, 1.0) for kind in kinds], dtype=torch.float64)
    prior = torch.tensor([weights.prior.get(kind, 0.0) for kind in kinds], dtype=torch.float64)
    return b, prior


def _scans(
    found: Solutions,
    proposed: Proposed,
    bases: Sequence[Basis],
    weights: Weights,
    power: torch.Tensor,
) -> tuple[tuple[tuple[int, ...], Scan], ...]:
    """Scans as ``value``: the shape of p(z) between and beyond the minima."""
    b, prior = _by_class(bases, weights)
    out = []
    for mine, one in found.scans or ():
        kind = numbers(proposed.kinds, [bases[mine[0]].spectype])
        u = (one.shifts * PIXEL_LN).expand(len(proposed), -1)  # (n, S)
        excess = proposed.excess(kind, u, weights.floor)
        at = list(mine)
        close = volume(one.shifts * PIXEL_LN, extragalactic([bases[mine[0]]]), weights.nearby)
        said = 2 * (b[at][:, None] * excess[:, None] + prior[at][:, None] + close)  # (n, G, S)
        values = power[..., None] * (one.values - found.null[:, None, None]) - said
        out.append((mine, Scan(values, one.shifts, one.step)))
    return tuple(out)


def _spectypes(bases: Sequence[Basis]) -> list[str]:
    """Of each class."""
    return [basis.spectype for basis in bases]
