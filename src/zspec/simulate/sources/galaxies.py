"""Galaxies: stars from the bank, broadened by their motions, and the lines of gas and nucleus."""

from __future__ import annotations

import numpy as np
import torch

from zspec.simulate.sources.families import Family
from zspec.simulate.sources.lines import INDEX, NAMES, WAVES, Nebula, add_lines, rule
from zspec.simulate.sources.plan import (
    Made,
    Plan,
    Sight,
    State,
    ew_error,
    kernel_draws,
    settle,
)
from zspec.simulate.sources.render import fine, positive, rungs, shift

RULE = ("Hbeta", "OIII", "Halpha", "NII")
"""Lines that SDSS's rule looks at."""
BROAD = {"Halpha": 1.0, "Hbeta": 1 / 3.06, "Hgamma": 0.14}
"""Fluxes of broad Balmer lines; 3.06 is where Dong+2008 find Hα/Hβ to peak."""
OWN_WIDTH = 100.0
"""km/s that the bank's spectra already are broadened by: their galaxies and spectrographs."""
LEAST_EW = 0.2
"""Å; Hα of galaxies in which none was measured."""


def make(plan: Plan, family: Family, sight: Sight, rng: np.random.Generator) -> Made:
    """Spectra (arbitrary scale) and truth of galaxies."""
    state = settle(plan, lambda some: _draw(some, family, rng), lambda s: _subclass(s, sight))
    device = sight.wave.device
    wide = (state["vdisp"] ** 2 - OWN_WIDTH**2).clamp(min=0).sqrt()
    spread = rungs(wide)[:, :, None] * state["mixed"][:, None]  # (n, rung, K)
    grid = fine(family, sight.step, True, str(device))
    rest = spread.flatten(1).to(device) @ grid.vectors
    flux = shift(rest, grid, sight.ln_wave, state["z"].to(device)).clamp(min=0)
    _paint(flux, state, sight)
    widths = {f"EW_{name.upper()}": state["ew"][:, INDEX[name]].numpy() for name in RULE}
    truth = {
        "Z": state["z"].numpy(),
        "MAG": state["mag"].numpy(),
        "SED": family.seds[state["rows"].numpy()],
        "SUBTYPE": np.array(_subclass(state, sight)),
        "VDISP": state["vdisp"].numpy(),
        "EW_BROAD": state["broad_ew"].numpy(),
    }
    return Made(flux, truth | widths)


def _draw(plan: Plan, family: Family, rng: np.random.Generator) -> State:
    """All that is random about galaxies, (n, ...) each."""
    rows = plan.draw_rows(rng)
    z, mag = plan.draw_z(rng), plan.draw_magnitude(rng)
    safe = family.bank[torch.from_numpy(rows)]
    mixed = positive(kernel_draws(family, rows, rng), safe, family)
    normal = torch.from_numpy(rng.standard_normal((len(plan), 8)))
    breaks = torch.from_numpy(family.facts["break"][rows]).double()
    # 90 km/s for star-forming galaxies and 200 for passive ones, with the scatter of
    # Faber-Jackson samples (Bernardi+2003)
    vdisp = 10 ** (1.95 + 0.5 * (breaks - 1.2) + 0.12 * normal[:, 0])
    gas = _gas(torch.from_numpy(family.facts["ew_halpha"][rows]).double(), plan, normal, rng)
    level = mixed.double() @ _continuum(family)
    halpha = level[:, INDEX["Halpha"]]
    flux = gas.ratios * (gas.ew * halpha)[:, None]
    broad = torch.from_numpy(rng.uniform(size=len(plan)) < plan.share("broad"))
    return {
        "rows": torch.from_numpy(rows),
        "z": torch.from_numpy(z),
        "mag": torch.from_numpy(mag),
        "mixed": mixed,
        "vdisp": vdisp.clamp(30.0, 400.0),
        "gas_width": (0.85 * vdisp * 10 ** (0.08 * normal[:, 1])).clamp(40.0, 190.0),
        "flux": flux,
        "ew": flux / level.clamp(min=1e-3),
        "broad_ew": torch.where(broad, 60 * torch.exp(0.6 * normal[:, 2]), 0.0),
        "broad_width": 10 ** (3.2 + 0.15 * normal[:, 3]),
        "halpha": halpha,
    }


def _continuum(family: Family) -> torch.Tensor:
    """(K, line) float64 vectors at the emission lines."""
    at = (WAVES.log10() - family.start) / family.step
    return family.vectors[:, at.round().long()].double()


def _gas(
    measured: torch.Tensor, plan: Plan, normal: torch.Tensor, rng: np.random.Generator
) -> Nebula:
    """The gas: star formation by the bank's own Hα, and a nucleus where the class has them.

    The star-forming sequence is that of Kewley+2013 (equation 1, z = 0), and strong lines go with
    few metals. Nuclei scatter about the middle of the Seyfert and LINER branches of Kewley+2006.
    """
    young = measured.clamp(min=LEAST_EW) * torch.exp(0.35 * normal[:, 4])
    nitrogen = (-0.45 - 0.38 * (young.log10() - 1.3) + 0.14 * normal[:, 5]).clamp(-1.8, -0.25)
    oxygen = (0.61 / (nitrogen + 0.08) + 1.1 + 0.1 * normal[:, 6]).clamp(-0.9, 0.95)
    active = torch.from_numpy(rng.uniform(size=len(plan)) < plan.share("nuclei"))
    more = torch.from_numpy(rng.standard_normal((len(plan), 4)))
    nuclear = torch.where(active, 8.0 * torch.exp(0.8 * more[:, 0]), 0.0)
    share = nuclear / (nuclear + young)
    mixed = (1 - share) * 10**nitrogen + share * 10 ** (0.0 + 0.15 * more[:, 1])
    ionised = (1 - share) * 10**oxygen + share * 10 ** (0.6 + 0.3 * more[:, 2])
    return Nebula(
        ew=young + nuclear,
        nitrogen=mixed.log10(),
        oxygen=ionised.log10(),
        active=share > 0.5,
        dust=(0.7 * torch.exp(0.5 * normal[:, 7])).clamp(max=4.0),
        noise=torch.from_numpy(rng.standard_normal((len(plan), len(NAMES)))),
    )


def _subclass(state: State, sight: Sight) -> list[str]:
    """SDSS's subclass of each, from the true lines and the noise that the depth means."""
    z, mag, width = (state[k].numpy() for k in ("z", "mag", "gas_width"))
    error = [ew_error(sight, float(WAVES[INDEX[name]]), z, mag, width) for name in RULE]
    ew = torch.stack([state["ew"][:, INDEX[name]] for name in RULE], 1)
    speed = state["broad_width"].numpy()
    wide = np.zeros(len(z), bool)
    for name, share in BROAD.items():
        line = INDEX[name]
        level = (state["ew"] / state["flux"].clamp(min=1e-12))[:, line]
        own = state["broad_ew"] * share * state["halpha"] * level
        wide |= own.numpy() > 10 * ew_error(sight, float(WAVES[line]), z, mag, speed)
    return rule(ew, torch.from_numpy(np.stack(error, 1)), torch.from_numpy(wide))


def _paint(flux: torch.Tensor, state: State, sight: Sight) -> None:
    """Add the lines, in place: narrow ones to all, broad ones where there are any."""
    device = flux.device
    stretch = (1 + state["z"])[:, None]
    place = (WAVES * stretch).log().to(device)
    origin = float(sight.ln_wave[0])
    area, width = (state["flux"] * stretch).to(device), state["gas_width"][:, None].to(device)
    add_lines(flux, origin, sight.step, place, area, width)
    rows = torch.nonzero(state["broad_ew"] > 0)[:, 0]
    if len(rows) == 0:
        return
    some = torch.tensor([INDEX[name] for name in BROAD])
    shares = torch.tensor(list(BROAD.values()), dtype=torch.float64)
    strength = (state["broad_ew"] * state["halpha"])[rows, None] * shares * stretch[rows]
    part = flux[rows.to(device)]
    speed = state["broad_width"][rows, None].to(device)
    add_lines(part, origin, sight.step, place[rows][:, some], strength.to(device), speed)
    flux[rows.to(device)] = part
