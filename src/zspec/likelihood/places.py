"""A basis at native pixels: cubic splines, looked up at the shift of each candidate.

Where native pixels are as wide as those of the grid (SDSS) and stand in a row, all of them lie at
one fraction of a pixel, and four shifted stretches of the table are all that is needed. Elsewhere
every pixel looks up four rows of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch

from zspec.likelihood.basis import Basis, broadened
from zspec.likelihood.interpolation import coefficients, taps
from zspec.likelihood.pixels import Native

PAD = 16
"""Zeros beyond the ends of a basis, so that its spline runs out to 0."""

Weights = Callable[[torch.Tensor], torch.Tensor]
"""Fractions (...) to weights (..., 4) of four neighbours."""


@dataclass(frozen=True)
class Stretch:
    """A basis at m candidates' pixels, which are neighbours on the grid."""

    values: torch.Tensor
    """(m, pixel + 3, K) spline coefficients, from one before the first pixel."""
    fraction: torch.Tensor
    """(m, 1) of a pixel, the same for all."""

    def design(self) -> torch.Tensor:
        """(m, pixel, K) the vectors."""
        return _slid(self.values, taps(self.fraction))

    def mixed(self, c: torch.Tensor, weights: Weights) -> torch.Tensor:
        """(m, pixel) mixtures ``c`` (m, K), or their slopes."""
        return _slid(self.values @ c[..., None], weights(self.fraction))[..., 0]


@dataclass(frozen=True)
class Scattered:
    """A basis at m candidates' pixels, wherever these are."""

    table: torch.Tensor
    """(rest, K) spline coefficients."""
    at: torch.Tensor
    """(m, pixel, 4) rows of the table around each pixel."""
    fraction: torch.Tensor
    """(m, pixel) beyond the second of the four."""

    def design(self) -> torch.Tensor:
        """(m, pixel, K) the vectors."""
        rows, weights = self.at.flatten(0, 1), taps(self.fraction).flatten(0, 1)
        summed = torch.nn.functional.embedding_bag(
            rows, self.table, per_sample_weights=weights, mode="sum"
        )
        return summed.view(*self.at.shape[:2], -1)

    def mixed(self, c: torch.Tensor, weights: Weights) -> torch.Tensor:
        """(m, pixel) mixtures ``c`` (m, K), or their slopes."""
        spline = c @ self.table.T  # (m, rest)
        around = spline.gather(1, self.at.flatten(1)).view(self.at.shape)
        return (around * weights(self.fraction)).sum(-1)


def _slid(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(m, pixel, V) sums of four neighbours of values (m, pixel + 3, V), by weights (m, 1, 4)."""
    count = values.shape[1] - 3
    total = values[:, :count] * weights[..., :1]
    for q in range(1, 4):
        total.addcmul_(values[:, q : q + count], weights[..., q : q + 1])
    return total


@dataclass(frozen=True)
class Lookup:
    """Where the pixels of some spectra lie on a basis that is not shifted."""

    table: torch.Tensor
    """(rest, K) spline coefficients."""
    position: torch.Tensor
    """(pixel,) row of the table at each pixel, with fraction."""
    neighbours: bool
    """Whether pixels stand in a row."""

    def at(self, shift: torch.Tensor) -> Stretch | Scattered:
        """The basis at candidates' shifts (m,). Places beyond its ends hold zeros."""
        last = len(self.table) - 1
        moved = (self.position[:1] if self.neighbours else self.position) - shift[:, None]
        whole = moved.floor()
        first = whole.clamp(-2 * last, 2 * last).long() - 1
        if self.neighbours:
            along = torch.arange(len(self.position) + 3, device=shift.device)
            return Stretch(self.table[(first + along).clamp(0, last)], moved - whole)
        around = first[..., None] + torch.arange(4, device=shift.device)
        return Scattered(self.table, around.clamp(0, last), moved - whole)


def lookup(basis: Basis, sigma: float, pixels: Native) -> Lookup:
    """How to find a basis, broadened by ``sigma`` grid pixels, at the pixels of some spectra."""
    table = _table(basis, sigma, pixels.flux.device)
    return Lookup(table, pixels.position - basis.k0 + PAD, pixels.consecutive)


@lru_cache(maxsize=64)
def _table(basis: Basis, sigma: float, device: torch.device) -> torch.Tensor:
    """(PAD + pixel + PAD, K) spline coefficients of the vectors, broadened by ``sigma``."""
    padded = torch.nn.functional.pad(broadened(basis, sigma), (PAD, PAD))
    return coefficients(padded).T.contiguous().to(device)
