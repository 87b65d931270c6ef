"""What a survey looks at: classes, their shares, redshifts, magnitudes, dust, and depth, in TOML.

A distribution is a list of knots ``[[x, density], ...]``, linear in between. With ``flat`` every
label is as frequent as every other, and z and magnitude are uniform over the knots' range: what a
network should be trained on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from zspec.errors import ConfigError
from zspec.settings import build, load

Knots = tuple[tuple[float, float], ...]

QUANTILES = 513
"""Points of a tabled inverse distribution."""


@dataclass(frozen=True)
class Class:
    """One kind of target. Several may share a label: they are its sub-populations."""

    label: str
    """The class that a network is to tell."""
    spectype: Literal["GALAXY", "QSO", "STAR"]
    """What the catalogue would call it."""
    family: Literal["galaxy", "quasar", "star"]
    """Which sources."""
    magnitude: Knots
    """Density of AB magnitudes in the population's band."""
    subtype: str = ""
    """For the catalogue's SUBTYPE."""
    share: float = 1.0
    """How frequent, relative to the others; with ``flat`` only within its label."""
    z: Knots = ()
    """Density of redshifts. Galaxies and quasars."""
    velocity: Knots = ()
    """Density of radial velocities, km/s. Stars."""
    groups: tuple[str, ...] = ()
    """Samples of the sources to draw from; empty: all."""
    types: tuple[float, float] = (0.0, 9.9)
    """Stars: range of types, from A0 = 2.0 and K5 = 5.5; the upper end is left out."""
    breaks: tuple[float, float] = (0.0, 9.9)
    """Galaxies: range of Dn(4000), which tells the passive from the star-forming."""
    nuclei: float = 0.0
    """Galaxies: share with an active nucleus that lights narrow lines."""
    broad: float = 0.0
    """Galaxies: share with broad Balmer lines. A quasar always has them."""
    bal: float = 0.0
    """Quasars: share with broad absorption."""
    rule: str | None = None
    """Keep what SDSS's rule calls so: ``AGN``, ``STARBURST``, ``STARFORMING``, ``BROADLINE`` or
    nothing at all; None keeps everything."""
    ebv: float | None = None
    """Median E(B - V) of the Galaxy, where it differs from the population's."""


@dataclass(frozen=True)
class Depth:
    """How well lines are seen: what SDSS's rule needs."""

    magnitude: float
    """AB magnitude at which ``snr`` is reached."""
    snr: float
    """SNR per pixel of 1e-4 in log10 λ there."""
    sky: float
    """Magnitude of the sky in the fibre: fainter sources lose SNR as flux, brighter as its root."""


@dataclass(frozen=True)
class Population:
    """All of a survey's targets."""

    name: str
    """The file it comes from, for messages."""
    band: tuple[float, float]
    """Å: ends of the top-hat that magnitudes are measured in."""
    ebv: float
    """Median E(B - V) of the Galaxy; lognormal with a sigma of ``EBV_SPREAD``."""
    window: tuple[float, float]
    """Å: what the spectrograph sees, where SDSS's rule looks for lines."""
    depth: Depth
    """For SDSS's rule."""
    classes: tuple[Class, ...]
    """In the order of the file."""
    flat: bool = False
    """Flat in label, z and magnitude."""
    digest: str = ""
    """SHA-256 of the file's text."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Each label once, in order."""
        return tuple(dict.fromkeys(c.label for c in self.classes))

    def shares(self) -> NDArray[np.float64]:
        """(class,) probability of each; they sum to 1."""
        share = np.array([c.share for c in self.classes], np.float64)
        if self.flat:
            labels = np.array([c.label for c in self.classes])
            share /= [share[labels == label].sum() for label in labels]
        return np.asarray(share / share.sum())

    @cached_property
    def tables(self) -> Mapping[str, NDArray[np.float64]]:
        """(class, QUANTILES) inverse distributions of z (velocity for stars) and magnitude."""
        return {
            what: np.stack([quantiles(_knots(c, what), self.flat) for c in self.classes])
            for what in ("z", "magnitude")
        }


EBV_SPREAD = 0.7
"""Sigma of ln E(B - V): 0.015 to 0.06 about a median of 0.03 at high latitudes, as in the maps of
Schlegel, Finkbeiner & Davis (1998)."""


def _knots(one: Class, what: str) -> Knots:
    """The distribution of z, in km/s for stars, or of the magnitude."""
    if what == "magnitude":
        return one.magnitude
    return one.velocity if one.family == "star" else one.z


def quantiles(knots: Knots, flat: bool) -> NDArray[np.float64]:
    """(QUANTILES,) values at even steps of the cumulative distribution."""
    x, density = np.array(knots, np.float64).T
    at = np.linspace(x[0], x[-1], 4001)
    weight = np.ones_like(at) if flat else np.interp(at, x, density)
    total = np.concatenate([[0.0], np.cumsum(0.5 * (weight[1:] + weight[:-1]))])
    return np.asarray(np.interp(np.linspace(0, total[-1], QUANTILES), total, at))


def read_population(path: Path | str, flat: bool | None = None) -> Population:
    """The population of a TOML file; ``flat`` overrides the file's own.

    Raises ConfigError for a file that is no TOML, an unknown or missing key, or a wrong value.
    """
    path = Path(path)
    config = load(path)
    config["classes"] = config.pop("class", [])
    digest = hashlib.sha256(path.read_text(encoding="utf-8").encode()).hexdigest()
    made = build(Population, config | {"name": str(path), "digest": digest}, file=str(path))
    if flat is not None:
        made = dataclasses.replace(made, flat=flat)
    if not made.classes:
        raise ConfigError(f"{path}: needs at least one [[class]]")
    for one in made.classes:
        _check(one, str(path))
    return made


def _check(one: Class, where: str) -> None:
    """Raise ConfigError where a class cannot be drawn from."""
    for what in ("z", "magnitude"):
        knots = _knots(one, what)
        rising = all(a[0] < b[0] for a, b in itertools.pairwise(knots))
        if len(knots) < 2 or not rising or min(y for _, y in knots) < 0:
            name = "velocity" if what == "z" and one.family == "star" else what
            raise ConfigError(
                f"{where}, {one.label}: {name} needs rising knots [[x, density], ...]"
            )
    if one.share <= 0:
        raise ConfigError(f"{where}, {one.label}: share must be positive")
