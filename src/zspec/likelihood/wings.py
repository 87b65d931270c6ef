"""Tails of redshifts' errors, which a normal of ZERR's width leaves out.

What noise does not explain, as lines of a quasar that are shifted against each other, has heavier
tails than a normal. The offsets of right redshifts are taken for a mixture of a normal of ZERR's
width and a share of one that a velocity makes wider: both are learned, by spectype, and p(z) has
the peaks of that mixture. ZERR is the width of the narrower one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Wing = tuple[float, float]
"""(share of the wider normal, what is added to ZERR in quadrature, in ln(1 + z))."""

NONE: Wing = (0.0, 0.0)
SHARES = np.geomspace(1e-3, 0.4, 40)
"""That are tried."""
WIDTHS = np.geomspace(1e-5, 1e-2, 31)
"""That are tried: 3 to 3000 km/s."""
LEAST = 3.0
"""What a mixture has to gain in ln of the likelihood: odds of 20 to 1."""


def learn(spectype: Sequence[str], offset: Array, sigma: Array, weight: Array) -> dict[str, Wing]:
    """The most likely mixture of each spectype by ``offset`` and ``sigma`` (n,) of ln(1 + z).

    ``weight`` (n,): as how many a row counts. A spectype whose offsets a normal alone explains has
    no tails.
    """
    kinds = np.array(spectype)
    out = {}
    for kind in sorted(set(spectype)):
        mine = kinds == kind
        own = offset[mine], sigma[mine], weight[mine]
        tried = [(_gain(*own, share, width), share, width) for share in SHARES for width in WIDTHS]
        gain, share, width = max(tried)
        if gain > LEAST:
            out[kind] = (float(f"{share:.3g}"), float(f"{width:.3g}"))
    return out


def _gain(offset: Array, sigma: Array, weight: Array, share: float, width: float) -> float:
    """Ln of the likelihood of a mixture over that of the normal alone."""
    wide = np.hypot(sigma, width)
    square = offset**2 / 2 * (sigma**-2 - wide**-2)
    return float(weight @ np.logaddexp(np.log1p(-share), np.log(share * sigma / wide) + square))


def of_each(wings: Mapping[str, Wing], spectypes: Sequence[str]) -> tuple[Array, Array]:
    """(T,) shares and (T,) widths of spectypes; none where none were learned."""
    share, width = np.array([wings.get(kind, NONE) for kind in spectypes]).reshape(-1, 2).T
    return share, width
