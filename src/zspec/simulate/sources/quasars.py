"""Quasars: a real one from the bank, with its lines moved, widened and strengthened.

Then whatever lies in the way: broad absorption of its own, the forest, damped and thick systems.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from zspec.simulate.sources import forest
from zspec.simulate.sources.families import LIGHT, Family
from zspec.simulate.sources.lines import rule
from zspec.simulate.sources.plan import (
    Made,
    Plan,
    Sight,
    State,
    ew_error,
    kernel_draws,
    settle,
)
from zspec.simulate.sources.render import positive, stretch


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
"""Scatter of line velocities about as in Shen+2016: C IV several hundred km/s to the blue, and more
where it is weak (Richards+2011); low-ionisation lines within 200 km/s."""
CIV_SPREAD = 500.0
"""km/s; the mean shift is in the bank."""
EDGE = 10
"""Pixels at each end of a group that set its continuum."""
TILT = 0.1
"""Standard deviation of the slope that is added to the bank's own."""
DUSTY = 0.01
"""Mean E(B - V) of dust beside what the bank shows, exponential; SMC-like (Hopkins+2004)."""
FAINTEST = 0.05
"""Flux below this times the median is lifted above zero: a quasar is dark nowhere by itself."""
NEAR, FEWEST = 0.2, 25
"""A source is drawn from those within this ln(1 + z), since its spectrum is known there; or from so
many that are nearest."""
DAMPED = 0.25
"""Share of sight lines of unit length in z with a damped system at z = 3; Prochaska+2005."""
TROUGHS = (
    (1549.06, 1.0, 1.0),
    (1398.33, 0.6, 1.0),
    (1240.81, 0.9, 1.0),
    (1215.67, 0.5, 1.0),
    (2800.26, 0.5, 0.1),
    (1857.8, 0.5, 0.15),
)
"""(Å, depth relative to C IV, share of BAL quasars that show it): C IV, Si IV, N V, Lyα, Mg II and
Al III; the low ions in a tenth of them (Trump+2006)."""


FREE = 2.5
"""How much worse a broad line is measured than beside a known continuum. Of 260 real quasars half
are BROADLINE at an SNR of 2.3 a pixel; a known continuum would put that at 0.9."""


def make(plan: Plan, family: Family, sight: Sight, rng: np.random.Generator) -> Made:
    """Spectra (arbitrary scale) and truth of quasars."""
    state = settle(plan, lambda some: _draw(some, family, rng), lambda s: _subclass(s, sight))
    z, device = state["z"], sight.wave.device
    rest = _rest(state, family, rng)
    flux = stretch(rest.to(device), family, sight.ln_wave, z.to(device)).clamp(min=0)
    damped = _intervene(flux, z, sight, rng)
    truth = {
        "Z": z.numpy(),
        "MAG": state["mag"].numpy(),
        "SED": family.seds[state["rows"].numpy()],
        "SUBTYPE": np.array(_subclass(state, sight)),
        "BAL": state["bal"].numpy(),
        "DLA": damped,
    }
    truth |= {f"EW_{k}": state[k].numpy() for k in ("HALPHA", "HBETA", "OIII")}
    return Made(flux, truth)


def _draw(plan: Plan, family: Family, rng: np.random.Generator) -> State:
    """All that SDSS's rule asks of quasars, (n, ...) each; the spectra themselves come later."""
    z, mag = plan.draw_z(rng), plan.draw_magnitude(rng)
    rows = _near(plan, family, z, rng.uniform(size=len(plan)))
    safe = family.bank[torch.from_numpy(rows)]
    mixed = positive(kernel_draws(family, rows, rng), safe, family)
    normal = torch.from_numpy(rng.standard_normal((len(plan), 32))).float()
    gain = _gains(normal)
    state = {
        "rows": torch.from_numpy(rows),
        "z": torch.from_numpy(z),
        "mag": torch.from_numpy(mag),
        "mixed": mixed,
        "normal": normal,
        "bal": torch.from_numpy((rng.uniform(size=len(plan)) < plan.share("bal")) * 1.0),
    }
    for i, name in enumerate(GROUPS):
        part, width = _slice(family, name)
        level, line = _above(mixed @ family.vectors[:, part])
        state[name] = (gain[:, i] * ((line / level.clamp(min=1e-3)) @ width)).double()
    return state


def _near(
    plan: Plan, family: Family, z: NDArray[np.float64], uniform: NDArray[np.float64]
) -> NDArray[np.int64]:
    """(n,) rows of the bank whose own redshift is near ``z`` (n,)."""
    rows = np.zeros(len(plan), np.int64)
    for kind, pool in plan.rows.items():
        mine = np.nonzero(plan.index == kind)[0]
        apart = np.abs(np.log1p(z[mine])[:, None] - np.log1p(family.facts["z"][pool]))
        count = np.maximum((apart < NEAR).sum(1), min(FEWEST, len(pool)))
        chosen = (uniform[mine] * count).astype(np.int64)
        rows[mine] = pool[np.argsort(apart, axis=1, kind="stable")[np.arange(len(mine)), chosen]]
    return rows


def _gains(normal: torch.Tensor) -> torch.Tensor:
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


def _rest(state: State, family: Family, rng: np.random.Generator) -> torch.Tensor:
    """(n, pixel) spectra in the rest frame, their own absorption included."""
    rest = state["mixed"] @ family.vectors
    _vary(rest, family, state["normal"])
    least = FAINTEST * rest.median(1, keepdim=True).values
    # smooth and monotonic: x where it is above, and an exponential that meets it below
    rest = torch.where(rest > least, rest, least * torch.exp((rest / least).clamp(max=1) - 1))
    ln_wave = family.wave.log().float()
    tilt = TILT * state["normal"][:, 30:31]
    dust = torch.from_numpy(rng.exponential(DUSTY, (len(rest), 1))).float()
    # 1.39 E(B - V) / µm^1.2: the Small Magellanic Cloud, as in Richards+2003
    curve = 0.4 * math.log(10) * 1.39 * (family.wave / 1e4).float() ** -1.2
    rest *= torch.exp(tilt * (ln_wave - math.log(2500)) - dust * curve)
    for i in torch.nonzero(state["bal"] > 0)[:, 0].tolist():
        rest[i] *= trough(family.wave.float(), rng)
    return rest


def _vary(rest: torch.Tensor, family: Family, normal: torch.Tensor) -> None:
    """Move, widen and strengthen each line of (n, pixel) spectra, in place."""
    civ = CIV_SPREAD * normal[:, 0]
    gain = _gains(normal)
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


def trough(wave: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """(pixel,) transmission of one broad absorption line system at rest wavelengths in Å.

    Velocities and widths about as in Gibson+2009: from 0 to 20,000 km/s, 2,000 to 10,000 wide.
    """
    start = rng.exponential(4000.0)
    stop = start + rng.uniform(2000.0, 10000.0)
    depth = rng.uniform(0.4, 1.0)
    phases = rng.uniform(0, 2 * np.pi, 4)
    made = torch.ones_like(wave)
    for line, strength, share in TROUGHS:
        shown = rng.uniform() < share
        speed = LIGHT * torch.log(line / wave)
        edges = torch.sigmoid((speed - start) / 200) * torch.sigmoid((stop - speed) / 400)
        waves = [torch.sin(speed / (400.0 * 2**k) + p) for k, p in enumerate(phases)]
        shape = edges * (0.8 + 0.1 * torch.stack(waves).sum(0)).clamp(0, 1)
        made *= 1 - depth * (strength if shown else 0.0) * shape
    return made


def _intervene(
    flux: torch.Tensor, z: torch.Tensor, sight: Sight, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Put gas in front of quasars, in place; (n,) log10 N(H I) of a damped system, 0 for none."""
    device, wave = flux.device, sight.wave
    damped = np.zeros(len(z))
    first = float(wave[0])
    far = torch.nonzero(z > first / forest.LYA - 1)[:, 0]
    if len(far) == 0:
        return damped
    rows, zs = far.to(device), z[far].to(device)
    size = (len(far), len(wave) + forest.margin(sight.step))
    white = torch.from_numpy(rng.standard_normal(size, dtype=np.float32)).to(device)
    seen = flux[rows] * forest.random_transmission(sight.ln_wave, zs, white)
    systems = torch.from_numpy(1 - rng.random((len(far), 6)))
    seen *= forest.limit_transmission(
        wave, *(s.to(device) for s in forest.thick_systems(z[far], systems))
    )
    low = np.maximum(first / forest.LYA - 1, 0.0)
    path = z[far].numpy() - low
    uniform = rng.random((3, len(far)))
    chosen = uniform[0] < np.clip(DAMPED * path, 0, 1)
    columns = np.clip(20.3 - np.log10(1 - uniform[1]) / 0.8, 20.3, 22.0)  # N^-1.8
    damped[far.numpy()] = np.where(chosen, columns, 0.0)
    hit = torch.from_numpy(np.nonzero(chosen)[0])
    if len(hit):
        at = torch.from_numpy(low + uniform[2] * path)[hit].to(device)
        column = torch.from_numpy(columns)[hit].to(device)
        seen[hit.to(device)] *= forest.damped_transmission(wave, at, column)
    flux[rows] = seen
    return damped


def _subclass(state: State, sight: Sight) -> list[str]:
    """SDSS's subclass of each: broad where any line is seen at 10 sigma."""
    z, mag = state["z"].numpy(), state["mag"].numpy()
    speed = np.full(len(z), 1800.0)  # km/s; sigma of a typical broad line
    wide = np.zeros(len(z), bool)
    for name in ("LYA", "CIV", "CIII", "MGII", "HBETA", "HALPHA"):
        error = FREE * ew_error(sight, GROUPS[name].centre, z, mag, speed)
        wide |= state[name].numpy() > 10 * error
    four = [state[name] for name in ("HBETA", "OIII", "HALPHA")]
    ew = torch.stack([*four, 0.1 * state["HALPHA"]], 1)  # [N II] is a small part of the blend
    names = ("HBETA", "OIII", "HALPHA", "HALPHA")
    error = np.stack([ew_error(sight, GROUPS[n].centre, z, mag, speed) for n in names], 1)
    return rule(ew, torch.from_numpy(FREE * error), torch.from_numpy(wide))
