"""Merging the arms of a spectrograph into one spectrum.

Where overlapping arms share a phase (DESI: 0.8 Å pixels on one grid) they merge pixel on pixel and
nothing is interpolated. Otherwise each arm is resampled to the common grid and they are combined
there, by inverse variance.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from zspec.grid import Float, WaveGrid, resample
from zspec.survey import Arm

PHASE_TOLERANCE = 1e-3
"""Fraction of a pixel by which centres may differ and still be the same pixel."""


def merge(arms: Sequence[Arm]) -> Arm | None:
    """One arm with the pixels of all, or None where overlapping arms do not share their pixels.

    Pixels with the same centre are averaged by ivar: flux = Σ ivar f / Σ ivar, ivar = Σ ivar. Arms
    that do not overlap merge always. The order of the arms does not matter. Of several arms the LSF
    is left out.
    """
    if len(arms) == 1:
        return arms[0]
    wave = _union([arm.wave for arm in arms])
    if wave is None:
        return None
    ordered = sorted(arms, key=lambda arm: (arm.wave[0], arm.name))
    shape = (len(ordered[0].flux), len(wave))
    total, weighted = np.zeros(shape), np.zeros(shape)
    for arm in ordered:
        at = _nearest(wave, arm.wave)
        if np.any(np.diff(at) != 1):  # pixels of another width
            return None
        own = slice(at[0], at[-1] + 1)
        total[:, own] += arm.ivar
        weighted[:, own] += arm.ivar.astype(np.float64) * arm.flux
    flux = np.divide(weighted, total, out=np.zeros(shape), where=total > 0)
    return Arm(
        name="".join(arm.name for arm in ordered),
        wave=wave,
        flux=flux.astype(np.float32),
        ivar=total.astype(np.float32),
    )


def to_grid(arms: Sequence[Arm], grid: WaveGrid) -> tuple[Float, Float]:
    """Flux and ivar (n, wave) of all arms on ``grid``: merged first if they can be, else there.

    A grid of native pixels takes each arm into the segment that is its own, and into no other:
    where two bands overlap each keeps its own light.
    """
    if grid.kind == "native":
        parts = [_own_segment(arms, WaveGrid.native(np.array(s))) for s in grid.segments]
        flux, ivar = (np.concatenate(p, axis=1) for p in zip(*parts, strict=True))
        return flux, ivar
    return _combine(arms, grid)


def _combine(arms: Sequence[Arm], grid: WaveGrid) -> tuple[Float, Float]:
    """Flux and ivar (n, wave) of all arms on a grid of one segment; see :func:`to_grid`."""
    merged = merge(arms)
    if merged is not None:
        return resample(merged.wave, merged.flux, merged.ivar, grid)
    parts = [resample(arm.wave, arm.flux, arm.ivar, grid) for arm in arms]
    total = np.sum([ivar for _, ivar in parts], axis=0)
    weighted = np.sum([flux * ivar for flux, ivar in parts], axis=0)
    return np.divide(weighted, total, out=np.zeros_like(total), where=total > 0), total


def _own_segment(arms: Sequence[Arm], segment: WaveGrid) -> tuple[Float, Float]:
    """Flux and ivar (n, pixel) of the arms that share half of their joint range with a segment."""
    own = [arm for arm in arms if _shared(arm.wave, segment.wave) >= 0.5]
    if not own:
        nothing = np.zeros((len(arms[0].flux), len(segment)))
        return nothing, nothing
    return _combine(own, segment)


def _shared(wave: Float, other: Float) -> float:
    """Length that two ranges share, over the length that they cover together."""
    both = min(wave[-1], other[-1]) - max(wave[0], other[0])
    return float(both / (max(wave[-1], other[-1]) - min(wave[0], other[0])))


def _union(waves: Sequence[NDArray[np.float64]]) -> NDArray[np.float64] | None:
    """All centres once, or None where two arms overlap out of phase."""
    every = np.sort(np.concatenate(waves))
    step = min(float(np.min(np.diff(wave))) for wave in waves if len(wave) > 1)
    new = np.concatenate([[True], np.diff(every) > PHASE_TOLERANCE * step])
    union = every[new]
    # within an overlap an arm out of phase leaves pixels closer to each other than one step
    return union if np.all(np.diff(union) > (1 - 10 * PHASE_TOLERANCE) * step) else None


def _nearest(wave: NDArray[np.float64], pixels: NDArray[np.float64]) -> NDArray[np.intp]:
    """Index into ``wave`` of each pixel."""
    right = np.clip(np.searchsorted(wave, pixels), 1, len(wave) - 1)
    closer = pixels - wave[right - 1] < wave[right] - pixels
    return np.where(closer, right - 1, right)
