"""Bases at native pixels: cubic splines, looked up at the shift of each candidate.

Where native pixels are as wide as those of the grid (SDSS) and stand in a row, all of them lie at
one fraction of a pixel, and four shifted stretches of the table are all that is needed. Elsewhere
every pixel looks up four places of its own. All bases stand in one table, one after the other, so
that candidates of different classes are fitted together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from zspec.likelihood.basis import Basis, broadened
from zspec.likelihood.interpolation import CUBIC, coefficients, horner, pieces, slopes, taps
from zspec.likelihood.pixels import Native

PAD = 24
"""Zeros beyond the ends of a basis, so that its spline runs out to 0: to 1e-12 at the last four."""
RHYTHM = 512
"""Tables of stretches are longer by multiples of it, so that spectra share them."""


@dataclass(frozen=True)
class Stretch:
    """Bases at m candidates' pixels, which are neighbours on the grid."""

    table: torch.Tensor
    """(K, place) spline coefficients, with more zeros about a basis than a stretch is long."""
    first: torch.Tensor
    """(m,) place one before the first pixel."""
    size: int
    """Places of a stretch: pixels and 3."""
    taps: torch.Tensor
    """(m, 1, 4) weights of neighbours, the same for all pixels."""
    slopes: torch.Tensor
    """(m, 1, 4) those that give the slope."""

    def __getitem__(self, some: slice) -> Stretch:
        """The same of some candidates."""
        weights = self.taps[some], self.slopes[some]
        return Stretch(self.table, self.first[some], self.size, *weights)

    def design(self, root: torch.Tensor) -> torch.Tensor:
        """(m, K, pixel) the vectors times ``root`` (m, pixel)."""
        return _slide(self._cut(), self.taps).mul_(root[:, None])

    def mixed(self, c: torch.Tensor) -> torch.Tensor:
        """(m, pixel) mixtures ``c`` (m, K)."""
        return _slide(c[:, None] @ self._cut(), self.taps)[:, 0]

    def sloped(self, c: torch.Tensor) -> torch.Tensor:
        """(m, pixel) slopes per grid pixel of mixtures ``c`` (m, K)."""
        return _slide(c[:, None] @ self._cut(), self.slopes)[:, 0]

    def _cut(self) -> torch.Tensor:
        """(m, K, size) stretches of the table; of one candidate a view, which costs nothing."""
        if len(self.first) == 1:
            start = int(self.first)
            return self.table[None, :, start : start + self.size]
        return self.table.unfold(1, self.size, 1)[:, self.first].movedim(1, 0)


@dataclass(frozen=True)
class Scattered:
    """Bases at m candidates' pixels, wherever these are."""

    table: torch.Tensor
    """(place, K) spline coefficients."""
    first: torch.Tensor
    """(m, pixel) place of the first of the four around each pixel."""
    fraction: torch.Tensor
    """(m, pixel) beyond the second of the four."""
    span: int
    """The places of a candidate's pixels are fewer."""

    def __getitem__(self, some: slice) -> Scattered:
        """The same of some candidates."""
        return Scattered(self.table, self.first[some], self.fraction[some], self.span)

    def design(self, root: torch.Tensor) -> torch.Tensor:
        """(m, K, pixel) the vectors times ``root`` (m, pixel)."""
        powers = [root.expand_as(self.fraction)]
        for _ in range(3):
            powers.append(powers[-1] * self.fraction)
        weights = CUBIC.T.to(root) @ torch.stack(powers).flatten(1)  # (4, m * pixel)
        flat = self.first.flatten()
        out = self.table.index_select(0, flat).mul_(weights[0, :, None])
        for q in range(1, 4):
            out.addcmul_(self.table[q:].index_select(0, flat), weights[q, :, None])
        return out.view(*self.first.shape, -1).mT

    def mixed(self, c: torch.Tensor) -> torch.Tensor:
        """(m, pixel) mixtures ``c`` (m, K)."""
        return self._curve(c, 0)

    def sloped(self, c: torch.Tensor) -> torch.Tensor:
        """(m, pixel) slopes per grid pixel of mixtures ``c`` (m, K)."""
        return self._curve(c, 1)

    def _curve(self, c: torch.Tensor, order: int) -> torch.Tensor:
        """(m, pixel) mixtures, or their slopes: one spline each, on the grid, is looked up."""
        low = self.first.amin(1).clamp(max=max(len(self.table) - self.span - 3, 0))
        lines = (self._cut(low) @ c[..., None])[..., 0]  # (m, span + 3)
        curve = pieces(lines, order)
        at = self.first - low[:, None]
        if len(low) > 1:
            at = at + curve.shape[2] * torch.arange(len(low), device=at.device)[:, None]
        return horner(curve.flatten(1), at, self.fraction)

    def _cut(self, low: torch.Tensor) -> torch.Tensor:
        """(m, span + 3, K) of the table from places ``low`` (m,); of one candidate a view."""
        size = min(self.span + 3, len(self.table))
        if len(low) == 1:
            return self.table[None, int(low) : int(low) + size]
        return self.table[low[:, None] + torch.arange(size, device=low.device)]


def _slide(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(m, V, pixel) sums of four neighbours of values (m, V, pixel + 3) by weights (m, 1, 4)."""
    count = values.shape[-1] - 3
    out = values[..., :count] * weights[..., :1]
    for q in range(1, 4):
        out.addcmul_(values[..., q : q + count], weights[..., q : q + 1])
    return out


@dataclass(frozen=True)
class Table:
    """Spline coefficients of bases, one after the other."""

    values: torch.Tensor
    """(K, place) for stretches, else (place, K); zeros for vectors that a basis lacks."""
    start: torch.Tensor
    """(basis,) where each begins."""
    size: torch.Tensor
    """(basis,) its number of places."""
    origin: torch.Tensor
    """(basis,) grid index of its first place."""


@dataclass(frozen=True)
class Lookup:
    """Where the pixels of some spectra lie on bases that are not shifted."""

    table: Table
    position: torch.Tensor
    """(pixel,) grid index of each pixel, with fraction."""
    neighbours: bool
    """Whether pixels stand in a row."""
    span: int
    """Grid pixels between the first and the last of them, and 2."""

    @property
    def vectors(self) -> int:
        """K, of the basis that has most."""
        return self.table.values.shape[0 if self.neighbours else 1]

    def at(self, which: torch.Tensor, shift: torch.Tensor) -> Stretch | Scattered:
        """Bases ``which`` (m,) at shifts (m,). Places beyond their ends hold zeros."""
        table, seen = self.table, self.position[:1] if self.neighbours else self.position
        moved = seen - (table.origin[which] + shift)[:, None]
        whole = moved.floor()
        size = len(self.position) + 3 if self.neighbours else 4
        last = table.size[which, None] - size
        first = (whole.clamp(-(2.0**40), 2.0**40).long() - 1).clamp(min=0).minimum(last)
        first += table.start[which, None]
        if self.neighbours:
            fraction = moved - whole  # (m, 1)
            return Stretch(table.values, first[:, 0], size, taps(fraction), slopes(fraction))
        return Scattered(table.values, first, moved - whole, self.span)


def lookup(bases: Sequence[Basis], sigmas: Sequence[float], pixels: Native) -> Lookup:
    """How to find bases, each broadened by its sigma in grid pixels, at the pixels of spectra."""
    neighbours, position = pixels.consecutive, pixels.position
    beyond = RHYTHM * ((len(position) + 3) // RHYTHM + 1) if neighbours else 0
    table = _table(tuple(bases), tuple(sigmas), beyond, pixels.flux.device)
    span = math.ceil(float(position.max() - position.min())) + 2
    return Lookup(table, position, neighbours, span)


@lru_cache(maxsize=64)
def _table(
    bases: tuple[Basis, ...], sigmas: tuple[float, ...], beyond: int, device: torch.device
) -> Table:
    """Spline coefficients of the vectors, each basis broadened by its sigma.

    They have PAD more at either end, and so many zeros ``beyond``.
    """
    most = max(len(basis.vectors) for basis in bases)
    parts = []
    for basis, sigma in zip(bases, sigmas, strict=True):
        spline = coefficients(torch.nn.functional.pad(broadened(basis, sigma), (PAD, PAD)))
        more = most - len(spline)
        parts.append(torch.nn.functional.pad(spline, (beyond, beyond, 0, more)))
    size = torch.tensor([part.shape[1] for part in parts])
    values = torch.cat(parts, 1)
    return Table(
        values=(values if beyond else values.T.contiguous()).to(device),
        start=(size.cumsum(0) - size).to(device),
        size=size.to(device),
        origin=torch.tensor([basis.k0 - PAD - beyond for basis in bases]).to(device),
    )
