"""Mock spectra of sources that are not ours: what `redrock_mocks.py` observes.

Four sets, each before a survey's own instrument of ``zspec simulate``, and written as it writes:

- ``ours``: the sources that ship, of the part "test";
- ``redrock``: redrock's templates. Stars and galaxies mix its vectors by the coefficients that its
  own files list. Its quasar templates list none: theirs are those of a least-squares fit of the
  vectors, behind the mean forest that they were corrected for, to real SDSS quasars, and a mock
  lies within 5 % in 1 + z of the quasar that its coefficients are of;
- ``unseen``: what no recipe here learns from and redrock does not fit: SDSS's 123 stars, and for
  galaxies two stacks of type-2 AGN and their hosts. No published quasar is left, and DESI's stack
  of red galaxies, of five objects, has an SNR of 3 in the blue;
- ``real``: bright galaxies and quasars of SDSS themselves, see `held_out.py`.

Classes take turns. Redshifts are uniform where a source covers all pixels. Magnitudes are uniform
over a range that puts half of the spectra below an SNR of 5; or, where a range of SNR is given,
each spectrum has an SNR of its own, uniform in its logarithm, and the magnitude that gives it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from published_sources import Source, of_redrock, real, unseen

from zspec import plugins
from zspec.likelihood.basis import LIGHT
from zspec.simulate.instrument import Observed
from zspec.simulate.objects import Objects
from zspec.simulate.simulator import BLOCK, OBJECTS, OBSERVATION, Simulator, simulator
from zspec.simulate.sources.drawing import draw
from zspec.simulate.sources.render import magnitude_scale

CLASSES = ("GALAXY", "QSO", "STAR")
MAGNITUDES = {"desi": (18.2, 22.4), "4most": (17.4, 21.8), "sdss": (16.5, 19.5)}
"""AB, in the band of the survey's population: an SNR of about 0.5 to 30; SDSS, 5 to 50."""
QUIET = {f"artefacts.{name}": "0.0" for name in ("blank", "missing_arm", "cosmics", "bad_columns")}
"""Settings of an instrument where nothing but noise goes wrong."""
FASTEST = 300.0
"""km/s of stars, either way."""
REDSHIFTS = {"GALAXY": (0.02, 1.2), "QSO": (0.05, 4.0)}
NEAR = 0.05
"""ln(1 + z) between a quasar and the mocks of its coefficients."""
DARK = -0.02
"""Lowest flux over its median: a mixture that falls below it is drawn again."""
TRIES = 100
CLOSER = 3
"""How often a magnitude is mended by the SNR that it gave."""
FAINT = 3
"""What random numbers of a block are for, beside those of the simulator: SNR."""

Array = NDArray[np.float64]


Draw = Callable[[Simulator, int], Objects]


@dataclass(frozen=True)
class Elsewhere(Simulator):
    """A survey's instrument before other objects than its population's."""

    drawn: Draw | None = None
    snr: tuple[float, float] | None = None
    """Range of SNR; None: magnitudes are those that were drawn."""

    def objects(self, number: int) -> Objects:
        """BLOCK noise-free objects."""
        assert self.drawn is not None
        made = self.drawn(self, number)
        return made if self.snr is None else self._faded(made, number)

    def block(self, number: int) -> Observed:
        """As :meth:`Simulator.block`."""
        made = self.objects(number)
        return self._numbered(reached(self._observed(made, number), made), number)

    def _observed(self, made: Objects, number: int) -> Observed:
        return self.instrument.observe(made, [self.seed, number, OBSERVATION])

    def _faded(self, made: Objects, number: int) -> Objects:
        """At the magnitudes at which their SNR, in the very same night, is what it is to be."""
        assert self.snr is not None
        rng = np.random.default_rng([self.seed, number, FAINT])
        low, high = np.log(self.snr)
        wanted = np.exp(rng.uniform(low, high, len(made)))
        for _ in range(CLOSER):
            seen = self._observed(made, number).truth["SNR"]
            mag = made.truth["MAG"] + 2.5 * np.log10(seen / wanted)
            made = dimmed(self, made, torch.from_numpy(mag))
        return made


def reached(observed: Observed, made: Objects) -> Observed:
    """The spectra without data where their sources have none."""
    if "REACH" not in made.truth:
        return observed
    blue, red = made.truth["REACH"].T[:, :, None]
    arms = tuple(
        replace(arm, ivar=np.where((arm.wave > blue) & (arm.wave < red), arm.ivar, 0))
        for arm in observed.spectra.arms
    )
    truth = {name: values for name, values in observed.truth.items() if name != "REACH"}
    return replace(observed, spectra=replace(observed.spectra, arms=arms), truth=truth)


def sample(
    kind: str, survey: str, seed: int, shared: Path, snr: tuple[float, float] | None = None
) -> Elsewhere:
    """The simulator of one set of a survey; nothing but noise goes wrong in it.

    Without artefacts, since redrock has no answer to them: rows that it loses by a blank fibre or a
    dead arm would hide what the templates make of the objects.
    """
    base = simulator(plugins.survey(survey), seed, settings=QUIET, flat=True, split="test")
    sources = {"ours": None, "redrock": of_redrock, "unseen": unseen, "real": real}[kind]
    drawn = ours if sources is None else partial(mixed, sources(shared))
    return Elsewhere(**vars(base), drawn=drawn, snr=snr)


def turns(number: int, known: Sequence[str]) -> list[str]:
    """The class of each object of a block, in turn."""
    return [known[(number * BLOCK + i) % len(known)] for i in range(BLOCK)]


def magnitudes(source: Simulator, rng: np.random.Generator) -> torch.Tensor:
    """(BLOCK,) AB magnitudes."""
    return torch.from_numpy(rng.uniform(*MAGNITUDES[source.survey.name], BLOCK))


def ours(source: Simulator, number: int) -> Objects:
    """Objects of the survey's population, flat in label and redshift, classes in turn."""
    rng = np.random.default_rng([source.seed, number, OBJECTS])
    more = draw(
        source.population,
        8 * BLOCK,
        [source.seed, number, OBJECTS],
        source.instrument.wave,
        seds=source.split,
    )
    kinds = more.truth["SPECTYPE"]
    left = {kind: list(np.flatnonzero(kinds == kind)) for kind in CLASSES}
    rows = np.array([left[kind].pop(0) for kind in turns(number, CLASSES)])
    truth = {name: values[rows] for name, values in more.truth.items()}
    return dimmed(
        source,
        Objects(more.wave, more.flux[torch.from_numpy(rows)], truth),
        magnitudes(source, rng),
    )


def dimmed(source: Simulator, objects: Objects, mag: torch.Tensor) -> Objects:
    """The objects at other magnitudes (n,)."""
    scale = magnitude_scale(objects.flux, objects.wave, source.population.band, mag)
    flux = objects.flux * scale.float()[:, None]
    return replace(objects, flux=flux, truth={**objects.truth, "MAG": mag.numpy()})


def mixed(sources: Sequence[Source], source: Simulator, number: int) -> Objects:
    """Objects of some sources, their classes in turn."""
    rng = np.random.default_rng([source.seed, number, OBJECTS])
    wave = source.instrument.wave
    known = [kind for kind in CLASSES if any(one.spectype == kind for one in sources)]
    labels = turns(number, known)
    made = [one(sources, kind, wave.numpy(), rng) for kind in labels]
    truth = {
        "LABEL": np.array(labels),
        "SPECTYPE": np.array(labels),
        "SUBTYPE": np.full(BLOCK, "", "U40"),
        "Z": np.array([z for _, z, _ in made]),
        "SED": np.array([f"{s.name}/{number}" for (s, number), _, _ in made], "U40"),
        "EBV": np.zeros(BLOCK),
    }
    if any(one.noisy for one in sources):
        truth["REACH"] = np.array([np.array(s.reach) * (1 + z) for (s, _), z, _ in made])
    flux = torch.from_numpy(np.stack([light / np.median(light) for _, _, light in made])).float()
    return dimmed(source, Objects(wave, flux, truth), magnitudes(source, rng))


def one(
    sources: Sequence[Source], kind: str, wave: Array, rng: np.random.Generator
) -> tuple[tuple[Source, int], float, Array]:
    """Source and its mixture, redshift and flux density of one object of a class; wave (Å)."""
    mine = [source for source in sources if source.spectype == kind]
    for _ in range(TRIES):
        source = mine[rng.integers(len(mine))]
        number = int(rng.integers(len(source.mixtures)))
        z = redshift(source, number, wave, rng)
        if z is None:
            continue
        light = source.seen(number, z, wave)
        if np.median(light) > 0 and (source.noisy or light.min() > DARK * np.median(light)):
            return (source, number), z, light
    raise ValueError(f"no {kind} is positive on all pixels")


def redshift(source: Source, number: int, wave: Array, rng: np.random.Generator) -> float | None:
    """A redshift at which a source covers all pixels; None where there is none."""
    if source.spectype == "STAR":
        return float(rng.uniform(-FASTEST, FASTEST)) / LIGHT
    blue, red = source.reach
    low, high = (math.log1p(z) for z in REDSHIFTS[source.spectype])
    if not source.noisy:
        low, high = max(low, math.log(wave[-1] / red)), min(high, math.log(wave[0] / blue))
    if source.place is not None:
        low, high = max(low, source.place[number] - NEAR), min(high, source.place[number] + NEAR)
    return float(np.expm1(rng.uniform(low, high))) if low < high else None
