"""Mock spectra of sources that are not ours: what `redrock_mocks.py` observes.

Three sets, each before a survey's own instrument of ``zspec simulate``, and written as it writes:

- ``ours``: the sources that ship, of the part "test";
- ``redrock``: redrock's templates. Stars and galaxies mix its vectors by the coefficients that its
  own files list. Its quasar templates list none: theirs are those of a least-squares fit of the
  vectors, behind the mean forest that they were corrected for, to real SDSS quasars, and a mock
  lies within 5 % in 1 + z of the quasar that its coefficients are of;
- ``unseen``: what no recipe here learns from and redrock does not fit: SDSS's 123 stars, and for
  galaxies two stacks of type-2 AGN and their hosts. No published quasar is left, and DESI's stack
  of red galaxies, of five objects, has an SNR of 3 in the blue.

Classes take turns. Magnitudes are uniform over a range that puts half of the spectra below an SNR
of 5; redshifts are uniform where a source covers all pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from astropy.io import fits
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from zspec import plugins
from zspec.likelihood import forest
from zspec.likelihood.basis import LIGHT, STEP
from zspec.likelihood.labelled import listed
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
BRIGHT = 3.0
"""Median SNR of quasars whose coefficients are taken."""
DARK = -0.02
"""Lowest flux over its median: a mixture that falls below it is drawn again."""
TRIES = 100

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Source:
    """Rest-frame vectors, and how objects mix them."""

    name: str
    spectype: str
    wave: Array
    """(pixel,) Å, vacuum, increasing."""
    vectors: Array
    """(K, pixel) flux density."""
    mixtures: Array
    """(N, K)"""
    place: Array | None = None
    """(N,) ln(1 + z) about which each mixture is put; None: anywhere."""
    forest: str = ""
    """Model of the mean forest that the vectors lack."""

    @property
    def reach(self) -> tuple[float, float]:
        """Å of the first and last pixel."""
        return float(self.wave[0]), float(self.wave[-1])

    def seen(self, number: int, z: float, wave: Array) -> Array:
        """(wave,) flux density of mixture ``number`` at observed wavelengths (Å)."""
        flux = self.mixtures[number] @ self.vectors
        rest = wave / (1 + z)
        made: Array = CubicSpline(np.log(self.wave), flux)(np.log(rest))
        return made * forest.transmission(self.forest, rest, z) if self.forest else made


Draw = Callable[[Simulator, int], Objects]


@dataclass(frozen=True)
class Elsewhere(Simulator):
    """A survey's instrument before other objects than its population's."""

    drawn: Draw | None = None

    def objects(self, number: int) -> Objects:
        """BLOCK noise-free objects."""
        assert self.drawn is not None
        return self.drawn(self, number)

    def block(self, number: int) -> Observed:
        """As :meth:`Simulator.block`."""
        seed = [self.seed, number, OBSERVATION]
        return self._numbered(self.instrument.observe(self.objects(number), seed), number)


def sample(kind: str, survey: str, seed: int, shared: Path) -> Elsewhere:
    """The simulator of one set of a survey; nothing but noise goes wrong in it.

    Without artefacts, since redrock has no answer to them: rows that it loses by a blank fibre or a
    dead arm would hide what the templates make of the objects.
    """
    base = simulator(plugins.survey(survey), seed, settings=QUIET, flat=True, split="test")
    sources = {"ours": None, "redrock": of_redrock, "unseen": unseen}[kind]
    drawn = ours if sources is None else partial(mixed, sources(shared))
    return Elsewhere(**vars(base), drawn=drawn)


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
        "SED": np.array([name for name, _, _ in made], "U40"),
        "EBV": np.zeros(BLOCK),
    }
    flux = torch.from_numpy(np.stack([light / np.median(light) for _, _, light in made])).float()
    return dimmed(source, Objects(wave, flux, truth), magnitudes(source, rng))


def one(
    sources: Sequence[Source], kind: str, wave: Array, rng: np.random.Generator
) -> tuple[str, float, Array]:
    """Name, redshift and flux density of one object of a class; wave (Å)."""
    mine = [source for source in sources if source.spectype == kind]
    for _ in range(TRIES):
        source = mine[rng.integers(len(mine))]
        number = int(rng.integers(len(source.mixtures)))
        z = redshift(source, number, wave, rng)
        if z is None:
            continue
        light = source.seen(number, z, wave)
        if light.min() > DARK * np.median(light) and np.median(light) > 0:
            return f"{source.name}/{number}", z, light
    raise ValueError(f"no {kind} is positive on all pixels")


def redshift(source: Source, number: int, wave: Array, rng: np.random.Generator) -> float | None:
    """A redshift at which a source covers all pixels; None where there is none."""
    if source.spectype == "STAR":
        return float(rng.uniform(-FASTEST, FASTEST)) / LIGHT
    blue, red = source.reach
    low, high = (math.log1p(z) for z in REDSHIFTS[source.spectype])
    low, high = max(low, math.log(wave[-1] / red)), min(high, math.log(wave[0] / blue))
    if source.place is not None:
        low, high = max(low, source.place[number] - NEAR), min(high, source.place[number] + NEAR)
    return float(np.expm1(rng.uniform(low, high))) if low < high else None


def of_redrock(shared: Path) -> list[Source]:
    """Templates of redrock, with coefficients."""
    folder = shared / "data" / "templates"
    found = []
    for path in sorted(folder.glob("rrtemplate-*.fits")):
        with fits.open(path, memmap=False) as hdus:
            header, vectors = hdus["BASIS_VECTORS"].header, hdus["BASIS_VECTORS"].data
            wave = header["CRVAL1"] + header["CDELT1"] * np.arange(vectors.shape[1])
            listed_ = hdus["ARCHETYPE_COEFF"].data if "ARCHETYPE_COEFF" in hdus else None
        wave = 10**wave if header.get("LOGLAM") else wave
        base = Source(path.stem, header["RRTYPE"], wave, vectors.astype(float), np.zeros((0, 1)))
        if listed_ is not None:
            found.append(replace(base, mixtures=listed_.astype(float)))
        elif base.spectype == "QSO":
            found.append(quasars(replace(base, forest="Kamble20"), shared))
    return found


def quasars(source: Source, shared: Path) -> Source:
    """The source with the mixtures that fit real quasars."""
    mixtures, place = [], []
    for line, one in listed(shared / "data" / "sdss" / "manifest.csv"):
        bright = float(line["sn_median"] or 0) > BRIGHT
        if line["label_ok"] != "1" or line["class"] != "QSO" or not bright:
            continue
        z, arm = float(line["z"]), one.arms[0]
        good = arm.usable[0] & (arm.ivar[0] > 0)
        rest = arm.wave[good] / (1 + z)
        if rest[0] < source.reach[0] or rest[-1] > source.reach[1]:
            continue
        through = forest.transmission(source.forest, rest, z)
        spline = CubicSpline(np.log(source.wave), source.vectors, axis=1)
        design = (spline(np.log(rest)) * through).T * np.sqrt(arm.ivar[0, good])[:, None]
        data = arm.flux[0, good] * np.sqrt(arm.ivar[0, good])
        mixtures.append(np.linalg.lstsq(design, data, rcond=None)[0])
        place.append(math.log1p(z))
    return replace(source, mixtures=np.array(mixtures), place=np.array(place))


STACKS = {
    "ROSAT_AGNT2-stitched-stack-qmost-template.fits": (2350.0, 8050.0),
    "ROSAT_AGNT2-highZ-stitched-stack-qmost-template.fits": (2350.0, 8050.0),
}
"""Files of type-2 AGN, and the range in Å where they are a spectrum: beyond it they go on as a
constant, or as a star-forming galaxy of far higher noise."""
STARS = "spEigenStar-55734.fits"


def unseen(shared: Path) -> list[Source]:
    """What no recipe learns from."""
    folder = shared / "data" / "templates"
    made = [stack(folder / name, *ends) for name, ends in STACKS.items()]
    with fits.open(folder / STARS, memmap=False) as hdus:
        flux, first = hdus[0].data.astype(float), hdus[0].header["COEFF0"]
    wave = 10 ** (first + STEP * np.arange(flux.shape[1]))
    return [*made, Source("spEigenStar", "STAR", wave, flux, np.eye(len(flux)))]


def star_names(shared: Path) -> list[str]:
    """What each of SDSS's star templates is."""
    with fits.open(shared / "data" / "templates" / STARS) as hdus:
        header = hdus[0].header
    return [str(header.get(f"NAME{i}", "")) for i in range(header["NAXIS2"])]


def stack(path: Path, blue: float, red: float) -> Source:
    """One published spectrum between two wavelengths (Å)."""
    with fits.open(path, memmap=False) as hdus:
        wave, flux = (hdus[1].data.field(i).astype(float) for i in (0, 1))
    inside = (wave > blue) & (wave < red)
    name = path.name.partition("-stitched")[0]
    return Source(name, "GALAXY", wave[inside], flux[None, inside], np.eye(1))
