"""Pixels of SDSS: log10 λ = k · 1e-4 with whole k, on one run of k for all files."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zspec import Arm, InputError

ARM = "BR"
"""The coadd joins the blue and the red arm."""
STEP = 1e-4
"""dex per pixel."""
FIRST, LAST = 35500, 40200
"""Range of k: 3548 to 10471 Å; BOSS spectra in the data at hand span 35512 to 40170."""
PHASE = 0.01
"""Pixels by which k may miss a whole number; float32 loglam misses it by 0.0024 at most."""

WAVE: NDArray[np.float64] = 10.0 ** np.asarray(np.arange(FIRST, LAST + 1) * STEP, np.float64)
"""(pixel,) Å, vacuum: the wavelengths of every file that is in phase."""
SIGMA = WAVE * np.log(10) * STEP
"""(pixel,) Å of one pixel, which is the LSF sigma of SDSS and BOSS within some 35 %."""


def arm(
    loglam: NDArray[np.floating],
    flux: NDArray[np.floating],
    ivar: NDArray[np.floating],
    where: str,
    good: NDArray[np.bool_] | None = None,
    wdisp: NDArray[np.floating] | None = None,
    vacuum: bool = True,
) -> Arm:
    """The arm of n spectra, on the common pixels if they are in phase, else on their own.

    loglam: (pixel,) log10 Å; flux, ivar, good: (n, pixel); wdisp: (n, pixel) sigma of the LSF in
    pixels, 0 or NaN where unknown. Raises InputError, naming ``where``, for pixels that disagree.
    """
    at = _whole(loglam)
    wave = np.power(10.0, loglam, dtype=np.float64) if at is None else WAVE
    if good is not None:
        ivar = np.where(good, ivar, 0)
    try:
        return Arm(
            name=ARM,
            wave=wave,
            flux=_spread(flux, at),
            ivar=_spread(ivar, at),
            resolution=None if wdisp is None else resolution(wdisp, loglam, at, wave),
            medium=None if vacuum else "air",
        )
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None


def resolution(
    wdisp: NDArray[np.floating],
    loglam: NDArray[np.floating],
    at: NDArray[np.int64] | None,
    wave: NDArray[np.float64],
) -> NDArray[np.float32] | None:
    """(n, wave) sigma in Å from wdisp (n, pixel) in pixels; gaps are interpolated linearly.

    The ends take the nearest good pixel's. A spectrum without any takes one pixel; None where there
    is none at all. See ``arm``.
    """
    known = np.isfinite(wdisp) & (wdisp > 0)
    if not known.any():
        return None
    place = np.arange(len(loglam)) if at is None else at
    sigma = np.ones((len(wdisp), len(wave)), np.float32)
    for row, (values, there) in enumerate(zip(wdisp, known, strict=True)):
        if there.any():
            sigma[row] = np.interp(np.arange(len(wave)), place[there], values[there])
    step = STEP if at is not None else float(np.median(np.diff(loglam)))
    scaled: NDArray[np.float64] = sigma * wave * (np.log(10) * step)
    return scaled.astype(np.float32)


def _whole(loglam: NDArray[np.floating]) -> NDArray[np.int64] | None:
    """Index into WAVE of each pixel; None if they are out of phase or out of range."""
    exact = np.asarray(loglam, np.float64) / STEP
    if len(exact) == 0 or not np.all(np.isfinite(exact)):
        return None
    k = np.round(exact).astype(np.int64)
    in_phase = np.all(np.abs(exact - k) < PHASE) and np.all(np.diff(k) > 0)
    return k - FIRST if in_phase and k[0] >= FIRST and k[-1] <= LAST else None


def _spread(values: NDArray[np.floating], at: NDArray[np.int64] | None) -> NDArray[np.float32]:
    """Values (n, pixel) on the common pixels, 0 where there are none; unchanged if out of phase."""
    if at is None or values.ndim != 2 or values.shape[1] != len(at):
        return np.asarray(values, np.float32)
    spread = np.zeros((len(values), len(WAVE)), np.float32)
    spread[:, at] = values
    return spread
