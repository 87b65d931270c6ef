"""Starlight of the galaxy around a quasar, beneath those that were learned without it.

A real quasar was seen with its host, and shows it; a composite of bright ones is a nucleus alone,
as no faint quasar nearby is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from zspec.simulate.sources.families import LIGHT, Family
from zspec.simulate.sources.render import ZERO_AB

Float = NDArray[np.float64]

AT = 5100.0
"""Å, rest frame: where the light of nucleus and host is compared."""
ABOUT = 50
"""Pixels to either side of it that are averaged: 60 Å in all."""
FAINTEST, BRIGHTEST = 43.5, 45.053
"""log10 of λL_λ in erg/s between which hosts are drawn: below it as there, above it none."""
SCATTER = 0.5
"""Of ln(host / nucleus) about its mean."""
HUBBLE, MATTER = 70.0, 0.3
"""km/s/Mpc, and Ω_m of a flat universe: those of the relation."""
MPC = 3.0857e24
"""cm."""


@dataclass(frozen=True)
class Hosts:
    """Galaxies that may surround quasars."""

    light: torch.Tensor
    """(N, pixel) float32 continua on the grid of quasars, 1 at ``AT``."""
    rows: NDArray[np.int64]
    """Those that may be drawn."""

    def draw(
        self, z: Float, mag: Float, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(n,) rows of ``light``, and (n, 1) float32 what it has at ``AT`` over the nucleus."""
        rows, normal = rng.choice(self.rows, len(z)), rng.standard_normal(len(z))
        share = ratio(luminosity(z, mag)) * np.exp(SCATTER * normal)
        return torch.from_numpy(rows), torch.from_numpy(share).float()[:, None]


def around(quasar: Family, galaxy: Family, allowed: NDArray[np.bool_]) -> Hosts | None:
    """The hosts of quasars, ``allowed`` (N,) galaxies; None where all were seen with their own.

    Sources of a known redshift are real quasars; composites have none.
    """
    if not np.isnan(quasar.facts["z"]).any():
        return None
    return Hosts(_continua(galaxy, quasar), np.nonzero(allowed)[0])


def ratio(luminosity: Float) -> Float:
    """Mean light of host over nucleus at ``AT``; Shen+2011 (ApJS 194, 45), eq. 1.

    ``luminosity``: log10 of λL_λ of both in erg/s. It is used down to ``FAINTEST``, as they do not.
    """
    x = np.clip(luminosity, FAINTEST, None) - 44
    mean = 0.8052 - 1.5502 * x + 0.9121 * x**2 - 0.1577 * x**3
    return np.asarray(np.where(luminosity < BRIGHTEST, mean.clip(min=0), 0.0))


def luminosity(z: Float, mag: Float) -> Float:
    """(n,) log10 of νL_ν in erg/s of AB magnitudes, for a spectrum that is flat in νF_ν."""
    frequency = LIGHT * 1e13 / AT
    distance = np.interp(z, *_distances()) * MPC
    return np.asarray(np.log10(4 * np.pi * distance**2 * frequency * ZERO_AB) - 0.4 * mag)


@lru_cache(maxsize=1)
def _distances() -> tuple[Float, Float]:
    """Redshifts, and luminosity distances in Mpc; Hogg 1999 (astro-ph/9905116), eqs. 15 and 21."""
    z = np.linspace(0, 10, 2001)
    slowness = 1 / np.sqrt(MATTER * (1 + z) ** 3 + 1 - MATTER)
    comoving = np.concatenate([[0.0], np.cumsum(np.diff(z) * (slowness[1:] + slowness[:-1]) / 2)])
    return z, LIGHT / HUBBLE * comoving * (1 + z)


@lru_cache(maxsize=8)
def _continua(galaxy: Family, quasar: Family) -> torch.Tensor:
    """(N, pixel) float32 galaxies' continua on the grid of quasars, 1 at ``AT``; ends go on."""
    place = (quasar.wave.log10() - galaxy.start) / galaxy.step
    place = place.clamp(0, galaxy.vectors.shape[1] - 1.001)
    low = place.long()
    made = galaxy.bank @ torch.lerp(
        galaxy.vectors[:, low], galaxy.vectors[:, low + 1], (place - low).float()
    )
    return made.clamp(min=0) / level(made, quasar)


def level(spectra: torch.Tensor, quasar: Family) -> torch.Tensor:
    """(n, 1) mean about ``AT`` of (n, pixel) spectra on the grid of quasars."""
    at = round((np.log10(AT) - quasar.start) / quasar.step)
    return spectra[:, at - ABOUT : at + ABOUT].mean(1, keepdim=True)
