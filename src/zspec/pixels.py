"""Chunks that wait for a model: what their pixels say whatever is asked of them, and their grid.

Nothing here needs a model or a device, so that other processes can do it ahead of one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zspec import arms
from zspec.estimator import Chunk, Estimator
from zspec.grid import WaveGrid, overlap
from zspec.survey import Spectra
from zspec.timing import Stopwatch


@dataclass(frozen=True)
class Form:
    """What a model wants of a chunk."""

    rows: int
    """Spectra of an arithmetic chunk."""
    grid: WaveGrid | None = None
    """The model's, over which coverage is judged; None: the survey's."""
    resampled: bool = False
    """Whether spectra are to be on ``grid``."""

    @classmethod
    def of(cls, estimator: Estimator, rows: int = 0) -> Form:
        """What an estimator wants."""
        grid = estimator.grid
        return cls(rows, grid, "grid" in estimator.needs and grid is not None)


@dataclass(frozen=True)
class Pixels:
    """What the pixels of n spectra say."""

    count: NDArray[np.int64]
    """(n,) good native pixels: NPIXELS."""
    arms: NDArray[np.str_]
    """(n,) names of the arms with any good pixel, as BRZ."""
    snr: NDArray[np.float64]
    """(n,) as the file states it, else the median of flux/error over good pixels; 0 if none."""
    coverage: NDArray[np.float64]
    """(n,) share of the grid's pixels that a good native pixel touches."""


@dataclass(frozen=True)
class Ready:
    """A chunk that only lacks its prediction. It goes from process to process as plain arrays."""

    chunk: Chunk
    pixels: Pixels
    default: WaveGrid
    """The survey's grid."""

    @property
    def nbytes(self) -> int:
        """Of its large arrays."""
        found: list[Any] = [self.chunk.spectra.arms]
        if self.chunk.is_resampled:
            found.append([self.chunk.batch])
        held = [vars(one).values() for group in found for one in group]
        return sum(value.nbytes for values in held for value in values if hasattr(value, "nbytes"))


def prepare(
    spectra: Spectra, form: Form, default: WaveGrid, watch: Stopwatch | None = None
) -> Ready:
    """One chunk; ``default`` is the survey's grid. ``watch`` takes the time of it."""
    watch = watch or Stopwatch({})
    chunk = Chunk(spectra, form.grid)
    if form.resampled:
        _ = chunk.batch  # here and not within predict, for its time
        watch.lap("resample")
    ready = Ready(chunk, look(spectra, form.grid or default), default)
    watch.lap("tables")
    return ready


def cut(
    chunks: Iterator[Spectra], form: Form, default: WaveGrid, watch: Stopwatch
) -> Iterator[Ready]:
    """Chunks as an adapter gives them, in those that a model takes; the last may be shorter."""
    for spectra in chunks:
        for piece in spectra.split(form.rows):
            watch.lap("read")
            yield prepare(piece, form, default, watch)
            watch.skip()  # what became of it meanwhile
    watch.lap("read")


def look(spectra: Spectra, grid: WaveGrid) -> Pixels:
    """What the pixels say; coverage is that of ``grid``."""
    none = np.zeros(len(spectra), np.int64)
    return Pixels(
        count=sum((arm.usable.sum(axis=1) for arm in spectra.arms), none),
        arms=_arms(spectra),
        snr=_snr(spectra),
        coverage=_coverage(spectra, grid),
    )


def _coverage(spectra: Spectra, grid: WaveGrid) -> NDArray[np.float64]:
    seen = np.zeros((len(grid), len(spectra)), bool)
    for arm in spectra.arms:
        seen |= (overlap(arm.wave, grid) @ arm.usable.T.astype(np.float64)) > 0
    share: NDArray[np.float64] = seen.mean(axis=0)
    return share


def _arms(spectra: Spectra) -> NDArray[np.str_]:
    text = np.full(len(spectra), "", "U1")
    for arm in spectra.arms:
        text = np.char.add(text, np.where(arm.usable.any(axis=1), arm.name, ""))
    return text


def _snr(spectra: Spectra) -> NDArray[np.float64]:
    merged = arms.merge(spectra.arms)
    parts = [merged] if merged is not None else list(spectra.arms)
    ratio = np.concatenate([a.flux * np.sqrt(a.ivar) for a in parts], axis=1)
    good = np.concatenate([a.usable for a in parts], axis=1)
    measured = _median(ratio, good)
    if spectra.snr is None:
        return measured
    return np.where(np.isfinite(spectra.snr), spectra.snr, measured)


def _median(values: NDArray[np.float32], good: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(n,) median of the good values of each row, 0 where there is none.

    Sorting whole rows of float32 takes a fourth of what nanmedian does, which goes row by row.
    """
    if not values.size:
        return np.zeros(len(values))
    ordered = np.sort(np.where(good, values, np.float32(np.inf)), axis=1)
    count, row = good.sum(axis=1), np.arange(len(good))
    middle = [ordered[row, np.maximum(at, 0)] for at in ((count - 1) // 2, count // 2)]
    low, high = (np.where(count > 0, value, 0).astype(np.float64) for value in middle)
    return (low + high) / 2
