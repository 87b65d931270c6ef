"""What is decided about objects before their spectra are made, and what comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zspec.errors import ConfigError
from zspec.simulate.sources.families import Family
from zspec.simulate.sources.population import Class, Depth, Population

Float = NDArray[np.float64]


State = dict[str, torch.Tensor]
"""What was drawn for n objects: (n, ...) each."""

ROUNDS = 40
"""How often what SDSS's rule rejects is drawn anew."""
TRIES = 6
"""Candidates for each object in a round after the first: calls cost more than rows."""


@dataclass(frozen=True)
class Sight:
    """The observed grid, and how well lines are seen on it."""

    wave: torch.Tensor
    """(pixel,) float64 Å."""
    ln_wave: torch.Tensor
    """(pixel,) its logarithm."""
    window: tuple[float, float]
    """Å: where lines are looked for."""
    depth: Depth
    """SNR against magnitude."""

    @cached_property
    def step(self) -> float:
        """Step in ln λ."""
        return float(self.ln_wave[-1] - self.ln_wave[0]) / (len(self.ln_wave) - 1)


@dataclass(frozen=True)
class Made:
    """Spectra of some objects and the truth about them."""

    flux: torch.Tensor
    """(n, pixel) float32, arbitrary scale unless said otherwise."""
    truth: Mapping[str, NDArray[Any]]
    """(n,) columns."""


@dataclass(frozen=True)
class Plan:
    """n objects of one family: their classes, and the distributions to draw from."""

    classes: tuple[Class, ...]
    """(n,) the class of each."""
    index: NDArray[np.int64]
    """(n,) its number in the population."""
    z: Float
    """(class, quantile) inverse distributions of redshift, or of velocity in km/s."""
    magnitude: Float
    """(class, quantile) of magnitude."""
    rows: Mapping[int, NDArray[np.int64]]
    """By number of the class: the rows of the bank that may be drawn."""

    def __len__(self) -> int:
        """Number of objects."""
        return len(self.index)

    @classmethod
    def make(
        cls,
        population: Population,
        index: NDArray[np.int64],
        family: Family,
        allowed: NDArray[np.bool_],
    ) -> Plan:
        """The plan of objects with these classes. Raises ConfigError where one has no sources."""
        rows = {int(k): _rows(population.classes[k], family, allowed) for k in np.unique(index)}
        return cls(
            classes=tuple(population.classes[k] for k in index),
            index=index,
            z=population.tables["z"],
            magnitude=population.tables["magnitude"],
            rows=rows,
        )

    def some(self, chosen: NDArray[np.int64]) -> Plan:
        """The same for some of the objects."""
        picked = tuple(self.classes[i] for i in chosen)
        return Plan(picked, self.index[chosen], self.z, self.magnitude, self.rows)

    def draw_z(self, rng: np.random.Generator) -> Float:
        """(n,) redshifts, or velocities in km/s."""
        return _invert(self.z[self.index], rng.uniform(size=len(self)))

    def draw_magnitude(self, rng: np.random.Generator) -> Float:
        """(n,) AB magnitudes."""
        return _invert(self.magnitude[self.index], rng.uniform(size=len(self)))

    def draw_rows(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """(n,) rows of the bank: all that a class may have are equally likely."""
        share = rng.uniform(size=len(self))
        pools = [self.rows[int(k)] for k in self.index]
        return np.array([p[int(u * len(p))] for p, u in zip(pools, share, strict=True)], np.int64)

    def share(self, name: str) -> Float:
        """(n,) a number of each object's class, as ``nuclei``."""
        return np.array([getattr(c, name) for c in self.classes], np.float64)


def _rows(one: Class, family: Family, allowed: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Rows of the bank that a class may draw."""
    good = allowed.copy()
    if one.groups:
        names = np.array(family.groups)[family.members]
        good &= np.isin(names, one.groups)
    for fact, (low, high) in (("type", one.types), ("break", one.breaks)):
        if fact in family.facts:
            good &= (family.facts[fact] >= low) & (family.facts[fact] < high)
    if not good.any():
        raise ConfigError(f"{one.label}: none of the {family.name} sources fits its choice")
    return np.nonzero(good)[0]


def _invert(table: Float, uniform: Float) -> Float:
    """(n,) linear interpolation in rows of tabled inverse distributions."""
    place = uniform * (table.shape[1] - 1)
    low = np.minimum(place.astype(np.int64), table.shape[1] - 2)
    row = np.arange(len(table))
    share = place - low
    return np.asarray((1 - share) * table[row, low] + share * table[row, low + 1])


def kernel_draws(family: Family, rows: NDArray[np.int64], rng: np.random.Generator) -> torch.Tensor:
    """(n, K) float32 coefficients: rows of the bank, each with a step of its group's kernel."""
    white = torch.from_numpy(rng.standard_normal((len(rows), family.bank.shape[1]))).float()
    index = torch.from_numpy(rows)
    kernel = family.kernel[torch.from_numpy(family.members[rows])]  # (n, K, K)
    made: torch.Tensor = family.bank[index] + (kernel @ white[..., None])[..., 0]
    return made


def snr_at(depth: Depth, magnitude: Float) -> Float:
    """(n,) SNR per pixel of 1e-4 in log10 λ: photon noise of source and sky."""
    bright, there = (
        10 ** (-0.4 * (np.asarray(m) - depth.sky)) for m in (magnitude, depth.magnitude)
    )
    return np.asarray(depth.snr * (bright / np.sqrt(bright + 1)) / (there / np.sqrt(there + 1)))


def ew_error(sight: Sight, line: float, z: Float, magnitude: Float, speed: Float) -> Float:
    """(n,) 1 sigma in Å, rest frame, of the equivalent width of a line; inf beyond the window.

    A Gaussian of sigma s fitted to a flat continuum of this SNR per pixel p costs
    sqrt(2 sqrt(pi) s p) / SNR. ``speed`` (n,) is the line's sigma in km/s; the spectrograph adds
    69.
    """
    seen = line * (1 + z)
    pixel = 2.302585e-4 * line
    spread = np.hypot(speed, 69.0) / 299792.458 * line
    error = np.sqrt(2 * np.sqrt(np.pi) * spread * pixel) / snr_at(sight.depth, magnitude)
    inside = (seen > sight.window[0]) & (seen < sight.window[1])
    return np.where(inside, error, np.inf)


def settle(
    plan: Plan,
    draw: Callable[[Plan], State],
    subclass: Callable[[State], list[str]],
) -> State:
    """Draw until SDSS's rule calls each object what its class keeps.

    Raises ConfigError where ``ROUNDS`` were not enough: the class hardly exists.
    """
    state = draw(plan)
    wrong = np.nonzero(~_kept(plan, subclass(state)))[0]
    for _ in range(ROUNDS):
        if len(wrong) == 0:
            return state
        several = plan.some(np.repeat(wrong, TRIES))
        anew = draw(several)
        good = _kept(several, subclass(anew)).reshape(len(wrong), TRIES)
        found = good.max(axis=1).astype(bool)
        first = torch.from_numpy((np.arange(len(wrong)) * TRIES + good.argmax(axis=1))[found])
        for key, values in anew.items():
            state[key][torch.from_numpy(wrong[found])] = values[first]
        wrong = wrong[~found]
    if len(wrong) == 0:  # in the last round
        return state
    one = plan.classes[wrong[0]]
    raise ConfigError(
        f"{one.label}: in {ROUNDS} rounds the rule gave no {one.rule!r}; change its distributions"
    )


def _kept(plan: Plan, names: list[str]) -> NDArray[np.bool_]:
    """(n,) whether SDSS's rule calls an object what its class keeps."""
    pairs = zip(plan.classes, names, strict=True)
    return np.array([one.rule in (None, name) for one, name in pairs], bool)
