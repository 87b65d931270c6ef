"""Wavelength grids, and resampling between any two of them.

A grid is a list of pixels with a left and a right edge. Linear and log-uniform grids come from
three numbers; a survey's own pixels, arm after arm, are a grid too. Resampling weighs each good
native pixel by overlap x ivar: a constant flux density stays constant exactly, and the integral is
conserved exactly where ivar is equal (``weights="overlap"`` conserves it always).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from zspec.errors import ConfigError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Float = NDArray[np.float64]
Weights = Literal["ivar", "overlap"]


@dataclass(frozen=True)
class WaveGrid:
    """Pixels in Å, vacuum, observed frame. Build it with ``linear``, ``log`` or ``native``."""

    kind: Literal["linear", "log", "native"]
    start: float = 0.0
    """First centre in Å (linear), or k of log10 λ = k · step (log; a whole number)."""
    step: float = 0.0
    """Å (linear) or dex (log)."""
    size: int = 0
    """Number of pixels (linear and log)."""
    segments: tuple[tuple[float, ...], ...] = ()
    """Centres in Å of each arm (native), arm after arm."""

    @classmethod
    def linear(cls, start: float, step: float, size: int) -> WaveGrid:
        """``size`` pixels of ``step`` Å from ``start`` Å. GaSNet-II: linear(4000, 1, 5001)."""
        return cls("linear", float(start), float(step), int(size))

    @classmethod
    def log(cls, first: float, last: float, step: float = 1e-4) -> WaveGrid:
        """Log-uniform pixels that lie within first..last (Å), on the phase log10 λ = k · step."""
        k0 = int(np.ceil(np.log10(first) / step - 1e-6))
        k1 = int(np.floor(np.log10(last) / step + 1e-6))
        return cls("log", float(k0), step, k1 - k0 + 1)

    @classmethod
    def native(cls, *waves: NDArray[np.floating]) -> WaveGrid:
        """The given pixels, (pixel,) Å of each arm; wavelengths increase within an arm."""
        return cls("native", segments=tuple(tuple(float(w) for w in wave) for wave in waves))

    def __len__(self) -> int:
        """Number of pixels."""
        return sum(map(len, self.segments)) if self.kind == "native" else self.size

    @property
    def wave(self) -> Float:
        """(wave,) pixel centres in Å."""
        return _pixels(self)[0]

    @property
    def edges(self) -> tuple[Float, Float]:
        """(wave,) left and (wave,) right edges in Å."""
        return _pixels(self)[1:]

    def to_dict(self) -> dict[str, Any]:
        """What a checkpoint stores."""
        if self.kind == "native":
            return {"kind": self.kind, "segments": [list(s) for s in self.segments]}
        return {"kind": self.kind, "start": self.start, "step": self.step, "size": self.size}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> WaveGrid:
        """The grid that ``to_dict`` stored. Raises ConfigError for anything else."""
        try:
            if stored["kind"] == "native":
                made = cls.native(*[np.asarray(s, float) for s in stored["segments"]])
            else:
                start, step = float(stored["start"]), float(stored["step"])
                made = cls(stored["kind"], start, step, int(stored["size"]))
            made._check()
        except (KeyError, TypeError, ValueError):
            raise ConfigError(f"no wavelength grid: {str(dict(stored))[:80]}") from None
        return made

    def _check(self) -> None:
        """Raise ValueError where this is no list of increasing wavelengths."""
        if self.kind == "native":
            fine = bool(self.segments) and all(np.all(np.diff(s) > 0) for s in self.segments)
        else:
            fine = self.kind in ("linear", "log") and self.size > 0 and self.step > 0
        if not fine or not np.all(np.isfinite(self.wave)) or np.any(self.wave <= 0):
            raise ValueError("wavelengths must be finite, > 0 and increasing")


@lru_cache(maxsize=64)
def _pixels(grid: WaveGrid) -> tuple[Float, Float, Float]:
    """Centres, left and right edges of a grid, (wave,) Å each."""
    if grid.kind == "native":
        parts = [(np.asarray(s), *bounds(np.asarray(s))) for s in grid.segments]
        centre, left, right = (np.concatenate(p) for p in zip(*parts, strict=True))
    else:
        spacing = grid.step if grid.kind == "linear" else 1.0
        x = grid.start + np.arange(grid.size) * spacing
        centre, left, right = x, x - spacing / 2, x + spacing / 2
        if grid.kind == "log":
            centre, left, right = (10 ** (e * grid.step) for e in (centre, left, right))
    for array in (centre, left, right):
        array.setflags(write=False)  # cached, so shared
    return centre, left, right


def bounds(wave: NDArray[np.floating]) -> tuple[Float, Float]:
    """Left and right edges (Å) of pixels with increasing centres ``wave`` (Å): midway between.

    The outer half of the first and the last pixel mirrors the inner one; a lone pixel is 1 Å wide.
    """
    centre: Float = np.asarray(wave, np.float64)
    if len(centre) < 2:
        return centre - 0.5, centre + 0.5
    middle = 0.5 * (centre[1:] + centre[:-1])
    left = np.concatenate([[2 * centre[0] - middle[0]], middle])
    right = np.concatenate([middle, [2 * centre[-1] - middle[-1]]])
    return left, right


def overlap(wave: NDArray[np.float64], grid: WaveGrid) -> csr_array:
    """Sparse (grid pixel, native pixel) matrix of the length in Å that two pixels share."""
    key = np.ascontiguousarray(wave, np.float64).tobytes()
    return _overlap(key, grid)


@lru_cache(maxsize=32)
def _overlap(key: bytes, grid: WaveGrid) -> csr_array:
    """``overlap`` by the bytes of the native centres, so that it is built once per instrument."""
    from scipy.sparse import csr_array, vstack

    left, right = bounds(np.frombuffer(key, np.float64))
    out_left, out_right = grid.edges
    sizes = [len(s) for s in grid.segments] or [len(grid)]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    parts = [
        _segment_overlap(left, right, out_left[a:b], out_right[a:b]) for a, b in pairwise(starts)
    ]
    return csr_array(vstack(parts, format="csr"))


def _segment_overlap(left: Float, right: Float, out_left: Float, out_right: Float) -> csr_array:
    """Overlap of native pixels with one run of increasing output pixels, (out, native)."""
    from scipy.sparse import csr_array

    first = np.searchsorted(right, out_left, side="right")
    last = np.searchsorted(left, out_right, side="left")
    count = np.maximum(last - first, 0)
    indptr = np.concatenate([[0], np.cumsum(count)])
    out = np.repeat(np.arange(len(count)), count)
    native = np.arange(indptr[-1]) - indptr[out] + first[out]
    length = np.minimum(right[native], out_right[out]) - np.maximum(left[native], out_left[out])
    shape = (len(out_left), len(left))
    return csr_array((np.maximum(length, 0), native, indptr), shape=shape)


def resample(
    wave: NDArray[np.float64],
    flux: NDArray[np.floating],
    ivar: NDArray[np.floating],
    grid: WaveGrid,
    weights: Weights = "ivar",
) -> tuple[Float, Float]:
    """Flux and ivar of n spectra on ``grid``.

    wave: (pixel,) Å; flux, ivar: (n, pixel). Returns (n, wave) flux and ivar; both 0 where no good
    pixel overlaps. With o the overlap in Å and v = 1/ivar, flux = Σ o w f / Σ o w and
    ivar = (Σ o w)² / Σ o² w² v, where w is ivar, or 1 for good pixels if ``weights`` is "overlap".
    A pixel with ivar 0 adds nothing. Neighbouring output pixels share native ones, so that a
    diagonal ivar overcounts: do not compute chi2 from it on a grid finer than native.
    """
    matrix = overlap(wave, grid)
    ivar64 = np.asarray(ivar, np.float64)
    good = ivar64 > 0
    weight = ivar64 if weights == "ivar" else good.astype(np.float64)
    variance = np.divide(1.0, ivar64, out=np.zeros_like(ivar64), where=good)
    total = (matrix @ weight.T).T  # (n, wave)
    numerator = (matrix @ (weight * flux).T).T
    noise = (matrix.power(2) @ (weight**2 * variance).T).T
    seen = (total > 0) & (noise > 0)
    new_flux = np.divide(numerator, total, out=np.zeros_like(total), where=seen)
    new_ivar = np.divide(total**2, noise, out=np.zeros_like(total), where=seen)
    return new_flux, new_ivar
