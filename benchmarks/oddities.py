"""Spectra that no estimator here was made for, and good ones: what `strange.py` looks at.

Blends of two real SDSS spectra of equal median flux; stars of classes that no basis and no mock is
of; real spectra of another survey; sky fibres, without what the adapter knows of them; analytic
mocks on another survey's pixels; emission lines without any continuum, and four kinds of garbage.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import elsewhere
import numpy as np
import published_sources
from numpy.typing import NDArray

from zspec import mock_spectra, plugins
from zspec.likelihood.basis import STEP
from zspec.likelihood.labelled import listed
from zspec.simulate.simulator import simulator
from zspec.survey import Arm, Spectra

COUNT = 16
"""Spectra of a kind."""
BRIGHT = 5.0
"""Median SNR of the spectra that are blended."""
LAMOST = 10 ** (np.arange(35_682, 39_588) * STEP)
"""Å: the pixels of LAMOST's low-resolution spectra; their LSF has R = 1800."""
WAVE: NDArray[np.float64] = 10 ** (np.arange(35_700, 39_600, dtype=np.float64) * STEP)

GOOD = "real SDSS"
"""The kind that is not strange."""
UNKNOWN = ("Carbon", "WDmagnetic")
"""Of SDSS's star templates: what neither bases nor the network's mocks contain, and is no noise."""

Truth = list[tuple[str, float]]
"""Spectype and redshift of each object in a spectrum."""
Sample = tuple[Spectra, Truth]
Array = NDArray[np.float64]


def blends(shared: Path, rng: np.random.Generator) -> Iterator[tuple[str, Sample]]:
    """Pairs of classes."""
    by: dict[str, list[tuple[float, Spectra]]] = {}
    for line, one in listed(shared / "data/sdss/manifest.csv"):
        if line["label_ok"] == "1" and float(line["sn_median"]) > BRIGHT and len(one.arms) == 1:
            by.setdefault(line["class"], []).append((float(line["z"]), one))
    for a, b in (("GALAXY", "STAR"), ("GALAXY", "GALAXY"), ("QSO", "GALAXY"), ("QSO", "STAR")):
        for _ in range(COUNT):
            (z1, first), (z2, second) = (by[k][rng.integers(len(by[k]))] for k in (a, b))
            if len(first.arms[0].wave) == len(second.arms[0].wave):
                yield f"blend of {a} and {b}", (blended(first, second), [(a, z1), (b, z2)])


def blended(first: Spectra, second: Spectra) -> Spectra:
    """The sum of two, the second scaled to the median of the first."""
    a, b = first.arms[0], second.arms[0]
    both = (a.ivar[0] > 0) & (b.ivar[0] > 0)
    scale = np.float32(np.median(a.flux[0, both]) / np.median(b.flux[0, both]))
    variance = 1 / np.maximum(a.ivar, 1e-20) + scale**2 / np.maximum(b.ivar, 1e-20)
    ivar = np.where(both, 1 / variance, 0).astype(np.float32)
    arm = dataclasses.replace(a, flux=a.flux + scale * b.flux, ivar=ivar, good=None)
    return dataclasses.replace(first, arms=(arm,))


def mocks(snr: float) -> Iterator[tuple[str, Sample]]:
    """Analytic objects as LAMOST would see them."""
    made = mock_spectra({"A": (LAMOST, LAMOST / 1800 / 2.355)}, 3 * COUNT, 3, snr)
    assert made.truth is not None
    for i in range(len(made)):
        truth = [(str(made.truth.spectype[i]), float(made.truth.z[i]))]
        yield f"mock {truth[0][0]}, SNR {snr:g}", (made[i : i + 1], truth)


def seen(flux: Array, sigma: float, rng: np.random.Generator) -> Spectra:
    """``flux`` (pixel,) with white noise."""
    noisy = (flux + sigma * rng.standard_normal(len(WAVE)))[None].astype(np.float32)
    arm = Arm("A", WAVE, noisy, np.full_like(noisy, sigma**-2))
    return Spectra((arm,), np.arange(1), np.arange(1, dtype=np.int32))


def bumps(centres: Array, heights: Array, width: float) -> Array:
    """Gaussians of one width in Å."""
    shape = np.exp(-0.5 * ((WAVE - centres[:, None]) / width) ** 2)
    return np.asarray(heights @ shape)


def lines_only(rng: np.random.Generator) -> Sample:
    """[O II], Hβ, [O III], [O III] and Hα on nothing."""
    z = float(rng.uniform(0.05, 0.35))
    waves = np.array([3728.5, 4862.7, 4960.3, 5008.2, 6564.6]) * (1 + z)
    flux = bumps(waves, np.array([10.0, 5.0, 7.0, 20.0, 15.0]), 3.0)
    return seen(flux, 1.0, rng), [("GALAXY", z)]


def random_lines(rng: np.random.Generator) -> Sample:
    """Eight bumps of either sign on a flat continuum."""
    at, heights = rng.uniform(4000, 9000, 8), rng.uniform(-20, 20, 8)
    return seen(5 + bumps(at, heights, float(rng.uniform(2, 30))), 0.5, rng), []


def walk(rng: np.random.Generator) -> Sample:
    """Noise that is correlated over 100 pixels, three times what is noise."""
    rough = np.convolve(rng.standard_normal(len(WAVE) + 200), np.ones(100) / 10, "same")
    return seen(10 + 3 * rough[100:-100], 0.7, rng), []


def sawtooth(rng: np.random.Generator) -> Sample:
    """Orders that do not join."""
    return seen(10 + 4 * ((WAVE / rng.uniform(150, 600)) % 1), 0.7, rng), []


def fringes(rng: np.random.Generator) -> Sample:
    """A sine."""
    return seen(10 + 3 * np.sin(WAVE / rng.uniform(10, 60)), 0.7, rng), []


GARBAGE: dict[str, Callable[[np.random.Generator], Sample]] = {
    "emission lines only": lines_only,
    "random lines": random_lines,
    "correlated noise": walk,
    "sawtooth": sawtooth,
    "fringes": fringes,
}


def good(shared: Path) -> Iterator[tuple[str, Sample]]:
    """Real SDSS spectra with a sound label, and sky fibres."""
    for line, one in listed(shared / "data/sdss/manifest.csv"):
        if line["label_ok"] == "1":
            rare = line["subclass"].startswith(("WD", "CV"))
            name = "real SDSS, white dwarf or CV" if rare else GOOD
            yield name, (one, [(line["class"], float(line["z"]))])
        elif line["is_sky"] == "1":
            yield "sky fibre", (one, [])


def lamost(shared: Path) -> Iterator[tuple[str, Sample]]:
    """Real LAMOST spectra with a class."""
    if "lamost" not in plugins.installed():
        return
    survey = plugins.survey("lamost")
    for path in sorted((shared / "data/lamost").glob("*.fits")):
        for given in survey.read(path):
            one = survey.masked(given)
            assert one.truth is not None
            kind = str(one.truth.spectype[0])
            if kind:
                yield f"real LAMOST {kind}", (one, [(kind, float(one.truth.z[0]))])


def unknown_stars(shared: Path) -> Iterator[tuple[str, Sample]]:
    """Stars of classes that nothing was learned from, before SDSS's instrument."""
    whole = next(s for s in published_sources.unseen(shared) if s.spectype == "STAR")
    light = whole.vectors.clip(min=0)  # there is noise where a carbon star is dark
    light = (light + np.roll(light, 1, 1) + np.roll(light, -1, 1)) / 3
    whole = dataclasses.replace(whole, vectors=light)
    names = published_sources.star_names(shared)
    base = simulator(plugins.survey("sdss"), 3, settings=elsewhere.QUIET, flat=True)
    for wanted in UNKNOWN:
        own = dataclasses.replace(whole, mixtures=whole.mixtures[[wanted in n for n in names]])
        source = elsewhere.Elsewhere(**vars(base), drawn=partial(elsewhere.mixed, [own]))
        spectra = source.survey.masked(source.block(0).spectra)
        assert spectra.truth is not None
        for i in range(COUNT):
            yield f"mock {wanted}", (spectra[i : i + 1], [("STAR", float(spectra.truth.z[i]))])


def absorbed() -> Iterator[tuple[str, Sample]]:
    """SDSS's mock quasars with broad absorption, which the network's mocks contain."""
    source = simulator(plugins.survey("sdss"), 3, flat=True, split="test")
    left, number = COUNT, 0
    while left:
        block = source.block(number)
        for i in np.flatnonzero(block.truth["BAL"] > 0)[:left]:
            one = source.survey.masked(block.spectra)[i : i + 1]
            left -= 1
            yield "mock BAL quasar", (one, [("QSO", float(block.truth["Z"][i]))])
        number += 1


def samples(shared: Path) -> Iterator[tuple[str, Sample]]:
    """All of them, by kind."""
    rng = np.random.default_rng(5)
    yield from good(shared)
    yield from lamost(shared)
    yield from blends(shared, rng)
    yield from unknown_stars(shared)
    yield from absorbed()
    yield from mocks(20.0)
    yield from mocks(3.0)
    for name, make in GARBAGE.items():
        for _ in range(COUNT):
            yield name, make(rng)
