"""Emission lines of the best model that are negative: what no object of the class shows.

At each line the model's excess over a straight continuum is matched with a Gaussian under the noise
of the data. Only lines are looked at that stand alone and are never seen in absorption: of
quasars, SDSS's list for its own NEGATIVE_EMISSION without Hβ, in whose flank [O III] lies; of
galaxies, the strongest forbidden lines, since their Balmer lines may well be absorbed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
            part = pixels[rows]
            each = [
                significance(part, model[rows], z[rows], wave, lines, max(model_error, absorbed))
                for wave, absorbed in zip(lines.waves, lines.absorbed, strict=True)
            ]
            out[rows] = torch.stack(each).amin(0)
    return out


def significance(
    pixels: Native,
    model: torch.Tensor,
    z: torch.Tensor,
    wave: float,
    lines: Lines,
    model_error: float = 0.0,
) -> torch.Tensor:
    """(n,) matched-filter SNR of one line in the model; inf where half of it has no data.

    The model's error is one over the whole line, so that finer pixels do not average it away.
    """
    position = torch.cat([torch.from_numpy(w) for w in pixels.waves])
    velocity = (position / (wave * (1 + z[:, None])) - 1) * LIGHT  # (n, pixel)
    near = (velocity.abs() < 2 * lines.core).any(0).nonzero()[:, 0]
    velocity, model, ivar = velocity[:, near], model[:, near], pixels.ivar[:, near]
    core = velocity.abs() < lines.core
    flank = (velocity.abs() < 2 * lines.core) & ~core
    level, slope = _straight(velocity / lines.core, model, flank.to(model.dtype))
    excess = model - level[:, None] - slope[:, None] * velocity / lines.core
    profile = core * torch.exp(-0.5 * (velocity / lines.sigma) ** 2)
    seen = (core & (ivar > 0)).sum(1) * 2 > core.sum(1).clamp(min=LEAST)
    weight = (profile.square() * ivar).sum(1).clamp(min=1e-300)
    height = (profile * ivar * excess).sum(1) / weight
    snr = height / (1 / weight + (model_error * level) ** 2).sqrt()
    sides = torch.stack([(flank & (velocity < 0)).sum(1), (flank & (velocity > 0)).sum(1)])
    return torch.where(seen & (sides.amin(0) >= LEAST), snr, torch.inf)


def _straight(
    x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Level at x = 0 and slope (n,) of weighted straight lines through (n, pixel) points."""
    total = weight.sum(1).clamp(min=1e-300)
    mean_x, mean_y = (weight * x).sum(1) / total, (weight * y).sum(1) / total
    spread = (weight * (x - mean_x[:, None]).square()).sum(1).clamp(min=1e-300)
    slope = (weight * (x - mean_x[:, None]) * y).sum(1) / spread
    return mean_y - slope * mean_x, slope
