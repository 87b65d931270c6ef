"""p(z) of many spectra: where it matters, and on steps as fine as it needs there.

A density over spectype and u = ln(1 + z) is a sum of segments. Each belongs to one class and gives
values at evenly spaced u, linear in between and 0 beyond; its first and last value are 0. So a
segment holds exactly step · Σ values of the probability, all of a spectrum's hold 1, and a peak far
narrower than a pixel costs as little as a broad one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Densities:
    """p(z) of n spectra as m segments in the order of their rows."""

    row: NDArray[np.intp]
    """(m,) the spectrum, from 0; not decreasing."""
    label: NDArray[np.int16]
    """(m,) index of the class."""
    start: Floats
    """(m,) ln(1 + z) of the first value."""
    step: Floats
    """(m,) in ln(1 + z)."""
    count: NDArray[np.intp]
    """(m,) number of values."""
    value: NDArray[np.float32]
    """(Σ count,) probability per unit ln(1 + z), one segment after the other."""

    def __len__(self) -> int:
        """Number of segments."""
        return len(self.row)

    def __getitem__(self, keep: NDArray[np.bool_]) -> Densities:
        """Some of the segments (m,) bool, as those of one class; n stays what it is."""
        parts = {name: getattr(self, name)[keep] for name in ("row", "label", "start", "step")}
        value = self.value[np.repeat(keep, self.count)]
        return Densities(**parts, count=self.count[keep], value=value)

    @cached_property
    def offset(self) -> NDArray[np.intp]:
        """(m + 1,) where segments begin in ``value``, and where the last one ends."""
        return np.concatenate([[0], np.cumsum(self.count)]).astype(np.intp)

    @property
    def mass(self) -> Floats:
        """(m,) probability of each segment."""
        owner = np.repeat(np.arange(len(self)), self.count)
        return np.asarray(self.step * np.bincount(owner, self.value, len(self)))

    def values(self) -> list[NDArray[np.float32]]:
        """The values of each segment: m arrays (k,), probability per unit ln(1 + z)."""
        return np.split(self.value, self.offset[1:-1]) if len(self) else []

    def knots(self, segment: int) -> tuple[Floats, Floats]:
        """Places u = ln(1 + z) and densities per unit u of one segment, (k,) each."""
        first, end = self.offset[segment : segment + 2]
        u = self.start[segment] + self.step[segment] * np.arange(end - first)
        return u, self.value[first:end].astype(np.float64)

    def marginal(self, row: int) -> tuple[Floats, Floats]:
        """Places u = ln(1 + z) and p(u) of a spectrum, (k,) each, all classes together.

        Linear in between, 0 beyond. Both are empty where it has no density.
        """
        first, end = np.searchsorted(self.row, [row, row + 1])
        parts = [self.knots(i) for i in range(first, end)]
        if not parts:
            return np.zeros(0), np.zeros(0)
        u = np.unique(np.concatenate([u for u, _ in parts]))
        summed: Floats = np.sum([np.interp(u, x, p, 0, 0) for x, p in parts], axis=0)
        return u, summed


def join(parts: Sequence[tuple[NDArray[np.intp], Densities]]) -> Densities:
    """One of several: ``(rows, densities)`` puts spectrum i of a part in row ``rows[i]``."""
    if not parts:
        return empty()
    row = np.concatenate([rows[one.row] for rows, one in parts])
    start, step = (np.concatenate([getattr(p, n) for _, p in parts]) for n in ("start", "step"))
    label = np.concatenate([one.label for _, one in parts])
    values = [value for _, one in parts for value in one.values()]
    return gather(row, label, start, step, values)


def gather(
    row: NDArray[np.integer[Any]],
    label: NDArray[np.integer[Any]],
    start: Floats,
    step: Floats,
    values: Sequence[NDArray[Any]],
) -> Densities:
    """Segments (m,) in any order, each with its values, in the order of their rows."""
    order = np.argsort(row, kind="stable")
    flat = [np.asarray(values[i], np.float32) for i in order]
    return Densities(
        row=row[order].astype(np.intp),
        label=label[order].astype(np.int16),
        start=start[order].astype(np.float64),
        step=step[order].astype(np.float64),
        count=np.array([len(v) for v in flat], np.intp),
        value=np.concatenate([*flat, np.zeros(0, np.float32)]),
    )


def empty() -> Densities:
    """No segment at all."""
    none = np.zeros(0)
    return gather(np.zeros(0, np.intp), np.zeros(0, np.int16), none, none, [])
