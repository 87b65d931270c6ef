"""Sources and an instrument together: mock spectra of a survey, any number, always the same.

Objects are drawn and observed in blocks of ``BLOCK``, and a block's number and the seed decide all
of it. So spectrum i depends on the seed and on i, and not on how many are asked for, nor in what
pieces. Different kinds of devices draw different numbers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zspec.errors import ConfigError
from zspec.simulate.instrument import Instrument, Observed, read_instrument
from zspec.simulate.sources.drawing import draw
from zspec.simulate.sources.population import Population, read_population
from zspec.survey import Arm, Spectra, Truth

if TYPE_CHECKING:
    from zspec.survey import Survey

BLOCK = 64
"""Spectra that are made at once; sources come in blocks of as many, too."""
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

    def block(self, number: int) -> Observed:
        """Spectra number · BLOCK and following, BLOCK of them, with ids and positions."""
        objects = draw(
            self.population,
            BLOCK,
            [self.seed, number, OBJECTS],
            self.instrument.wave,
            device=self.device,
            seds=self.split,
        )
        observed = self.instrument.observe(objects, [self.seed, number, OBSERVATION])
        return numbered(observed, number, self.seed)


def simulator(
    survey: Survey,
    seed: int,
    *,
    population: Path | None = None,
    settings: Mapping[str, str] | None = None,
    flat: bool = False,
    split: str | None = None,
    device: str = "cpu",
) -> Simulator:
    """The simulator of a survey, with its own population or another.

    ``flat``: all labels alike, and uniform in redshift and magnitude. ``settings`` are changes to
    the instrument as ``{"artefacts.blank": "0.1"}``. Raises ConfigError where the survey brings no
    simulation, or where one of the arguments makes no sense.
    """
    folder = survey.simulation
    if folder is None:
        raise ConfigError(f"survey {survey.name} brings no instrument to simulate")
    if seed < 0:
        raise ConfigError(f"seed {seed}: a whole number >= 0 was expected")
    return Simulator(
        survey=survey,
        instrument=read_instrument(folder / "instrument.toml", settings),
        population=read_population(population or folder / "population.toml", flat or None),
        seed=seed,
        split=split,
        device=device,
    )


def numbered(observed: Observed, number: int, seed: int) -> Observed:
    """The spectra with TARGETIDs from 1 over all blocks, rows, and a place on the sky each."""
    n = len(observed.spectra)
    rng = np.random.Generator(np.random.PCG64([seed, number, POSITIONS]))
    ids = number * BLOCK + np.arange(1, n + 1, dtype=np.int64)
    table: dict[str, NDArray[Any]] = {
        **observed.spectra.table,
        "RA": rng.uniform(0, 360, n),
        "DEC": np.rad2deg(np.arcsin(rng.uniform(-1, 1, n))),
        **{name: observed.truth[name] for name in ("MAG", "EXPTIME") if name in observed.truth},
    }
    spectra = dataclasses.replace(
        observed.spectra, ids=ids, rows=np.arange(n, dtype=np.int32), table=table
    )
    return dataclasses.replace(observed, spectra=spectra)


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
