"""SPPIXMASK: what the pipeline says of a pixel, and which of it makes the pixel bad.

The and_mask has the bits that are set in all exposures of a coadd, the or_mask those set in any.
The ivar of the coadd already leaves out what was rejected in single exposures, so that by default
only BRIGHTSKY in and_mask takes pixels away beside ivar 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

SPPIXMASK = {
    "NOPLUG": 0,
    "BADTRACE": 1,
    "BADFLAT": 2,
    "BADARC": 3,
    "MANYBADCOLUMNS": 4,
    "MANYREJECTED": 5,
    "LARGESHIFT": 6,
    "BADSKYFIBER": 7,
    "NEARWHOPPER": 8,
    "WHOPPER": 9,
    "SMEARIMAGE": 10,
    "SMEARHIGHSN": 11,
    "SMEARMEDSN": 12,
    "NEARBADPIXEL": 16,
    "LOWFLAT": 17,
    "FULLREJECT": 18,
    "PARTIALREJECT": 19,
    "SCATTEREDLIGHT": 20,
    "CROSSTALK": 21,
    "NOSKY": 22,
    "BRIGHTSKY": 23,
    "NODATA": 24,
    "COMBINEREJ": 25,
    "BADFLUXFACTOR": 26,
    "BADSKYCHI": 27,
    "REDMONSTER": 28,
}
"""Name to number of the bit; 0-12 describe a whole fibre, 16 and up one pixel."""


def good(mask: NDArray[Any], bits: Sequence[str]) -> NDArray[np.bool_]:
    """(n, pixel) True where none of the named bits is set in ``mask`` (n, pixel)."""
    bad = sum(1 << SPPIXMASK[bit] for bit in bits)
    return np.asarray(mask.astype(np.int64) & bad == 0, np.bool_)
