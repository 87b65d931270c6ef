"""Stars: a real draw, a radial velocity, and nothing else."""

from __future__ import annotations

import numpy as np
import torch

from zspec.simulate.sources.families import LIGHT, Family
from zspec.simulate.sources.plan import Made, Plan, Sight, kernel_draws
from zspec.simulate.sources.render import fine, positive, shift


def make(plan: Plan, family: Family, sight: Sight, rng: np.random.Generator) -> Made:
    """Spectra (arbitrary scale) and truth of stars."""
    device = str(sight.wave.device)
    rows = plan.draw_rows(rng)
    z = plan.draw_z(rng) / LIGHT
    mixed = kernel_draws(family, rows, rng)
    mixed = positive(mixed, family.bank[torch.from_numpy(rows)], family)
    grid = fine(family, sight.step, False, device)
    rest = mixed.to(device) @ grid.vectors
    flux = shift(rest, grid, sight.ln_wave, torch.from_numpy(z).to(device)).clamp(min=0)
    truth = {
        "Z": z,
        "MAG": plan.draw_magnitude(rng),
        "SED": family.seds[rows],
        "SUBTYPE": np.array([c.subtype for c in plan.classes]),
    }
    return Made(flux, truth)
