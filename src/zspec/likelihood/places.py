"""Bases at native pixels: cubic splines, looked up at the shift of each candidate.

Where native pixels are as wide as those of the grid (SDSS) and stand in a row, all of them lie at
one fraction of a pixel, and four shifted stretches of the table are all that is needed. Elsewhere
every pixel looks up four places of its own. All bases stand in one table, one after the other, so
that candidates of different classes are fitted together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from zspec.likelihood.basis import Basis, broadened
from zspec.likelihood.interpolation import coefficients, slopes, taps
from zspec.likelihood.pixels import Native

PAD = 24
"""Zeros beyond the ends of a basis, so that its spline runs out to 0: to 1e-12 at the last four."""
RHYTHM = 512
"""Tables of stretches are longer by multiples of it, so that spectra share them."""

Weights = Callable[[torch.Tensor], torch.Tensor]
"""Fractions (...) to weights (..., 4) of four neighbours."""


@dataclass(frozen=True)
class Stretch:
    """Bases at m candidates' pixels, which are neighbours on the grid."""

    table: torch.Tensor
    """(K, place) spline coefficients, with more zeros about a basis than a stretch is long."""
    first: torch.Tensor
    """(m,) place one before the first pixel."""
    size: int
    """Places of a stretch: pixels and 3."""
    fraction: torch.Tensor
    """(m, 1) of a pixel, the same for all."""

    def __getitem__(self, some: slice) -> Stretch:
        """The same of some candidates."""
        return Stretch(self.table, self.first[some], self.size, self.fraction[some])

    def design(self, root: torch.Tensor) -> torch.Tensor:
        """(m, 2 K, pixel) the vectors, and their slopes, times ``root`` (m, pixel)."""
        values, size = self._cut(), self.table.shape[0]
        out = values.new_empty(len(values), 2 * size, values.shape[-1] - 3)
        _slide(values, taps(self.fraction), out[:, :size])
        _slide(values, slopes(self.fraction), out[:, size:])
        return out.mul_(root[:, None])

    def mixed(self, c: torch.Tensor) -> torch.Tensor:
        """(m, pixel) mixtures ``c`` (m, K)."""
        values = c[:, None] @ self._cut()
        out = values.new_empty(len(values), 1, values.shape[-1] - 3)
        return _slide(values, taps(self.fraction), out)[:, 0]

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
    at: torch.Tensor
    """(m, pixel, 4) places in the table around each pixel."""
    fraction: torch.Tensor
    """(m, pixel) beyond the second of the four."""

    def __getitem__(self, some: slice) -> Scattered:
        """The same of some candidates."""
        return Scattered(self.table, self.at[some], self.fraction[some])

    def design(self, root: torch.Tensor) -> torch.Tensor:
        """(m, 2 K, pixel) the vectors, and their slopes, times ``root`` (m, pixel)."""
        both = [self._summed(w(self.fraction) * root[..., None]) for w in (taps, slopes)]
        return torch.cat(both, -1).mT

    def mixed(self, c: torch.Tensor) -> torch.Tensor:
        """(m, pixel) mixtures ``c`` (m, K)."""
        return (self._summed(taps(self.fraction)) @ c[..., None])[..., 0]

    def _summed(self, weights: torch.Tensor) -> torch.Tensor:
        """(m, pixel, K) sums of four neighbours by weights (m, pixel, 4)."""
        summed = torch.nn.functional.embedding_bag(
            self.at.flatten(0, 1), self.table, per_sample_weights=weights.flatten(0, 1), mode="sum"
        )
        return summed.view(*self.fraction.shape, -1)


def _slide(values: torch.Tensor, weights: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """Sums of four neighbours of values (m, V, pixel + 3) by weights (m, 1, 4), in ``out``."""
    count = out.shape[-1]
    torch.mul(values[..., :count], weights[..., :1], out=out)
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
            return Stretch(table.values, first[:, 0], size, moved - whole)
        around = first[..., None] + torch.arange(4, device=shift.device)
        return Scattered(table.values, around, moved - whole)


def lookup(bases: Sequence[Basis], sigmas: Sequence[float], pixels: Native) -> Lookup:
    """How to find bases, each broadened by its sigma in grid pixels, at the pixels of spectra."""
    neighbours, position = pixels.consecutive, pixels.position
    beyond = RHYTHM * ((len(position) + 3) // RHYTHM + 1) if neighbours else 0
    table = _table(tuple(bases), tuple(sigmas), beyond, pixels.flux.device)
    return Lookup(table, position, neighbours)


@lru_cache(maxsize=32)
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
