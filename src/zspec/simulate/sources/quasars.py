"""Quasars: a real one from the bank, with its lines moved, widened and strengthened.

Then whatever lies in the way: broad absorption of its own, the forest, damped and thick systems.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from zspec.simulate.sources import forest
from zspec.simulate.sources.broadlines import GROUPS, gains, measure, vary, visible
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

TILT = 0.1
"""Standard deviation of the slope that is added to the bank's own."""
DUSTY = 0.01
"""Mean E(B - V) of dust beside what the bank shows, exponential; SMC-like (Hopkins+2004)."""
FAINTEST = 0.05
"""Flux below this times the median is lifted above zero: a quasar is dark nowhere by itself."""
NEAR, FEWEST = 0.2, 0.13
"""A source is drawn from those within this ln(1 + z), since its spectrum is known there; or from
this share that is nearest, 25 of all. No source is drawn whose lines make no sense where the
survey sees them, which is how a spectrum looks far from where it was seen."""
DAMPED = 0.25
"""Share of sight lines of unit length in z with a damped system at z = 3; Prochaska+2005."""
TROUGHS = (
    (1549.06, 1.0, 1.0),
    (1398.33, 0.6, 1.0),
    (1240.81, 0.9, 1.0),
    (1215.67, 0.5, 1.0),
    (2800.26, 0.5, 0.05),
    (1857.8, 0.5, 0.15),
)
"""(Å, depth relative to C IV, share of BAL quasars that show it): C IV, Si IV, N V, Lyα, Mg II and
Al III. Mg II has troughs in 1.3 % of quasars and C IV in 26 % (Trump+2006)."""


FREE = 2.5
"""How much worse a broad line is measured than beside a known continuum. Of 260 real quasars half
are BROADLINE at an SNR of 2.3 a pixel; a known continuum would put that at 0.9."""


def make(plan: Plan, family: Family, sight: Sight, rng: np.random.Generator) -> Made:
    """Spectra (arbitrary scale) and truth of quasars."""
    whole = measure(family.bank, family)[1]
    state = settle(
        plan, lambda some: _draw(some, family, whole, sight, rng), lambda s: _subclass(s, sight)
    )
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


def _draw(
    plan: Plan, family: Family, whole: torch.Tensor, sight: Sight, rng: np.random.Generator
) -> State:
    """All that SDSS's rule asks of quasars, (n, ...) each; the spectra themselves come later."""
    z, mag = torch.from_numpy(plan.draw_z(rng)), plan.draw_magnitude(rng)
    seen = visible(z, sight.window)
    apart = torch.log1p(z)[:, None] - torch.log1p(torch.from_numpy(family.facts["z"]).double())
    fits = (whole | ~seen[:, None]).all(2)
    # (n, N); a source of no redshift is known at all of them
    apart = torch.where(fits, apart.abs().nan_to_num(0.0), torch.inf)
    rows = torch.from_numpy(_near(plan, apart.numpy(), rng.uniform(size=len(plan))))
    safe = family.bank[rows]
    mixed = positive(kernel_draws(family, rows.numpy(), rng), safe, family)
    widths, lines = measure(mixed, family)
    strange = (seen & ~lines).any(1)
    mixed[strange], widths[strange] = safe[strange], measure(safe[strange], family)[0]
    normal = torch.from_numpy(rng.standard_normal((len(plan), 32))).float()
    widths = (gains(normal) * widths).double()
    return {
        "rows": rows,
        "z": z,
        "mag": torch.from_numpy(mag),
        "mixed": mixed,
        "normal": normal,
        "bal": torch.from_numpy((rng.uniform(size=len(plan)) < plan.share("bal")) * 1.0),
        **dict(zip(GROUPS, widths.T, strict=True)),
    }


def _near(
    plan: Plan, apart: NDArray[np.float64], uniform: NDArray[np.float64]
) -> NDArray[np.int64]:
    """(n,) rows of the bank, of those that are near; ``apart`` (n, N) is in ln(1 + z)."""
    rows = np.zeros(len(plan), np.int64)
    for kind, pool in plan.rows.items():
        mine = np.nonzero(plan.index == kind)[0]
        far = apart[mine[:, None], pool]  # (mine, pool)
        fewest = np.minimum(max(round(FEWEST * len(pool)), 1), np.isfinite(far).sum(1))
        count = np.maximum(np.maximum((far < NEAR).sum(1), fewest), 1)
        chosen = (uniform[mine] * count).astype(np.int64)
        rows[mine] = pool[np.argsort(far, axis=1, kind="stable")[np.arange(len(mine)), chosen]]
    return rows


def _rest(state: State, family: Family, rng: np.random.Generator) -> torch.Tensor:
    """(n, pixel) spectra in the rest frame, their own absorption included."""
    rest = state["mixed"] @ family.vectors
    vary(rest, family, state["normal"])
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
