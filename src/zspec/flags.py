"""ZWARN: one sentence per bit. 0 means good, and nothing else does.

Bits 0-11 mean what SDSS and redrock mean by them; 16-19 are DESI's and 20-23 the user's, and zspec
sets neither; its own start at 24. 28 and 30 are reserved.
"""

from __future__ import annotations

from enum import IntFlag

import numpy as np
from numpy.typing import NDArray


class ZWarn(IntFlag):
    """Reasons to distrust a redshift."""

    SKY = 1 << 0
    LITTLE_COVERAGE = 1 << 1
    SMALL_DELTA_CHI2 = 1 << 2
    NEGATIVE_MODEL = 1 << 3
    MANY_OUTLIERS = 1 << 4
    Z_FITLIMIT = 1 << 5
    NEGATIVE_EMISSION = 1 << 6
    UNPLUGGED = 1 << 7
    BAD_TARGET = 1 << 8
    NODATA = 1 << 9
    BAD_MINFIT = 1 << 10
    POORDATA = 1 << 11
    OUT_OF_DISTRIBUTION = 1 << 24
    MULTIMODAL = 1 << 25
    CLASS_AMBIGUOUS = 1 << 26
    UNSTABLE = 1 << 27
    MODELS_DISAGREE = 1 << 29
    CONTAMINATED = 1 << 31


SENTENCES: dict[ZWarn, str] = {
    ZWarn.SKY: "The fibre was put on blank sky.",
    ZWarn.LITTLE_COVERAGE: "Less than half of the wavelength range has usable pixels.",
    ZWarn.SMALL_DELTA_CHI2: "The next redshift or class, or no object at all, fits almost as well.",
    ZWarn.NEGATIVE_MODEL: "The best model is negative: its mean flux is not above 0.",
    ZWarn.MANY_OUTLIERS: "Over 5 % of the pixels lie more than 5 sigma from the best model.",
    ZWarn.Z_FITLIMIT: "The best redshift lies at the edge of the range that was searched.",
    ZWarn.NEGATIVE_EMISSION: "A strong emission line is negative in the best model.",
    ZWarn.UNPLUGGED: "The fibre was broken, stuck or unplugged.",
    ZWarn.BAD_TARGET: "The target's position or the fibre's status is known to be bad.",
    ZWarn.NODATA: "No usable pixel at all; Z is 0 and means nothing.",
    ZWarn.BAD_MINFIT: "The fit around the minimum failed; ZERR means nothing.",
    ZWarn.POORDATA: "The survey itself calls the data of this spectrum poor.",
    ZWarn.OUT_OF_DISTRIBUTION: "Unlike nearly all spectra in training, by features or best fit.",
    ZWarn.MULTIMODAL: "Two or more redshifts hold a large share of the posterior.",
    ZWarn.CLASS_AMBIGUOUS: "Two or more classes hold a large share of the posterior.",
    ZWarn.UNSTABLE: "The ensemble's sigma is above the validation MAE of the class.",
    ZWarn.MODELS_DISAGREE: "The network and the likelihood prefer different redshifts.",
    ZWarn.CONTAMINATED: "Light of a neighbour or of another order lies on the spectrum.",
}


AMBIGUOUS = 0.1
"""CLASS_AMBIGUOUS, MULTIMODAL: other spectypes, another redshift hold more of the posterior."""


def names(value: int) -> list[str]:
    """Names of the bits that are set; a bit that zspec does not know is ``BIT<n>``.

    >>> names(516)
    ['SMALL_DELTA_CHI2', 'NODATA']
    """
    known = {flag.value.bit_length() - 1: flag.name or "" for flag in ZWarn}
    return [known.get(b, f"BIT{b}") for b in range(63) if value >> b & 1]


def where(condition: NDArray[np.bool_], flag: ZWarn) -> NDArray[np.int64]:
    """``flag`` where the condition holds and 0 elsewhere, to be combined with ``|``."""
    return np.where(condition, np.int64(flag), np.int64(0))
