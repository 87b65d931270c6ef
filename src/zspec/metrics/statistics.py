"""Statistics of rows, and their bootstrap over objects, fast enough for a million rows.

A metric is one of three: a function of sums over rows (:class:`Sums`), a median (:class:`Median`),
or a median of distances from a median (:class:`Spread`). All are resampled with one matrix of
weights, (replicate, block), that is drawn once. A block is one object; above ``BLOCKS`` objects it
is a random set of several, which keeps the variance of the sums right to 1 / sqrt(2 BLOCKS) of its
root, 1 %. Sums of a block are formed once, so that a replicate costs nothing per row.

A median of up to ``EXACT`` rows is taken exactly in each replicate. Of more rows only the window of
values is counted in which a replicate's median can lie, in bins that are narrower by far than the
spread of the replicates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BLOCKS = 4096
"""Most blocks that are drawn from."""
EXACT = 1000
"""Rows up to which a median is taken exactly in each replicate."""
WINDOW = 8.0
"""Half width of the window of a median, in standard deviations of its rank."""
BINS = 256
"""Bins of that window."""
CENTRES = 5
"""Centres at which a spread is computed; replicates' own centres are interpolated between them."""


def identity(x: Floats) -> Floats:
    """``x`` itself."""
    return x


def ratio(sums: Floats) -> Floats:
    """Column 0 over column 1 of (..., code, column) sums; NaN where that is 0 / 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        out: Floats = sums[..., 0, 0] / sums[..., 0, 1]
    return out


@dataclass(frozen=True)
class Draw:
    """What is drawn in each replicate."""

    block: NDArray[np.intp]
    """(n,) block of each row."""
    weights: NDArray[np.float32]
    """(replicate, block) how often each is drawn."""

    def __getitem__(self, rows: NDArray[Any]) -> Draw:
        """The same draw for some of the rows."""
        return Draw(self.block[rows], self.weights)

    def sums(self, columns: tuple[NDArray[Any], ...], code: NDArray[Any], codes: int) -> Floats:
        """(block, code, column) sums of the columns over the rows of each block and code."""
        blocks = self.weights.shape[1]
        cell = self.block * codes + code
        sums = [np.bincount(cell, column, blocks * codes) for column in columns]
        shape = (blocks, codes, len(columns))
        return np.stack(sums, axis=-1).reshape(shape).astype(np.float64)


def draw(objects: NDArray[np.integer[Any]], replicates: int, seed: int) -> Draw:
    """Weights of a bootstrap over objects; ``objects``: (n,) index of the object of each row.

    Rows of one object are drawn together. Empty input gives an empty draw.
    """
    rng = np.random.default_rng(seed)
    number = int(objects.max(initial=-1)) + 1
    blocks = min(number, BLOCKS)
    block_of = np.arange(number) if number == blocks else rng.permutation(number) % blocks
    weights = np.zeros((replicates, blocks), np.float32)
    for one in weights:
        one[:] = np.bincount(rng.integers(0, blocks, blocks), minlength=blocks)
    return Draw(block_of[objects], weights)


@dataclass(frozen=True)
class Sums:
    """A function of sums over rows: a mean, a fraction, a ratio, a histogram."""

    columns: tuple[NDArray[Any], ...]
    """(n,) each."""
    code: NDArray[np.integer[Any]] | None = None
    """(n,) sums are formed for each code apart; None: all rows are code 0."""
    codes: int = 1
    finish: Callable[[Floats], Floats] = ratio
    """(..., code, column) sums to (...) values."""

    @property
    def total(self) -> Floats:
        """(code, column) sums over all rows."""
        rows = np.zeros(len(self.columns[0]), np.intp)
        once = Draw(rows, np.ones((1, 1), np.float32))
        sums: Floats = once.sums(self.columns, self._code, self.codes)[0]
        return sums

    @property
    def value(self) -> float:
        """NaN where there is nothing to form it of."""
        return float(self.finish(self.total))

    def replicates(self, drawn: Draw) -> Floats:
        """(replicate,) values."""
        sums = drawn.sums(self.columns, self._code, self.codes)
        drawn_sums = np.tensordot(drawn.weights.astype(np.float64), sums, axes=1)
        return self.finish(drawn_sums)

    @property
    def _code(self) -> NDArray[np.integer[Any]]:
        return np.zeros(len(self.columns[0]), np.intp) if self.code is None else self.code


def mean(x: NDArray[Any]) -> Sums:
    """The mean of a column, a fraction where it is boolean."""
    return Sums((x, np.ones(len(x))))


@dataclass(frozen=True)
class Median:
    """The median of a column."""

    x: Floats

    @property
    def value(self) -> float:
        """NaN of no rows."""
        return float(np.median(self.x)) if len(self.x) else np.nan

    def replicates(self, drawn: Draw) -> Floats:
        """(replicate,) medians."""
        return medians(self.x, drawn)


@dataclass(frozen=True)
class Spread:
    """1.48 median(|x - median x| / width): a standard deviation that outliers do not touch."""

    x: Floats
    width: Floats | float = 1.0
    finish: Callable[[Floats], Floats] = identity

    @property
    def value(self) -> float:
        """NaN of no rows."""
        if not len(self.x):
            return np.nan
        centre = np.median(self.x)
        spread = 1.48 * np.median(np.abs(self.x - centre) / self.width)
        return float(self.finish(np.asarray(spread)))

    def replicates(self, drawn: Draw) -> Floats:
        """(replicate,) spreads, each about its own median."""
        centre = medians(self.x, drawn)
        if len(self.x) <= EXACT:
            distance = np.abs(self.x - centre[:, None]) / self.width
            return self.finish(1.48 * _exact(distance, drawn.weights[:, drawn.block]))
        grid = np.unique(np.linspace(np.nanmin(centre), np.nanmax(centre), CENTRES))
        at = [medians(np.abs(self.x - c) / self.width, drawn) for c in grid]
        return self.finish(1.48 * _between(centre, grid, np.stack(at)))


Statistic = Sums | Median | Spread


def medians(x: Floats, drawn: Draw) -> Floats:
    """(replicate,) medians of x: (n,); NaN where a replicate has no row."""
    if len(x) <= EXACT:
        shape = (len(drawn.weights), len(x))
        return _exact(np.broadcast_to(x, shape), drawn.weights[:, drawn.block])
    return _windowed(x, drawn)


def _exact(x: Floats, weights: NDArray[np.float32]) -> Floats:
    """(replicate,) medians of x: (replicate, n) of which each value counts ``weights`` times."""
    order = np.argsort(x, axis=1)
    x = np.take_along_axis(x, order, axis=1)
    rank = np.cumsum(np.take_along_axis(weights, order, axis=1), axis=1)
    if not x.shape[1]:
        return np.full(len(x), np.nan)
    total = rank[:, -1:]
    low = np.argmax(rank > np.floor((total - 1) / 2), axis=1)
    high = np.argmax(rank > np.floor(total / 2), axis=1)
    rows = np.arange(len(x))
    middle: Floats = (x[rows, low] + x[rows, high]) / 2
    return np.where(total[:, 0] > 0, middle, np.nan)


def _windowed(x: Floats, drawn: Draw) -> Floats:
    """(replicate,) medians, from counts in narrow bins about the median of all rows."""
    edges = _edges(x, drawn)
    below = np.searchsorted(edges, x, side="right")  # rows under edge j have below <= j
    ones = np.ones(len(x))
    counts = drawn.sums((ones,), below, len(edges) + 1)[..., 0].astype(np.float32)
    drawn_counts = drawn.weights @ counts  # (replicate, bin): whole numbers, exact in float32
    rank = np.cumsum(drawn_counts, axis=1, dtype=np.float64)
    half, rank = rank[:, -1] / 2, rank[:, :-1]
    if len(edges) == 1:
        return np.full(len(half), edges[0])
    right = np.clip((rank < half[:, None]).sum(axis=1), 1, len(edges) - 1)
    rows = np.arange(len(rank))
    start, stop = rank[rows, right - 1], rank[rows, right]
    share = np.clip((half - start) / np.maximum(stop - start, 1), 0, 1)
    out: Floats = edges[right - 1] + share * (edges[right] - edges[right - 1])
    return out


def _edges(x: Floats, drawn: Draw) -> Floats:
    """Values of x at ranks about the middle, as far as the median of a replicate can lie.

    The rank of the median varies by the root of the sum of squares of what each block has more rows
    below than above it.
    """
    ordered = np.sort(x)
    excess = np.bincount(drawn.block, np.where(x < ordered[len(x) // 2], 0.5, -0.5))
    reach = max(WINDOW * float(np.sqrt((excess**2).sum())), BINS / 2)
    ranks = np.linspace(len(x) / 2 - reach, len(x) / 2 + reach, BINS + 1)
    return np.unique(ordered[np.clip(np.rint(ranks), 0, len(x) - 1).astype(np.intp)])


def _between(at: Floats, grid: Floats, values: Floats) -> Floats:
    """values: (grid, replicate), interpolated to ``at``: (replicate,) on the grid's axis."""
    if len(grid) == 1:
        return np.asarray(values[0])
    right = np.clip(np.searchsorted(grid, at), 1, len(grid) - 1)
    share = (at - grid[right - 1]) / (grid[right] - grid[right - 1])
    column = np.arange(len(at))
    out: Floats = values[right - 1, column] * (1 - share) + values[right, column] * share
    return out
