"""Broad lines of quasars: how strong they are, and how they differ from one quasar to the next."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from zspec.simulate.sources.families import LIGHT, Family


@dataclass(frozen=True)
class Group:
    """A line, or a blend that moves as one, between two wavelengths of continuum."""

    centre: float
    low: float
    high: float
    shift: float
    """Standard deviation of its velocity, km/s."""
    gain: float
    """Standard deviation of ln(strength), beside what the bank already varies."""
    follows: float = 0.0
    """How much of the velocity of C IV it takes over."""


GROUPS = {
    "LYA": Group(1215.67, 1178.0, 1290.0, 150.0, 0.12, 0.3),
    "SIIV": Group(1398.33, 1355.0, 1440.0, 150.0, 0.12, 0.5),
    "CIV": Group(1549.06, 1465.0, 1700.0, 0.0, 0.10, 1.0),
    "CIII": Group(1908.73, 1800.0, 2000.0, 150.0, 0.15, 0.5),
    "MGII": Group(2800.26, 2680.0, 2910.0, 150.0, 0.15),
    "HGAMMA": Group(4341.68, 4290.0, 4400.0, 150.0, 0.15),
    "HBETA": Group(4862.68, 4760.0, 4944.0, 150.0, 0.15),
    "OIII": Group(5008.24, 4944.0, 5030.0, 50.0, 0.50),
    "HALPHA": Group(6564.61, 6380.0, 6760.0, 100.0, 0.15),
}
"""Scatter beside what the bank's quasars differ by already. The peaks scatter by 56 ([O III]), 205
(Mg II), 233 (C III]), 400 (Hβ), 415 (C IV) and 477 km/s (Si IV) in all in Shen+2016. C IV is weak
where it is far to the blue (Richards+2002, 2011)."""
CIV_SPREAD = 500.0
"""km/s; the mean shift is in the bank."""
EDGE = 10
"""Pixels at each end of a group that set its continuum."""
DIP = -0.3
"""Of the continuum: no line falls so far below it. Where a source was not seen its spectrum says
nothing, and can do so; absorption is drawn apart."""


def gains(normal: torch.Tensor) -> torch.Tensor:
    """(n, group) factors of the strength of each line; C IV is weak where it is far to the blue."""
    scatter = torch.tensor([g.gain for g in GROUPS.values()])
    follows = torch.tensor([g.follows for g in GROUPS.values()])
    own = normal[:, 1 : 1 + len(GROUPS)]
    return torch.exp(scatter * own + 0.10 * follows * normal[:, :1])


def _slice(family: Family, name: str) -> tuple[slice, torch.Tensor]:
    """Pixels of a group, and their width in Å."""
    group = GROUPS[name]
    first, last = (
        round((math.log10(end) - family.start) / family.step) for end in (group.low, group.high)
    )
    return slice(first, last), family.wave[first:last].float() * math.log(10) * family.step


def measure(mixed: torch.Tensor, family: Family) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, group) equivalent widths in Å, rest frame, of coefficients (n, K); which are lines.

    A line that is ``DIP`` below its continuum somewhere, or negative in all, is none.
    """
    widths, lowest = [], []
    for name in GROUPS:
        part, width = _slice(family, name)
        level, line = _above(mixed @ family.vectors[:, part])
        share = line / level.clamp(min=1e-3)
        widths.append(share @ width)
        lowest.append(share.amin(1))
    found = torch.stack(widths, 1)
    return found, (found >= 0) & (torch.stack(lowest, 1) > DIP)


def visible(z: torch.Tensor, window: tuple[float, float]) -> torch.Tensor:
    """(n, group) whether any of a line's range falls in the window (Å, observed) at ``z`` (n,)."""
    low, high = (
        torch.tensor([getattr(g, end) for g in GROUPS.values()]) for end in ("low", "high")
    )
    stretch = 1 + z[:, None]
    return (high * stretch > window[0]) & (low * stretch < window[1])


def vary(rest: torch.Tensor, family: Family, normal: torch.Tensor) -> None:
    """Move, widen and strengthen each line of (n, pixel) spectra, in place."""
    civ = CIV_SPREAD * normal[:, 0]
    gain = gains(normal)
    pixel = LIGHT * math.log(10) * family.step
    for i, (name, group) in enumerate(GROUPS.items()):
        speed = group.follows * civ + group.shift * normal[:, 10 + i]
        stretched = torch.exp(0.12 * normal[:, 20 + i])
        part, _ = _slice(family, name)
        middle = (math.log10(group.centre) - family.start) / family.step - part.start
        level, line = _above(rest[:, part])
        moved = _resampled(line, middle, speed / pixel, stretched)
        rest[:, part] = level + (gain[:, i] / stretched)[:, None] * moved


def _above(part: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, pixel) straight continuum between both ends, and what stands above it."""
    left, right = part[:, :EDGE].mean(1, keepdim=True), part[:, -EDGE:].mean(1, keepdim=True)
    share = torch.linspace(0, 1, part.shape[1])
    level = left + (right - left) * share
    # the line fades into the continuum at the ends, or moving it would leave steps
    fade = (torch.minimum(share, 1 - share) * part.shape[1] / EDGE).clamp(max=1)
    return level + (part - level) * (1 - fade), (part - level) * fade


def _resampled(
    line: torch.Tensor, middle: float, speed: torch.Tensor, stretch: torch.Tensor
) -> torch.Tensor:
    """(n, pixel) a line moved by ``speed`` pixels and stretched about ``middle``; linear."""
    size = line.shape[1]
    index = torch.arange(size, dtype=torch.float32)
    place = middle + (index - middle - speed[:, None]) / stretch[:, None]
    low = place.floor().clamp(0, size - 2)
    share = (place - low).clamp(0, 1)
    low = low.long()
    return (1 - share) * line.gather(1, low) + share * line.gather(1, low + 1)
