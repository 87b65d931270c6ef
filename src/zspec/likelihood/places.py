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
RHYTHM = 512
"""Tables of stretches are longer by multiples of it, so that spectra share them."""

Weights = Callable[[torch.Tensor], torch.Tensor]
"""Fractions (...) to weights (..., 4) of four neighbours."""


@dataclass(frozen=True)
class Stretch:
    """A basis at m candidates' pixels, which are neighbours on the grid."""

    table: torch.Tensor
    """(rest, K) spline coefficients, with more zeros at either end than a stretch is long."""
    first: torch.Tensor
    """(m,) row of the table one before the first pixel."""
    size: int
    """Rows of a stretch: pixels and 3."""
    fraction: torch.Tensor
    """(m, 1) of a pixel, the same for all."""

    def design(self) -> torch.Tensor:
        """(m, pixel, K) the vectors."""
        return _slid(_cut(self.table, self.first, self.size), taps(self.fraction))

    def mixed(self, c: torch.Tensor, weights: Weights) -> torch.Tensor:
        """(m, pixel) mixtures ``c`` (m, K), or their slopes."""
        values = _cut(self.table, self.first, self.size) @ c[..., None]
        return _slid(values, weights(self.fraction))[..., 0]


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


def _cut(table: torch.Tensor, first: torch.Tensor, size: int) -> torch.Tensor:
    """(m, size, K) stretches of a table from rows ``first`` (m,) on."""
    if len(first) == 1:
        start = int(first)
        return table[None, start : start + size]
    return table.unfold(0, size, 1)[first].mT


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
            size = len(self.position) + 3
            start = first[:, 0].clamp(0, last + 1 - size)
            return Stretch(self.table, start, size, moved - whole)
        around = first[..., None] + torch.arange(4, device=shift.device)
        return Scattered(self.table, around.clamp(0, last), moved - whole)


def lookup(basis: Basis, sigma: float, pixels: Native) -> Lookup:
    """How to find a basis, broadened by ``sigma`` grid pixels, at the pixels of some spectra."""
    neighbours, position = pixels.consecutive, pixels.position
    beyond = RHYTHM * ((len(position) + 3) // RHYTHM + 1) if neighbours else 0
    table = _table(basis, sigma, beyond, pixels.flux.device)
    return Lookup(table, position - basis.k0 + PAD + beyond, neighbours)


@lru_cache(maxsize=64)
def _table(basis: Basis, sigma: float, beyond: int, device: torch.device) -> torch.Tensor:
    """(rest, K) spline coefficients of the vectors, broadened by ``sigma``.

    They have PAD more at either end, and so many zeros ``beyond``.
    """
    spline = coefficients(torch.nn.functional.pad(broadened(basis, sigma), (PAD, PAD)))
    return torch.nn.functional.pad(spline, (beyond, beyond)).T.contiguous().to(device)
