"""What the network says of n spectra, as a density over spectype and ln(1 + z) to multiply with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from zspec.batch import SpectrumBatch
from zspec.grid import WaveGrid
from zspec.likelihood.basis import Basis

NEAR = 3
"""Bins on either side that count as the same redshift: 1000 km/s for bins of 1.15e-3."""


class Told(Protocol):
    """What a network tells of n spectra; see :class:`zspec.proposal.model.Proposal`."""

    @property
    def log_q(self) -> NDArray[np.float32]:
        """(n, spectype, bin) ln of the density per unit ln(1 + z); -inf: never."""

    @property
    def features(self) -> NDArray[np.float32]:
        """(n, feature) numbers about the whole spectrum."""

    @property
    def blank(self) -> NDArray[np.float32]:
        """(n,) probability that nothing is there."""


class Proposer(Protocol):
    """The part of :class:`zspec.proposal.model.ProposalModel` that predictions need."""

    grid: WaveGrid

    @property
    def classes(self) -> tuple[str, ...]:
        """Spectypes."""

    @property
    def edges(self) -> NDArray[np.float64]:
        """(bin + 1,) edges in ln(1 + z), evenly spaced."""

    def propose(self, batch: SpectrumBatch) -> Told:
        """What it says of spectra on its grid."""

    def distance(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n,) how far from the training set they are."""


@dataclass(frozen=True)
class Peaks:
    """The highest maxima of n densities, (n, count) each, highest first."""

    kind: torch.Tensor
    """Index of the spectype."""
    bin: torch.Tensor
    mass: torch.Tensor
    """Probability within ``NEAR`` bins; 0 where there are fewer maxima."""


@dataclass(frozen=True)
class Proposed:
    """Densities of n spectra."""

    log_q: torch.Tensor
    """(n, spectype, bin) float64, ln of the density per unit ln(1 + z)."""
    edges: torch.Tensor
    """(bin + 1,) of the bins in ln(1 + z)."""
    kinds: tuple[str, ...]
    """Spectypes."""
    distance: torch.Tensor
    """(n,) from the training set, in feature space."""
    blank: torch.Tensor
    """(n,) probability that nothing is there."""
    flat: float
    """Ln of the density that is the same for all spectypes and redshifts that the network knows."""

    def __getitem__(self, rows: NDArray[np.intp] | torch.Tensor) -> Proposed:
        """Of some of the spectra."""
        at = torch.as_tensor(rows)
        own = {name: getattr(self, name)[at] for name in ("log_q", "distance", "blank")}
        return replace(self, **own)

    def __len__(self) -> int:
        """Number of spectra."""
        return len(self.log_q)

    @property
    def width(self) -> float:
        """Of a bin, in ln(1 + z)."""
        return float(self.edges[1] - self.edges[0])

    @cached_property
    def mass(self) -> torch.Tensor:
        """(n, spectype, bin) probabilities, which sum to 1 where no limit cuts them."""
        return self.log_q.exp() * self.width

    @cached_property
    def around(self) -> torch.Tensor:
        """(n, spectype, bin) probability within ``NEAR`` bins of each."""
        size = 2 * NEAR + 1
        summed = torch.nn.functional.pad(self.mass, (NEAR + 1, NEAR)).cumsum(2)
        return summed[..., size:] - summed[..., :-size]

    @cached_property
    def highest(self) -> torch.Tensor:
        """(n, spectype, bin) ln of the density, the highest of each bin and its neighbours."""
        return torch.nn.functional.max_pool1d(self.log_q, 3, 1, 1)

    @property
    def entropy(self) -> torch.Tensor:
        """(n,) of the probabilities of all bins, in nats."""
        mass = self.mass
        summed: torch.Tensor = torch.special.xlogy(mass, mass).sum((1, 2))
        return -summed

    def between(self, bases: Sequence[Basis]) -> Proposed:
        """The same densities, 0 where no basis of the spectype reaches, as a user limits them.

        They then hold less than 1: what the network says of other redshifts says nothing of these.
        """
        reached = torch.zeros(self.log_q.shape[1:], dtype=torch.bool)
        for basis, share in zip(bases, self.reached(bases), strict=True):
            reached[self.kinds.index(basis.spectype)] |= share > 0
        return replace(self, log_q=torch.where(reached, self.log_q, -math.inf))

    def reached(self, bases: Sequence[Basis]) -> torch.Tensor:
        """(class, bin) share of each bin that lies between the limits of redshift of each basis."""
        ends = [[math.log1p(z) for z in basis.z_range] for basis in bases]
        low, high = torch.tensor(ends, dtype=torch.float64).unbind(1)
        return self.covered(low, high)

    def covered(self, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        """(..., bin) share of each bin between two places (...) in ln(1 + z); NaN: nothing."""
        first = torch.maximum(low[..., None], self.edges[:-1])
        part = torch.minimum(high[..., None], self.edges[1:]).sub_(first)
        return part.nan_to_num_(0.0).clamp_(min=0).div_(self.width)

    def summed(
        self, low: torch.Tensor, high: torch.Tensor, label: torch.Tensor, count: int
    ) -> torch.Tensor:
        """(n, count, bin) shares of bins between places (n, T), as ``covered``, by ``label`` (T,).

        Only the bins that a stretch may touch are looked at, which are few.
        """
        most = int(((high - low).nan_to_num(0.0).max() / self.width).ceil()) + 1
        first = ((low - self.edges[0]) / self.width).floor().nan_to_num(0.0)
        at = first[..., None].long() + torch.arange(most)  # (n, T, most)
        bins = len(self.edges) - 1
        there = (at >= 0) & (at < bins)
        at = at.clamp(0, bins - 1)
        begins = torch.maximum(self.edges[at], low[..., None])
        part = torch.minimum(self.edges[at + 1], high[..., None]).sub_(begins)
        share = torch.where(there, part.nan_to_num_(0.0).clamp_(min=0).div_(self.width), 0.0)
        out = torch.zeros(len(low), count * bins, dtype=share.dtype)
        out.scatter_add_(1, (label[:, None] * bins + at).flatten(1), share.flatten(1))
        return out.view(len(low), count, bins)

    def bins(self, u: torch.Tensor) -> torch.Tensor:
        """Bins of places ``u`` in ln(1 + z), of any shape; the ends' beyond them."""
        last = len(self.edges) - 2
        at = ((u.nan_to_num(0.0) - self.edges[0]) / self.width).floor()
        return at.clamp(0, last).long()

    def near(self, kind: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        """(n, T) probability within ``NEAR`` bins of bins ``at`` of spectypes ``kind``."""
        return _pick(self.around, kind, at)

    def peaks(self, count: int) -> Peaks:
        """The ``count`` highest maxima, more than ``NEAR`` bins from a higher one of the class."""
        bins = self.log_q.shape[2]
        highest = torch.nn.functional.max_pool1d(self.log_q, 2 * NEAR + 1, 1, NEAR)
        top = (self.log_q == highest) & (self.log_q > -math.inf)
        ranked = torch.where(top, self.log_q, -math.inf).flatten(1).topk(count, 1)
        kind, at = ranked.indices // bins, ranked.indices % bins
        mass = torch.where(ranked.values > -math.inf, self.near(kind, at), 0.0)
        return Peaks(kind, at, mass)

    def excess(self, kind: torch.Tensor, u: torch.Tensor, floor: float) -> torch.Tensor:
        """(n, T) ln of the density over the flat one at places ``u`` (n, T) of spectypes.

        ``kind`` (T,) numbers them. The highest of the bin and its neighbours counts, since a fit
        knows its redshift better than a bin does. A share ``floor`` of the density is the flat one:
        no silence of the network rules out what fits, and beyond its bins it is silent.
        """
        held = _pick(self.highest, kind.expand_as(u), self.bins(u)) - self.flat
        beyond = (u < self.edges[0]) | (u > self.edges[-1])
        return floored(torch.where(beyond, -math.inf, held), floor)

    def average(self, kind: torch.Tensor, free: torch.Tensor, floor: float) -> torch.Tensor:
        """(n, class) ln of the mean density over the flat one where a class is ``free``.

        ``kind`` (class,) numbers its spectype, ``free`` (n, class, bin) is a share of each bin.
        Floored as in ``excess``.
        """
        density = self.log_q.exp()
        known = (self.log_q > -math.inf).to(density)
        both = torch.stack([density, known], 3)  # (n, spectype, bin, 2)
        sums = free.new_zeros(*free.shape[:2], 2)
        for number in set(kind.tolist()):
            mine = (kind == number).nonzero()[:, 0]
            sums[:, mine] = free[:, mine] @ both[:, number]
        total, known = sums.unbind(2)
        held = total.log() - known.log()
        return floored(torch.where(known > 0, held - self.flat, -math.inf), floor)


def floored(held: torch.Tensor, floor: float) -> torch.Tensor:
    """ln((1 - floor) exp(held) + floor)."""
    if floor == 0:
        return held
    return torch.logaddexp(held + math.log1p(-floor), torch.full_like(held, math.log(floor)))


def _pick(values: torch.Tensor, kind: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """(n, T) values (n, spectype, bin) at spectypes and bins (n, T)."""
    picked: torch.Tensor = values.flatten(1).gather(1, kind * values.shape[2] + at)
    return picked


def ask(model: Proposer, batch: SpectrumBatch) -> Proposed:
    """What a network says of the spectra of a batch on its grid."""
    told, edges = model.propose(batch), np.asarray(model.edges, np.float64)
    log_q = torch.from_numpy(np.asarray(told.log_q, np.float64))
    known = int((log_q[:1] > -math.inf).sum())  # bins, the same of every spectrum; no row: 0
    return Proposed(
        log_q=log_q,
        edges=torch.from_numpy(edges),
        kinds=tuple(model.classes),
        distance=torch.from_numpy(np.asarray(model.distance(told.features), np.float64)),
        blank=torch.from_numpy(np.asarray(told.blank, np.float64)),
        flat=-math.log(max(known, 1) * float(edges[1] - edges[0])),
    )


def numbers(kinds: Sequence[str], spectypes: Sequence[str]) -> torch.Tensor:
    """(class,) index among ``kinds`` of the spectype of each class."""
    return torch.tensor([kinds.index(spectype) for spectype in spectypes])
