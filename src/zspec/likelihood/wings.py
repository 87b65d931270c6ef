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
SHARES = np.arange(1, 41) / 100
"""That are tried."""
WIDTHS = np.geomspace(1e-5, 1e-2, 31)
"""That are tried: 3 to 3000 km/s."""
LEAST = 3.0
"""What a mixture has to gain in ln of the likelihood: two numbers gain as much by chance once in
twenty (Wilks 1938)."""


def learn(spectype: Sequence[str], offset: Array, sigma: Array) -> dict[str, Wing]:
    """The most likely mixture of each spectype by ``offset`` and ``sigma`` (n,) of ln(1 + z).

    A spectype whose offsets a normal alone explains has none.
    """
    kinds = np.array(spectype)
    out = {}
    for kind in sorted(set(spectype)):
        own = offset[kinds == kind], sigma[kinds == kind]
        tried = [(_gain(*own, share, width), share, width) for share in SHARES for width in WIDTHS]
        gain, share, width = max(tried)
        if gain > LEAST:
            out[kind] = (round(float(share), 2), float(f"{width:.3g}"))
    return out


def _gain(offset: Array, sigma: Array, share: float, width: float) -> float:
    """Ln of the likelihood of a mixture over that of the normal alone."""
    wide = np.hypot(sigma, width)
    square = offset**2 / 2 * (sigma**-2 - wide**-2)
    return float(np.logaddexp(np.log1p(-share), np.log(share * sigma / wide) + square).sum())


def of_each(wings: Mapping[str, Wing], spectypes: Sequence[str]) -> tuple[Array, Array]:
    """(T,) shares and (T,) widths of spectypes; none where none were learned."""
    share, width = np.array([wings.get(kind, NONE) for kind in spectypes]).reshape(-1, 2).T
    return share, width
