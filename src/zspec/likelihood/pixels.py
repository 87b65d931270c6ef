"""Native pixels of all arms, and their weighted sums on the common log grid.

With P_ij the share of native pixel i that lies in grid pixel j: w_j = Σ_i P_ij ivar_i and
(wd)_j = Σ_i P_ij ivar_i d_i. Then Σ_j (wd)_j m_j = Σ_i ivar_i d_i m̄_i for every model m with m̄ its
mean in pixel i: the linear term of chi2 is exact on any pixels. The quadratic term is exact where
grid and native pixels have one phase (SDSS), and close where they are of a size (DESI). Arms need
no merging: an overlap is just more pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate, pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from zspec.device import move
from zspec.likelihood.basis import STEP
from zspec.survey import Arm

Array = NDArray[np.float64]

NPOLY = 3
"""Nuisance polynomials of each arm: offset, slope and curvature in log λ."""
START = 120
"""Windows start at multiples of this many grid pixels, so that spectra share their tables."""
ALIKE = 1e-6
"""Grid pixels: native pixels whose distances, or places, differ from the grid's by less are its."""
LENGTH = 240
"""Windows have multiples of this many grid pixels, for the same reason; a whole number of steps of
every scan."""


@dataclass(frozen=True)
class Window:
    """A stretch of the common grid that holds all pixels of a spectrum."""

    start: int
    """Grid index of its first pixel."""
    length: int
    """Number of pixels."""


@dataclass(frozen=True)
class Native:
    """The pixels of all arms of n spectra, one arm after the other; float64."""

    waves: tuple[Array, ...]
    """Wavelengths of each arm, Å, vacuum."""
    flux: torch.Tensor
    """(n, pixel) 0 where ivar is 0."""
    ivar: torch.Tensor
    """(n, pixel) 0 where there is no information."""

    def __getitem__(self, rows: torch.Tensor | slice) -> Native:
        """The pixels of some of the spectra."""
        return Native(self.waves, self.flux[rows], self.ivar[rows])

    def to(self, device: str) -> Native:
        """The same on a device."""
        return Native(self.waves, move(self.flux, device), move(self.ivar, device))

    def __len__(self) -> int:
        """Number of spectra."""
        return len(self.flux)

    @property
    def position(self) -> torch.Tensor:
        """(pixel,) grid index, with fraction, of every native pixel."""
        return _position(self._key).to(self.flux.device)

    @property
    def consecutive(self) -> bool:
        """Whether pixels are as wide as those of the grid and stand in a row, as SDSS's do."""
        return _consecutive(self._key)

    @property
    def arms(self) -> list[slice]:
        """The pixels of each arm."""
        ends = list(accumulate(len(wave) for wave in self.waves))
        return [slice(*each) for each in pairwise([0, *ends])]

    @property
    def apart(self) -> tuple[Native, ...]:
        """Each arm as if it were all there is."""
        return (self,) if len(self.waves) == 1 else self._apart

    @cached_property
    def _apart(self) -> tuple[Native, ...]:
        given = zip(self.waves, self.arms, strict=True)
        return tuple(Native((w,), self.flux[:, part], self.ivar[:, part]) for w, part in given)

    @cached_property
    def polynomials(self) -> torch.Tensor:
        """(n, arm * NPOLY, pixel) Legendre polynomials over a row's good pixels of each arm.

        Every arm has its own, 0 in the others, so that a step between arms is no feature. So has
        every row: where one fills little of an arm, polynomials over the whole would be alike there
        to within rounding, and its answer would depend on the ends of the rows beside it.
        """
        if len(self.waves) == 1:
            return _legendre(self.position, self.ivar > 0)
        out = self.flux.new_zeros(len(self), NPOLY * len(self.waves), self.flux.shape[1])
        for number, (part, one) in enumerate(zip(self.arms, self.apart, strict=True)):
            out[:, own(number), part] = one.polynomials
        return out

    @cached_property
    def information(self) -> torch.Tensor:
        """(n, arm * NPOLY, pixel) the polynomials times ivar."""
        return self.ivar[:, None] * self.polynomials

    @cached_property
    def gram(self) -> torch.Tensor:
        """(n, arm * NPOLY, arm * NPOLY) products of the polynomials, weighted by ivar."""
        return self.information @ self.polynomials.mT

    @cached_property
    def overlap(self) -> torch.Tensor:
        """(n, arm * NPOLY, 1) products of the polynomials with the data, weighted by ivar."""
        return self.information @ self.flux[..., None]

    @property
    def window(self) -> Window:
        """The smallest window on the common rhythm that holds every pixel."""
        return _window(self._key)

    @cached_property
    def _key(self) -> tuple[bytes, ...]:
        """What tables that depend on wavelengths alone are kept by."""
        return tuple(wave.tobytes() for wave in self.waves)


def own(number: int) -> slice:
    """Which of all arms' polynomials those of one arm are."""
    return slice(NPOLY * number, NPOLY * (number + 1))


@dataclass(frozen=True)
class Sums:
    """What the likelihood at every redshift needs to know of n spectra; float64."""

    window: Window
    weight: torch.Tensor
    """(n, length) Σ P ivar."""
    weighted: torch.Tensor
    """(n, length) Σ P ivar d."""
    square: torch.Tensor
    """(n,) Σ ivar d² over native pixels: chi2 of the model 0."""

    def __getitem__(self, rows: torch.Tensor | slice) -> Sums:
        """The sums of some of the spectra."""
        return Sums(self.window, self.weight[rows], self.weighted[rows], self.square[rows])


def native(arms: Sequence[Arm]) -> Native:
    """All arms side by side. Arms hold flux 0 and ivar 0 where a pixel is not good."""
    flux = np.concatenate([arm.flux for arm in arms], axis=1, dtype=np.float64)
    ivar = np.concatenate([arm.ivar for arm in arms], axis=1, dtype=np.float64)
    return Native(tuple(arm.wave for arm in arms), torch.from_numpy(flux), torch.from_numpy(ivar))


def trimmed(pixels: Native) -> tuple[Native, torch.Tensor]:
    """Without the ends of arms where no spectrum has data, and the numbers of what is kept."""
    used = pixels.ivar.any(0).cpu().numpy()
    waves, kept = [], []
    for wave, arm in zip(pixels.waves, pixels.arms, strict=True):
        inside = np.flatnonzero(used[arm])
        if len(inside):
            part = slice(inside[0], inside[-1] + 1)
            waves.append(wave[part])
            kept.append(arm.start + np.arange(len(wave))[part])
    columns = torch.from_numpy(np.concatenate(kept)).to(pixels.flux.device)
    return Native(tuple(waves), pixels.flux[:, columns], pixels.ivar[:, columns]), columns


def between(pixels: Native) -> torch.Tensor:
    """(n, pixel) bool: from the first good pixel of a row to its last, in each arm."""
    good = (pixels.ivar > 0).int()
    parts = [good[:, arm] for arm in pixels.arms]
    inside = [(part.cummax(1)[0] & part.flip(1).cummax(1)[0].flip(1)).bool() for part in parts]
    return torch.cat(inside, 1)


def gather(pixels: Native) -> Sums:
    """Sum all pixels on the common grid. A pixel with ivar 0 adds nothing."""
    information = pixels.ivar * pixels.flux
    return Sums(
        pixels.window,
        weight=on_grid(pixels, pixels.ivar),
        weighted=on_grid(pixels, information),
        square=(information * pixels.flux).sum(1),
    )


def on_grid(pixels: Native, values: torch.Tensor, window: Window | None = None) -> torch.Tensor:
    """(..., length) Σ_i P_ij v_i of values (..., pixel) of native pixels.

    ``window`` may be larger than the pixels' own.
    """
    window, first = window or pixels.window, _aligned(pixels._key)
    if first is not None:  # P is a unit matrix with more rows
        before = first - window.start
        return torch.nn.functional.pad(values, (before, window.length - before - values.shape[-1]))
    share = _shares(pixels._key, window, values.device)
    summed: torch.Tensor = torch.sparse.mm(share, values.reshape(-1, values.shape[-1]).T).T
    return summed.reshape(*values.shape[:-1], window.length)


@lru_cache(maxsize=64)
def _position(waves: tuple[bytes, ...]) -> torch.Tensor:
    """See :attr:`Native.position`."""
    return torch.from_numpy(np.log10(np.concatenate([np.frombuffer(w) for w in waves])) / STEP)


@lru_cache(maxsize=64)
def _window(waves: tuple[bytes, ...]) -> Window:
    """See :attr:`Native.window`."""
    edges = np.concatenate([_edges(np.frombuffer(wave))[[0, -1]] for wave in waves]) + 0.5
    start = math.floor(edges.min() / START) * START
    return Window(start, math.ceil((edges.max() - start) / LENGTH) * LENGTH)


@lru_cache(maxsize=64)
def _aligned(waves: tuple[bytes, ...]) -> int | None:
    """Grid index of the first pixel where native pixels are those of the grid, in a row."""
    position = _position(waves)
    aligned = _consecutive(waves) and bool(((position - position.round()).abs() < ALIKE).all())
    return round(float(position[0])) if aligned else None


@lru_cache(maxsize=64)
def _consecutive(waves: tuple[bytes, ...]) -> bool:
    """See :attr:`Native.consecutive`."""
    return bool(((_position(waves).diff() - 1).abs() < ALIKE).all())


def _legendre(position: torch.Tensor, good: torch.Tensor) -> torch.Tensor:
    """(n, NPOLY, pixel) polynomials over the range of the ``good`` pixels (n, pixel) of one arm.

    A range is one grid pixel at least; without a good pixel they are finite, and of no meaning.
    """
    low = torch.where(good, position, position[-1]).amin(1, keepdim=True)
    high = torch.where(good, position, position[0]).amax(1, keepdim=True)
    x = (2 * position - low - high) / (high - low).clamp(min=1.0)
    out = [torch.ones_like(x), x]
    for k in range(1, NPOLY - 1):  # Abramowitz & Stegun 1964, eq. 22.7.10
        out.append(((2 * k + 1) * x * out[k] - k * out[k - 1]) / (k + 1))
    return torch.stack(out, 1)


def _edges(wave: Array) -> Array:
    """(pixel + 1,) edges of native pixels as grid index: half-way between their centres."""
    x = np.log10(wave) / STEP
    if len(x) == 1:
        return np.array([x[0] - 0.5, x[0] + 0.5])
    middle = (x[1:] + x[:-1]) / 2
    return np.concatenate([[2 * x[0] - middle[0]], middle, [2 * x[-1] - middle[-1]]])


@lru_cache(maxsize=64)
def _shares(waves: tuple[bytes, ...], window: Window, device: torch.device) -> torch.Tensor:
    """(length, pixel) sparse P: the share of each native pixel in each grid pixel."""
    edges = [_edges(np.frombuffer(wave)) + 0.5 - window.start for wave in waves]
    low = np.concatenate([e[:-1] for e in edges])  # grid pixel j covers [j, j + 1)
    high = np.concatenate([e[1:] for e in edges])
    first = np.floor(low).astype(int)
    count = np.ceil(high).astype(int) - first
    pixel = np.repeat(np.arange(len(low)), count)
    target = first[pixel] + np.arange(len(pixel)) - np.repeat(np.cumsum(count) - count, count)
    share = np.minimum(high[pixel], target + 1) - np.maximum(low[pixel], target)
    share /= (high - low)[pixel]
    shape, places = (window.length, len(low)), np.stack([target, pixel])
    given = torch.from_numpy(places), torch.from_numpy(share)
    return torch.sparse_coo_tensor(*given, shape, check_invariants=True).coalesce().to(device)
