"""Which rows of a file are one target, and how they are combined.

A spectra file has a row for each exposure of a target, anywhere in the file. Exposures on identical
pixels are averaged by ivar, pixel on pixel; nothing is interpolated and nothing is clipped. An
exposure whose fibre status is bad is left out where the target has a better one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PLACEHOLDERS = (0, -1)
"""TARGETIDs that stand for no id: such rows are never combined."""

Float = NDArray[np.floating]


@dataclass(frozen=True)
class Group:
    """The rows of some targets, target after target."""

    rows: NDArray[np.int64]
    """(row,) rows in the file."""
    starts: NDArray[np.intp]
    """(target,) where each target begins in ``rows``; its first row comes first."""

    @property
    def first(self) -> NDArray[np.int64]:
        """(target,) first row of each target in the file."""
        return self.rows[self.starts]

    @property
    def counts(self) -> NDArray[np.intp]:
        """(target,) number of rows."""
        return np.diff(self.starts, append=len(self.rows))


def group_rows(ids: NDArray[np.int64], together: bool) -> Group:
    """All rows of a file, grouped by TARGETID in the order of first rows.

    ids: (row,). If not ``together``, and for placeholder ids, each row is a target of its own.
    """
    row = np.arange(len(ids))
    alone = np.isin(ids, PLACEHOLDERS) if together else np.ones(len(ids), bool)
    keys = np.stack([np.where(alone, 0, ids), np.where(alone, row + 1, 0)], axis=1)
    _, first, member = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    first_of_row = first[member.reshape(-1)]
    order = np.lexsort([row, first_of_row])
    _, starts = np.unique(first_of_row[order], return_index=True)
    return Group(row[order].astype(np.int64), starts)


def chunks(group: Group, wanted: range | None, size: int) -> Iterator[Group]:
    """Pieces of at most ``size`` rows (or one target), of the targets with a wanted first row."""
    keep = [i for i, row in enumerate(group.first) if wanted is None or int(row) in wanted]
    counts = group.counts
    piece: list[int] = []
    held = 0
    for i in keep:
        if piece and held + counts[i] > size:
            yield _pick(group, piece)
            piece, held = [], 0
        piece.append(i)
        held += int(counts[i])
    if piece:
        yield _pick(group, piece)


def _pick(group: Group, targets: list[int]) -> Group:
    counts = group.counts[targets]
    spans = zip(group.starts[targets], counts, strict=True)
    rows = np.concatenate([group.rows[start : start + count] for start, count in spans])
    return Group(rows, np.cumsum(counts) - counts)


def usable(group: Group, bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(row,) which rows count: those that are not bad, or all where a target has no other."""
    better = np.logical_or.reduceat(~bad, group.starts)
    return np.asarray(~bad | ~np.repeat(better, group.counts))


def average(
    group: Group, flux: Float, ivar: Float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(target, pixel) flux and ivar of (row, pixel): Σ ivar f / Σ ivar and Σ ivar, 0 where none."""
    if len(group.starts) == len(group.rows):
        return flux.astype("f4", copy=False), ivar.astype("f4", copy=False)
    weight = ivar.astype(np.float64)
    total = np.add.reduceat(weight, group.starts, axis=0)
    summed = np.add.reduceat(weight * flux, group.starts, axis=0)
    mean = np.divide(summed, total, out=np.zeros_like(total), where=total > 0)
    return mean.astype("f4"), total.astype("f4")
