"""The posterior: which share of the evidence, integrated over all redshifts, lies where.

The prior is a density in ln(1 + z) and spectype: the same for every redshift, but for the rarity
that a basis may state, ``STARS`` times as high for stars, and shared equally by the bases of one
spectype. So neither a finer grid nor a shorter range of redshifts changes what one solution weighs
against another. (A prior that gives each spectype the same sum over its range would favour stars 80
times: of held-out spectra with a sixteenth of their SNR that makes stars of one galaxy in three.)
The mass of one minimum of the scan is

    exp(-v / 2) · width,

with ``v`` its -2 ln evidence and ``width`` in grid pixels: sqrt(2 π) sigma of the final fit where
that is sharper than the scan (Laplace's method; MacKay 2003, chapter 27), and else the sum over the
pixels of the scan that are nearer to it than to another minimum. What lies beyond all minima is
``rest``. All are kept as -2 ln of the mass, so that they read like chi2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from zspec.likelihood.basis import Basis
from zspec.likelihood.refine import Minima

STARS = 10.0
"""Density of stars over that of galaxies or quasars: from 1 to 10 times, as many of the held-out
spectra with noise added are right, and the log loss is least at 10."""
SHARP = 0.7
"""Steps of the scan: a peak with a smaller sigma is integrated as a Gaussian. The sum over steps of
a broader one is right to 2 exp(-2 π² sigma²), 0.01 %."""


def measure(bases: Sequence[Basis]) -> torch.Tensor:
    """(basis,) -2 ln of the prior density of each, where its ``rarity`` is 0; up to a constant."""
    spectypes = [basis.spectype for basis in bases]
    shares = [(STARS if name == "STAR" else 1.0) / spectypes.count(name) for name in spectypes]
    return -2 * torch.tensor(shares, dtype=torch.float64).log()


def basins(
    values: torch.Tensor, found: Minima, shifts: torch.Tensor, apart: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Widths (n, count) of minima in pixels, and -2 ln of the mass beyond them (n,).

    ``values`` (n, S) is a scan at evenly spaced ``shifts`` (S,); see :func:`owners`.
    """
    none = found.shift.shape[1]
    owner = owners(found.shift, shifts, apart)
    level = torch.cat([found.value, values.amin(1, keepdim=True)], dim=1)
    share = torch.exp((level.gather(1, owner) - values) / 2) * (shifts[1] - shifts[0])
    mass = torch.zeros_like(level).scatter_add_(1, owner, share)
    return mass[:, :none], level[:, none] - 2 * mass[:, none].log()


def owners(places: torch.Tensor, shifts: torch.Tensor, apart: float) -> torch.Tensor:
    """(n, S) the nearest of the minima at ``places`` (n, count) for each of ``shifts`` (S,).

    ``count`` where none is nearer than ``apart``, all in grid pixels.
    """
    distance = (shifts - places[..., None]).abs().nan_to_num(math.inf)  # (n, count, S)
    near, owner = distance.min(1)
    return owner.masked_fill_(near > apart, places.shape[1])


def spacious(sigma: torch.Tensor, basin: torch.Tensor, step: torch.Tensor | int) -> torch.Tensor:
    """What the width of a peak adds to its -2 ln evidence; 0 where there is no peak.

    ``step``: grid pixels between the values of the scan that found it.
    """
    width = torch.where(sigma < SHARP * step, math.sqrt(2 * math.pi) * sigma, basin)
    return torch.where(width > 0, -2 * width.log(), 0.0)


def total(values: torch.Tensor) -> torch.Tensor:
    """(n,) -2 ln of the summed mass of -2 ln masses (n, T); inf where there is none."""
    return -2 * torch.logsumexp(-values / 2, dim=1)
