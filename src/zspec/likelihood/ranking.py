"""Solutions in the order of their mass, and the shares that candidates and classes hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from zspec.estimator import NCANDIDATES
from zspec.likelihood.basis import Basis
from zspec.likelihood.solve import Solutions


@dataclass(frozen=True)
class Ranked:
    """Candidates that are another redshift or spectype each, (n, NCANDIDATES), best first."""

    column: torch.Tensor
    """Where they stand among the solutions."""
    value: torch.Tensor
    """-2 ln of the mass of that solution alone; inf where there are fewer."""
    share: torch.Tensor
    """Of the posterior, with all solutions of the same redshift and spectype; 0 where none."""
    classes: torch.Tensor
    """(n, class) share of every class; NaN where there is no solution at all."""
    kinds: torch.Tensor
    """(n,) share of all classes of the spectype of the first candidate."""
    evidence: torch.Tensor
    """(n,) 2 ln of the odds of any object against none: a smooth continuum."""

    @property
    def delta(self) -> torch.Tensor:
        """(n,) by how much the second's -2 ln mass is above the first's; not below 0."""
        return (self.value[:, 1] - self.value[:, 0]).clamp(min=0)

    def of(self, values: torch.Tensor) -> torch.Tensor:
        """(n,) what the first candidate has of values (n, T)."""
        return values.gather(1, self.column[:, :1])[:, 0]


def rank(found: Solutions, bases: Sequence[Basis], temper: float) -> Ranked:
    """Listed solutions by their shares, without those that repeat a better one of the spectype.

    Two redshifts are one within 1000 km/s, and within 100 km/s for stars. Shares are those of the
    masses to the power ``temper``. The loop runs over ranks.
    """
    kind = _numbers([basis.spectype for basis in bases])
    each = kind[found.label]
    apart = torch.tensor([basis.separation for basis in bases], dtype=torch.float64)[found.label]
    left = torch.where(found.listed, found.value, torch.inf)
    free = found.value.isfinite()
    weight = weights(found, temper)
    columns, values, shares = [], [], []
    for _ in range(NCANDIDATES):
        value, at = left.min(1)
        near = (found.shift - found.shift.gather(1, at[:, None])).abs() <= apart
        same = near & (each == each[at][:, None])
        same.scatter_(1, at[:, None], True)
        mine = (same & free & value.isfinite()[:, None]).double() * weight[:, : len(each)]
        columns.append(at)
        values.append(value)
        shares.append(mine.sum(1))
        free = free & ~same
        left = torch.where(same, torch.inf, left)
    share = torch.stack(shares, 1)
    order = share.argsort(dim=1, descending=True, stable=True)
    column = torch.stack(columns, 1).gather(1, order)
    classes = torch.zeros_like(found.rest)
    classes.index_add_(1, torch.cat([found.label, torch.arange(len(bases))]), weight)
    own = kind == kind[found.label[column[:, 0]]][:, None]  # (n, class)
    return Ranked(
        column=column,
        value=torch.stack(values, 1).gather(1, order),
        share=share.gather(1, order),
        classes=classes,
        kinds=(classes * own).sum(1),
        evidence=found.null + 2 * torch.logsumexp(-torch.cat([found.value, found.rest], 1) / 2, 1),
    )


def leading(found: Solutions, bases: Sequence[Basis], temper: float) -> torch.Tensor:
    """(n, T) the values, but -inf where the first candidate is: which may not be the lowest."""
    first = rank(found, bases, temper).column[:, :1]
    return found.value.scatter(1, first, -torch.inf)


def weights(found: Solutions, temper: float) -> torch.Tensor:
    """(n, T + class) share of every minimum, and of what lies beyond those of each class."""
    return torch.softmax(-temper / 2 * torch.cat([found.value, found.rest], 1), dim=1)


def _numbers(names: Sequence[str]) -> torch.Tensor:
    """(n,) a number for each name, the same for the same."""
    known = sorted(set(names))
    return torch.tensor([known.index(name) for name in names])
