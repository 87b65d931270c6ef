"""Intervals that hold the truth as often as they say, whatever the shape of p(z).

Split conformal prediction (Vovk, Gammerman & Shafer 2005, section 4.1; Lei+2018, JASA 113, 1094) on
held-out objects, for each spectype that was found and each bin of SNR on its own. The score of a
prediction is |ln((1 + z) / (1 + z_true))| / sigma, with sigma that of ln(1 + z). With n scores the
interval at level p reaches to the ⌈(n + 1) p⌉-th smallest times sigma, and then holds the truth
with probability of at least p, for spectra like those that it was learned on. Wrong redshifts are
among them, so that at low SNR, or with too few scores, no finite interval will do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Scores = Mapping[str, Sequence[Sequence[float]]]
"""By spectype and bin of SNR, in rising order."""

EDGES = (1.0, 2.0, 4.0, 8.0)
"""Median SNR per pixel that parts two bins: five of them."""
DIGITS = 4
"""Of the scores that are kept."""


def learn(spectype: Sequence[str], snr: Array, score: Array) -> Scores:
    """Scores (n,) sorted by the spectype that was found, and by bin of SNR."""
    kinds, at = np.array(spectype), np.digitize(snr, EDGES)
    return {
        str(kind): [
            [float(f"{x:.{DIGITS}g}") for x in np.sort(score[(kinds == kind) & (at == b)])]
            for b in range(len(EDGES) + 1)
        ]
        for kind in np.unique(kinds)
    }


def reach(scores: Scores, level: float, spectype: Sequence[str], snr: Array) -> Array:
    """(n,) half widths of intervals at ``level``, in sigma; inf where none is known to do."""
    bins = np.digitize(snr, EDGES)
    pairs = list(zip(spectype, bins.tolist(), strict=True))
    known = {(kind, at): _quantile(scores.get(kind), at, level) for kind, at in set(pairs)}
    return np.array([known[pair] for pair in pairs], np.float64)


def _quantile(rows: Sequence[Sequence[float]] | None, at: int, level: float) -> float:
    """The ⌈(n + 1) level⌉-th smallest score of a bin; inf where there are fewer."""
    row = rows[at] if rows else ()
    rank = math.ceil((len(row) + 1) * level - 1e-9)
    return row[rank - 1] if 0 < rank <= len(row) else math.inf


def intervals(z: Array, sigma: Array, half: Array) -> tuple[Array, Array]:
    """(n,) lowest and highest z, ``half`` sigma away in ln(1 + z); -1 and inf where unbounded."""
    with np.errstate(invalid="ignore", over="ignore"):
        wide = half * sigma / (1 + z)
        low, high = np.expm1(np.log1p(z) - wide), np.expm1(np.log1p(z) + wide)
    return low, high
