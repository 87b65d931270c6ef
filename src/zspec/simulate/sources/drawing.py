"""Objects of a population: which class, redshift, magnitude and source, then their spectra.

Objects come in blocks of ``BLOCK``, each from a generator of its own that is seeded with the
block's number, and a block is always drawn whole: object i depends on the seed and on i, and not on
how many are asked for. All random numbers are drawn on the CPU, so that a GPU makes the same
objects.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zspec.errors import ConfigError, unknown
from zspec.simulate.objects import Objects
from zspec.simulate.sources import galaxies, quasars, stars
from zspec.simulate.sources.families import SPLITS, Family, load, part_of
from zspec.simulate.sources.plan import Made, Plan, Sight
from zspec.simulate.sources.population import EBV_SPREAD, Population
from zspec.simulate.sources.render import magnitude_scale, redden

BLOCK = 64
"""Objects that are drawn together."""
RENDER: Mapping[str, Callable[[Plan, Family, Sight, np.random.Generator], Made]] = {
    "galaxy": galaxies.make,
    "quasar": quasars.make,
    "star": stars.make,
}
"""What turns the plan of some objects into spectra, by family."""

Grid = tuple[float, float, int]
"""Ln λ of the first pixel (Å), its step, and how many."""


def draw(
    population: Population,
    n: int,
    seed: Sequence[int],
    grid: Grid | torch.Tensor,
    device: str = "cpu",
    seds: str | None = None,
    families: Mapping[str, Family] | None = None,
) -> Objects:
    """``n`` objects of a population, noise-free, as they reach the top of the atmosphere.

    ``grid`` is (ln λ of the first pixel in Å, step, count) or wavelengths in Å that are even in
    ln λ. ``seds``: train, valid or test restricts the sources to a part that shares none with the
    others; None takes all. ``families`` are the sources, by default those that ship. Raises
    ConfigError where the grid does not hold the population's band, or a class cannot be drawn.
    """
    if n < 0:
        raise ConfigError(f"{n} objects: a whole number >= 0 was expected")
    if seds is not None and seds not in SPLITS:
        raise ConfigError(unknown("part of the sources", seds, SPLITS))
    sight = _sight(grid, population, device)
    kinds = families or load()
    names: set[str] = {c.family for c in population.classes}
    banks = {name: _allowed(kinds[name], seds) for name in names}
    blocks = [
        _block(population, [*seed, i], sight, kinds, banks) for i in range(math.ceil(n / BLOCK))
    ]
    flux = torch.cat([b.flux for b in blocks] or [torch.zeros(0, len(sight.wave), device=device)])
    truth = _joined([b.truth for b in blocks], n)
    return Objects(sight.wave, flux[:n], truth)


def _sight(grid: Grid | torch.Tensor, population: Population, device: str) -> Sight:
    """The grid and what is seen on it."""
    if isinstance(grid, torch.Tensor):
        ln_wave = grid.double().log().to(device)
    else:
        ln_wave = grid[0] + grid[1] * torch.arange(grid[2], dtype=torch.float64, device=device)
    wave = ln_wave.exp()
    low, high = population.band
    if len(wave) < 2 or not float(wave[0]) <= low < high <= float(wave[-1]):
        raise ConfigError(f"{population.name}: band {low:g}-{high:g} Å is not on the grid")
    return Sight(wave, ln_wave, population.window, population.depth)


def _allowed(family: Family, part: str | None) -> NDArray[np.bool_]:
    """(N,) whether a source belongs to the part."""
    if part is None:
        return np.ones(len(family.bank), bool)
    return np.array([part_of(sed) == part for sed in family.seds])


def _block(
    population: Population,
    seed: Sequence[int],
    sight: Sight,
    families: Mapping[str, Family],
    allowed: Mapping[str, NDArray[np.bool_]],
) -> Made:
    """One whole block, in the order of its objects."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(list(seed))))
    kind = rng.choice(len(population.classes), BLOCK, p=population.shares())
    spread = rng.standard_normal(BLOCK)
    flux = torch.zeros(BLOCK, len(sight.wave), device=sight.wave.device)
    truth: dict[str, NDArray[Any]] = {}
    for name, render in RENDER.items():
        rows = np.nonzero([population.classes[k].family == name for k in kind])[0]
        own = np.random.Generator(np.random.PCG64(rng.integers(2**63)))
        if len(rows) == 0:
            continue
        plan = Plan.make(population, kind[rows], families[name], allowed[name])
        made = render(plan, families[name], sight, own)
        flux[torch.from_numpy(rows).to(flux.device)] = made.flux
        _scatter(truth, made.truth, rows)
    ebv = _ebv(population, kind, spread)
    wave = sight.wave
    flux = redden(flux, wave, torch.from_numpy(ebv).to(wave.device))
    mag = torch.from_numpy(truth["MAG"]).to(wave.device)
    flux = flux * magnitude_scale(flux, wave, population.band, mag).float()[:, None]
    labels = [population.classes[k] for k in kind]
    truth |= {"LABEL": np.array([c.label for c in labels]), "EBV": ebv}
    truth |= {"SPECTYPE": np.array([c.spectype for c in labels])}
    return Made(flux, truth)


def _ebv(population: Population, kind: NDArray[np.int64], spread: NDArray[np.float64]) -> Any:
    """(n,) E(B - V) of the Galaxy, lognormal about the class's median or else the population's."""
    own = [population.classes[k].ebv for k in kind]
    median = np.array([population.ebv if e is None else e for e in own])
    return median * np.exp(EBV_SPREAD * spread)


def _scatter(
    truth: dict[str, NDArray[Any]], part: Mapping[str, NDArray[Any]], rows: NDArray[np.int64]
) -> None:
    """Put the columns of some rows of a block in place; what others lack is NaN or empty."""
    for name, values in part.items():
        if name not in truth:
            text = values.dtype.kind == "U"
            truth[name] = np.full(BLOCK, "", "U40") if text else np.full(BLOCK, np.nan)
        truth[name][rows] = values


COLUMNS = ("LABEL", "SPECTYPE", "SUBTYPE", "SED")
LINES = ("EW_HALPHA", "EW_HBETA", "EW_OIII", "EW_NII", "EW_BROAD")
NUMBERS = ("Z", "MAG", "EBV", "VDISP", *LINES, "BAL", "DLA")
"""Columns of the truth; numbers are NaN where they make no sense."""


def _joined(parts: Sequence[Mapping[str, NDArray[Any]]], n: int) -> dict[str, NDArray[Any]]:
    """Truth of all blocks, cut to n rows; every column is always there."""
    made: dict[str, NDArray[Any]] = {}
    for names, blank in ((COLUMNS, np.full(BLOCK, "")), (NUMBERS, np.full(BLOCK, np.nan))):
        for name in names:
            made[name] = np.concatenate([blank[:0], *[p.get(name, blank) for p in parts]])[:n]
    return made
