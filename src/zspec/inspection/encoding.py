"""Spectra as a page carries them: whole numbers of small steps, deflated, as base64.

Flux and models are stored in steps of a sixteenth of the spectrum's median error, so that what is
lost is far below the noise, errors in steps of 1 %. Steps compress far better than float16: the
noise has few different values, and a model's steps from pixel to pixel are mostly near 0.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zspec.inspection.targets import Target

FINE = 16.0
"""Steps in a median error."""
ERROR_STEP = 0.01
"""Of ln(error)."""
WAVE_STEP = 0.001
"""Å: 0.06 km/s at 5000 Å, of which half may be lost."""
DENSITY_BINS = 400
"""Of p(z) over all redshifts."""


def encode(target: Target) -> dict[str, Any]:
    """The arrays of a target: {name: {"data": base64, "n": length, "step": scale}} and arms.

    Arms stand end to end, each with a first and an end pixel in ``arms``. ``error`` is ln(error);
    ``good`` is 0 or 1. ``models`` has one entry per solution, null where it was not computed.
    """
    flux = np.concatenate([arm.flux[0] for arm in target.arms]).astype(np.float64)
    ivar = np.concatenate([arm.ivar[0] for arm in target.arms]).astype(np.float64)
    good = ivar > 0
    error = np.full(len(flux), np.nan)
    error[good] = 1 / np.sqrt(ivar[good])
    step = float(np.median(error[good])) / FINE if good.any() else 1.0
    ends = np.cumsum([0, *(len(arm.wave) for arm in target.arms)]).tolist()
    return {
        "arms": [list(pair) for pair in pairwise(ends)],
        "wave": whole(np.concatenate([arm.wave for arm in target.arms]), WAVE_STEP),
        "flux": whole(np.where(good, flux, 0), step),
        "error": whole(np.log(filled(error)), ERROR_STEP),
        "good": whole(good.astype(np.float64), 1.0),
        "models": [
            None if one.model is None else whole(np.concatenate(one.model), step)
            for one in target.solutions
        ],
    }


def whole(values: NDArray[Any], step: float) -> dict[str, Any]:
    """Values (n,) as differences of whole steps: int32, byte planes, deflated, base64.

    An undo is: base64, inflate, planes back to int32 (modulo 2^32), running sum, times ``step``.
    """
    limit = 2**31 - 1
    steps = np.clip(np.rint(np.nan_to_num(values) / step), -limit, limit).astype(np.int64)
    differences = np.diff(steps, prepend=0).astype(np.uint32)  # modulo 2^32, as the sum is
    planes = differences.astype("<u4").view(np.uint8).reshape(-1, 4).T
    data = zlib.compress(np.ascontiguousarray(planes).tobytes(), 6)
    return {"data": base64.b64encode(data).decode("ascii"), "n": len(values), "step": step}


def filled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """NaN replaced by the last value before it, else by 1: what compresses best."""
    known = np.isfinite(values) & (values > 0)
    if not known.any():
        return np.ones(len(values))
    last = np.maximum.accumulate(np.where(known, np.arange(len(values)), -1))
    last[last < 0] = int(np.argmax(known))
    return values[last]


def densities(target: Target, ends: Sequence[float]) -> dict[str, Any] | None:
    """log10 of the probability in ``DENSITY_BINS`` bins between two u = ln(1 + z), at least -6."""
    if target.density is None or not len(target.density[0]):
        return None
    from zspec.plotting.redshifts import masses

    edges = np.linspace(ends[0], ends[1], DENSITY_BINS + 1)
    return whole(np.log10(np.maximum(masses(*target.density, edges), 1e-6)), 0.01)
