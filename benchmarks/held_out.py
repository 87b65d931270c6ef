"""Real SDSS galaxies and quasars as sources of mocks that no estimator has seen.

No mock that a network of `zspec` is trained on is made of a real spectrum, and bases can be learned
without an object: those of the fold that the object belongs to (`zspec.likelihood.validate`). So a
bright spectrum, observed again at a tenth of its SNR, is of an object that is new to all of them,
and it is no template's shape. It keeps its own noise and faults, which are small beside the noise
that is added, and its label, which is the survey pipeline's. It goes to other redshifts only as far
as what the instrument made of it does not matter: 5 % in 1 + z.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from zspec.likelihood.labelled import listed
from zspec.likelihood.validate import fold_of

PREFIX = "sdss/"
"""Of the names of these sources; the object follows."""
BRIGHT = 8.0
"""Median SNR per pixel of 69 km/s."""
RANGE = (3850.0, 9180.0)
"""Å that a spectrum must cover."""
GAP = 0.005
"""Widest gap, in ln λ, that is bridged; a spectrum with a wider one is left out."""
SMOOTH = 1.0
"""Pixels, sigma: as wide as the spectrograph's own line spread."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Held:
    """A real object in its rest frame."""

    name: str
    spectype: str
    wave: Array
    """(pixel,) Å, vacuum, rest frame."""
    flux: Array
    """(pixel,) flux density."""
    place: float
    """ln(1 + z)"""


def fold(sed: str) -> int:
    """The fold whose bases have not seen a source; -1: none of the folds' objects."""
    named = sed.removeprefix(PREFIX)
    return fold_of(named.partition("/")[0]) if named != sed else -1


def objects(shared: Path) -> list[Held]:
    """One spectrum of each bright galaxy and quasar, the best of it."""
    best: dict[str, tuple[float, Held]] = {}
    for snr, one in candidates(shared):
        if one.name not in best or snr > best[one.name][0]:
            best[one.name] = snr, one
    return [one for _, one in best.values()]


def candidates(shared: Path) -> Iterator[tuple[float, Held]]:
    """SNR and spectrum of all that are bright enough."""
    for line, one in listed(shared / "data" / "sdss" / "manifest.csv"):
        if line["label_ok"] != "1" or line["class"] not in ("GALAXY", "QSO"):
            continue
        arm = one.arms[0]
        good = arm.usable[0] & (arm.ivar[0] > 0)
        wave, flux, ivar = arm.wave[good], arm.flux[0, good], arm.ivar[0, good]
        if not whole(wave):
            continue
        snr = float(np.median(flux * np.sqrt(ivar)))
        if snr > BRIGHT:
            z = float(line["z"])
            inside = (arm.wave >= wave[0]) & (arm.wave <= wave[-1])
            light = smoothed(arm.wave[inside], wave, flux, ivar)
            rest = arm.wave[inside] / (1 + z)
            yield snr, Held(PREFIX + line["object"], line["class"], rest, light, math.log1p(z))


def whole(wave: Array) -> bool:
    """Whether good pixels (Å) reach far enough and have no wide gap."""
    if not len(wave) or wave[0] > RANGE[0] or wave[-1] < RANGE[1]:
        return False
    return bool(np.diff(np.log(wave)).max() < GAP)


def smoothed(at: Array, wave: Array, flux: Array, ivar: Array) -> Array:
    """(at,) flux at all pixels by that of the good ones, weighted by a Gaussian and ``ivar``."""
    good = np.isin(at, wave)
    weight, light = np.zeros((2, len(at)))
    weight[good], light[good] = ivar, ivar * flux
    total = gaussian_filter1d(weight, SMOOTH)
    mean = gaussian_filter1d(light, SMOOTH) / np.where(total > 0, total, 1)
    return np.where(total > 0, mean, np.interp(at, wave, flux))
