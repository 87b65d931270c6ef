"""Sources and an instrument together: mock spectra of a survey, any number, always the same.

Objects are drawn and observed in blocks of ``BLOCK``, and a block's number and the seed decide all
of it. So spectrum i depends on the seed and on i, and not on how many are asked for, nor in what
pieces. Different kinds of devices draw different numbers.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zspec.errors import ConfigError, unknown
from zspec.simulate.instrument import Instrument, Observed, read_instrument
from zspec.simulate.sources.drawing import draw
from zspec.simulate.sources.families import SPLITS, Family, load
from zspec.simulate.sources.population import Population, read_population
from zspec.survey import Arm, Spectra, Truth

if TYPE_CHECKING:
    from zspec.survey import Survey

BLOCK = 64
"""Spectra that are made at once; sources come in blocks of as many, too."""
MOCK, NUMBER = 1 << 58, 32
"""A TARGETID has bit 58, which says mock in the surveys that pack facts into their ids, and none
above it. Its last 32 bits are the number of the spectrum, from 0. The 26 between are of SHA-256 of
what decides which objects there are: survey, seed, population, whether that is flat, the part of
the sources, and sources that do not ship. Two samples have them in common once in 67 million; one
sample keeps its ids under other settings of the instrument."""
OBJECTS, OBSERVATION, POSITIONS = range(3)
"""What the random numbers of a block are for."""


@dataclass(frozen=True)
class Simulator:
    """A survey's mock spectra."""

    survey: Survey
    instrument: Instrument
    population: Population
    seed: int
    split: str | None = None
    """Sources to draw from: train, valid or test; None for all."""
    device: str = "cpu"
    families: Mapping[str, Family] | None = None
    """What is drawn from; None: the sources that ship."""

    @cached_property
    def sample(self) -> int:
        """What tells these objects from those of other simulators; see :data:`MOCK`."""
        whose = (self.survey.name, self.seed, self.population.digest, self.population.flat)
        digest = hashlib.sha256(":".join(map(str, (*whose, self.split))).encode())
        for family in (self.families or {}).values():
            digest.update(family.bank.numpy().tobytes())
        return int.from_bytes(digest.digest()[:8], "big") % (MOCK >> NUMBER)

    def ids(self, start: int, n: int) -> NDArray[np.int64]:
        """(n,) TARGETIDs of the spectra from number ``start``; see :data:`MOCK`."""
        return MOCK + (self.sample << NUMBER) + np.arange(start, start + n, dtype=np.int64)

    def block(self, number: int) -> Observed:
        """Spectra number · BLOCK and following, BLOCK of them, with ids and positions."""
        objects = draw(
            self.population,
            BLOCK,
            [self.seed, number, OBJECTS],
            self.instrument.wave,
            device=self.device,
            seds=self.split,
            families=self.families,
        )
        observed = self.instrument.observe(objects, [self.seed, number, OBSERVATION])
        return self._numbered(observed, number)

    def _numbered(self, observed: Observed, number: int) -> Observed:
        """The spectra of a block with TARGETIDs, rows, and a place on the sky each."""
        n = len(observed.spectra)
        rng = np.random.Generator(np.random.PCG64([self.seed, number, POSITIONS]))
        table: dict[str, NDArray[Any]] = {
            **observed.spectra.table,
            "RA": rng.uniform(0, 360, n),
            "DEC": np.rad2deg(np.arcsin(rng.uniform(-1, 1, n))),
            **{name: observed.truth[name] for name in ("MAG", "EXPTIME") if name in observed.truth},
        }
        spectra = dataclasses.replace(
            observed.spectra,
            ids=self.ids(number * BLOCK, n),
            rows=np.arange(n, dtype=np.int32),
            table=table,
        )
        return dataclasses.replace(observed, spectra=spectra)


def simulator(
    survey: Survey,
    seed: int,
    *,
    population: Path | None = None,
    settings: Mapping[str, str] | None = None,
    flat: bool = False,
    split: str | None = None,
    device: str = "cpu",
    sources: Path | None = None,
) -> Simulator:
    """The simulator of a survey, with its own population or another.

    ``flat``: all labels alike, and uniform in redshift and magnitude. ``settings`` are changes to
    the instrument as ``{"artefacts.blank": "0.1"}``. ``sources``: a file of sources other than
    those that ship. Raises ConfigError where the survey brings no simulation, or where one of the
    arguments makes no sense.
    """
    folder = survey.simulation
    if folder is None:
        raise ConfigError(f"survey {survey.name} brings no instrument to simulate")
    if seed < 0:
        raise ConfigError(f"seed {seed}: a whole number >= 0 was expected")
    if split is not None and split not in SPLITS:
        raise ConfigError(unknown("part of the sources", split, SPLITS))
    return Simulator(
        survey=survey,
        instrument=read_instrument(folder / "instrument.toml", settings),
        population=read_population(population or folder / "population.toml", flat or None),
        seed=seed,
        split=split,
        device=device,
        families=load(sources) if sources else None,
    )


def cut(observed: Observed, rows: slice) -> Observed:
    """Some of the spectra, with all that is known of them."""
    return Observed(
        spectra=observed.spectra[rows],
        truth={name: values[rows] for name, values in observed.truth.items()},
        images={name: values[rows] for name, values in observed.images.items()},
        clean=tuple(flux[rows] for flux in observed.clean),
    )


def glue(parts: list[Observed]) -> Observed:
    """Several pieces as one, with rows from 0."""
    first = parts[0]
    if len(parts) == 1:
        rows = np.arange(len(first.spectra), dtype=np.int32)
        return dataclasses.replace(first, spectra=dataclasses.replace(first.spectra, rows=rows))
    table = {k: np.concatenate([p.spectra.table[k] for p in parts]) for k in first.spectra.table}
    ids = np.concatenate([p.spectra.ids for p in parts])
    spectra = Spectra(
        arms=tuple(
            _arms([p.spectra.arms[k] for p in parts]) for k in range(len(first.spectra.arms))
        ),
        ids=ids,
        rows=np.arange(len(ids), dtype=np.int32),
        table=table,
        truth=_truths([p.spectra.truth for p in parts]),
        zwarn=_both([p.spectra.zwarn for p in parts]),
        snr=_both([p.spectra.snr for p in parts]),
    )
    return Observed(
        spectra=spectra,
        truth={k: np.concatenate([p.truth[k] for p in parts]) for k in first.truth},
        images={k: np.concatenate([p.images[k] for p in parts]) for k in first.images},
        clean=tuple(np.concatenate(same) for same in zip(*[p.clean for p in parts], strict=True)),
    )


def _arms(parts: Sequence[Arm]) -> Arm:
    """One arm of several pieces."""
    lsf = [part.resolution for part in parts if part.resolution is not None]
    return dataclasses.replace(
        parts[0],
        flux=np.concatenate([part.flux for part in parts]),
        ivar=np.concatenate([part.ivar for part in parts]),
        good=np.concatenate([part.usable for part in parts]),
        resolution=np.concatenate(lsf) if lsf and lsf[0].ndim == 2 else parts[0].resolution,
    )


def _truths(parts: list[Truth | None]) -> Truth | None:
    """The truth of several pieces."""
    known = [part for part in parts if part is not None]
    if not known:
        return None
    return Truth(
        spectype=np.concatenate([part.spectype for part in known]),
        z=np.concatenate([part.z for part in known]),
        label=_both([part.label for part in known]),
    )


def _both(parts: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
    """Pieces one after the other; None where there are none."""
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if known else None
