"""Tails of redshifts' errors, which a normal of ZERR's width leaves out.

What noise does not explain, as lines of a quasar that are shifted against each other, has heavier
tails than a normal. The offsets of right redshifts, in units of ZERR, are taken for a mixture of a
normal and a share of one that is wider by a factor: both are learned, by spectype, and p(z) has the
peaks of that mixture. ZERR is the width of the narrower one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Wing = tuple[float, float]
"""(share of the wider normal, its factor)."""

NONE: Wing = (0.0, 1.0)
SHARES = np.arange(1, 41) / 100
"""That are tried."""
FACTORS = np.geomspace(1.5, 15.0, 24)
"""That are tried."""
LEAST = 3.0
"""What a mixture has to gain in ln of the likelihood: two numbers gain as much by chance once in
twenty (Wilks 1938)."""


def learn(spectype: Sequence[str], pull: Array) -> dict[str, Wing]:
    """The most likely mixture of each spectype by offsets in units of ZERR, pull (n,).

    A spectype whose offsets a normal alone explains has none.
    """
    kinds = np.array(spectype)
    out = {}
    for kind in sorted(set(spectype)):
        square = pull[kinds == kind] ** 2 / 2
        tried = [(_gain(square, share, k), share, k) for share in SHARES for k in FACTORS]
        gain, share, factor = max(tried)
        if gain > LEAST:
            out[kind] = (round(float(share), 2), round(float(factor), 2))
    return out


def _gain(square: Array, share: float, factor: float) -> float:
    """Ln of the likelihood of a mixture over that of the normal alone; ``square`` is pull² / 2."""
    wide = np.log(share / factor) + square * (1 - factor**-2)
    return float(np.logaddexp(np.log1p(-share), wide).sum())


def of_each(wings: Mapping[str, Wing], spectypes: Sequence[str]) -> tuple[Array, Array]:
    """(T,) shares and (T,) factors of spectypes; none where none were learned."""
    share, factor = np.array([wings.get(kind, NONE) for kind in spectypes]).reshape(-1, 2).T
    return share, factor
