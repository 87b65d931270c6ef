"""Emission lines of the best model that are negative: what no object of the class shows.

At each line the model's excess over a straight continuum is matched with a Gaussian under the noise
of the data. Only lines are looked at that stand alone and are never seen in absorption: of
quasars, SDSS's list for its own NEGATIVE_EMISSION without Hβ, in whose flank [O III] lies; of
galaxies, the strongest forbidden lines, since their Balmer lines may well be absorbed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from zspec.likelihood.basis import LIGHT
from zspec.likelihood.pixels import Native


@dataclass(frozen=True)
class Lines:
    """The lines of one spectype."""

    waves: tuple[float, ...]
    """Å, vacuum, rest frame (Vanden Berk et al. 2001, table 2, laboratory wavelengths)."""
    sigma: float
    """km/s of the Gaussian."""
    absorbed: tuple[float, ...]
    """Share of the continuum that blends of stellar absorption may take there, 1 sigma."""

    @property
    def core(self) -> float:
        """Half width of the window in km/s; the continuum is that of as much on either side."""
        return 2.5 * self.sigma


LINES: Mapping[str, Lines] = {
    # [O II], [O III]. Passive galaxies dip by up to a fifth at 3730 Å: Fe I and high Balmer lines.
    "GALAXY": Lines((3728.48, 5008.24), 200.0, (0.15, 0.0)),
    "QSO": Lines(
        (1549.06, 1908.73, 2798.75, 6564.61), 2000.0, (0.0,) * 4
    ),  # C IV, C III], Mg II, Hα
}
LEAST = 3
"""Pixels that core and flanks must have for a line to count."""


def faintest(
    pixels: Native,
    model: torch.Tensor,
    z: torch.Tensor,
    spectypes: Sequence[str],
    model_error: float,
) -> torch.Tensor:
    """(n,) significance of the most negative line of each spectrum's class; inf without any.

    ``model`` (n, pixel) as ``pixels.flux``; ``z`` (n,) and ``spectypes`` (n,) of the best solution;
    ``model_error``: fraction of the continuum that counts as noise too.
    """
    out = torch.full((len(z),), torch.inf, dtype=torch.float64)
    for spectype, lines in LINES.items():
        rows = torch.tensor([i for i, kind in enumerate(spectypes) if kind == spectype]).long()
        if len(rows):
            snr = significance(pixels[rows], model[rows], z[rows], lines, model_error)
            out[rows] = snr.amin(1)
    return out


def significance(
    pixels: Native, model: torch.Tensor, z: torch.Tensor, lines: Lines, model_error: float = 0.0
) -> torch.Tensor:
    """(n, line) matched-filter SNR of lines in the model; inf where half of one has no data.

    The model's error is one over the whole line, so that finer pixels do not average it away. Only
    the pixels near a line are looked at, those of all lines one after the other.
    """
    waves = torch.tensor(lines.waves, dtype=torch.float64)
    error = torch.tensor(lines.absorbed, dtype=torch.float64).clamp(min=model_error)
    line, row, pixel, velocity = _near(pixels, z, waves, 2 * lines.core)
    x, y, ivar = velocity / lines.core, model[row, pixel], pixels.ivar[row, pixel]
    owner, count = row * len(waves) + line, len(z) * len(waves)

    def total(values: torch.Tensor) -> torch.Tensor:
        return torch.zeros(count, dtype=torch.float64).index_add_(0, owner, values.double())

    core = x.abs() < 1
    flank = (~core).double()
    level, slope = _straight(x, y, flank, total)
    excess = y - level[owner] - slope[owner] * x
    profile = core * torch.exp(-0.5 * (velocity / lines.sigma) ** 2)
    seen = total(core & (ivar > 0)) * 2 > total(core).clamp(min=LEAST)
    weight = total(profile.square() * ivar).clamp(min=1e-300)
    height = total(profile * ivar * excess) / weight
    snr = height / (1 / weight + (error.repeat(len(z)) * level) ** 2).sqrt()
    flanked = torch.minimum(total(flank * (x < 0)), total(flank * (x > 0))) >= LEAST
    return torch.where(seen & flanked, snr, torch.inf).view(len(z), -1)


def _near(
    pixels: Native, z: torch.Tensor, waves: torch.Tensor, reach: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Line, row, pixel and velocity in km/s of all pixels within ``reach`` of a line."""
    position = torch.cat([torch.from_numpy(wave) for wave in pixels.waves])
    centre = waves[:, None, None] * (1 + z[:, None])  # (line, n, 1)
    bounds = centre * (1 - reach / LIGHT), centre * (1 + reach / LIGHT)
    line, row, pixel = ((position > bounds[0]) & (position < bounds[1])).nonzero(as_tuple=True)
    return line, row, pixel, (position[pixel] / centre[line, row, 0] - 1) * LIGHT


def _straight(
    x: torch.Tensor,
    y: torch.Tensor,
    weight: torch.Tensor,
    total: Callable[[torch.Tensor], torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Level at x = 0 and slope of weighted straight lines through points, summed by ``total``."""
    whole = total(weight).clamp(min=1e-300)
    mean_x, mean_y, cross = (total(weight * v) / whole for v in (x, y, x * y))
    spread = (total(weight * x * x) / whole - mean_x.square()).clamp(min=1e-300)
    slope = (cross - mean_x * mean_y) / spread
    return mean_y - slope * mean_x, slope
