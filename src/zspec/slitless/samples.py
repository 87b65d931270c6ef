"""Spectra to train on, as tensors: noise-free or noisy flux, error, redshift.

Where the simulator gives the noise-free spectrum, each epoch sees fresh noise on it. Spectra of one
source (column SED) are never in two sets, and a source is in the same set whether its spectra are
simulated here or were before, by ``zspec simulate``.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zspec import plugins, sources
from zspec.batch import SpectrumBatch
from zspec.errors import ConfigError, InputError
from zspec.grid import WaveGrid
from zspec.simulate.simulator import simulator
from zspec.simulate.sources.families import part_of
from zspec.slitless.inputs import observe, scale, signal_to_noise
from zspec.slitless.recipe import DataSettings
from zspec.survey import Spectra


@dataclass(frozen=True)
class Samples:
    """n labelled spectra on one grid."""

    clean: Tensor
    """(n, wave) float32: what fresh noise is added to; noisy where nothing else is known."""
    flux: Tensor
    """(n, wave) float32: as observed, in the same unit; 0 where not good."""
    error: Tensor
    """(n, wave) float32: 1 sigma; 0 where not good."""
    z: Tensor
    """(n,) float64 true redshift."""

    def __len__(self) -> int:
        """Number of spectra."""
        return len(self.z)

    def to(self, device: str) -> Samples:
        """The same on a device."""
        return Samples(*(getattr(self, f.name).to(device) for f in dataclasses.fields(self)))

    def observed(self) -> Tensor:
        """(n, 2, wave) channels of the spectra as they were observed."""
        return scale(self.flux, self.error)

    def fresh(self, rows: Tensor) -> Tensor:
        """(rows, 2, wave) channels with new noise."""
        rows = rows.to(self.error.device)
        error = self.error[rows]
        return scale(observe(self.clean[rows], error), error)

    def snr(self) -> Tensor:
        """(n,) as :func:`zspec.slitless.inputs.signal_to_noise` measures it."""
        return signal_to_noise(self.flux, self.error)


def sample(
    spectra: Spectra,
    grid: WaveGrid,
    clean: Sequence[NDArray[np.floating[Any]]] | None,
    spectype: str,
    keep: NDArray[np.bool_],
) -> Samples:
    """Spectra of a true ``spectype`` as samples; without redshift or good pixel they are left out.

    ``clean``: noise-free flux (n, pixel) of each arm, in the arms' unit; None: not known. ``keep``
    (n,): which to take. Raises InputError where spectra have no truth.
    """
    if spectra.truth is None:
        raise InputError("spectra to train on have no redshifts: their survey found no truth")
    batch = SpectrumBatch.from_spectra(spectra, grid)
    use = keep & np.isfinite(spectra.truth.z) & batch.good.any(axis=1)
    use &= spectra.truth.spectype == spectype
    flux, pure = batch.flux, batch.flux
    if clean is not None:
        arms = [
            dataclasses.replace(arm, flux=np.asarray(pixels, np.float32))
            for arm, pixels in zip(spectra.arms, clean, strict=True)
        ]
        noise_free = SpectrumBatch.from_spectra(
            dataclasses.replace(spectra, arms=tuple(arms)), grid
        )
        pure = noise_free.flux * (noise_free.scale / batch.scale)[:, None]
    z = torch.from_numpy(spectra.truth.z[use].astype(np.float64))
    light, observed, error = (torch.from_numpy(a[use]) for a in (pure, flux, batch.error))
    return Samples(light, observed, error, z)


def join(parts: Iterable[Samples], count: int) -> Samples:
    """The first ``count`` spectra of several parts, as many parts as that takes.

    Raises InputError where there are none.
    """
    found: list[Samples] = []
    size = 0
    for part in parts:
        found.append(part)
        size += len(part)
        if size >= count:
            break
    if not size:
        raise InputError("no labelled spectrum to train on")
    names = [f.name for f in dataclasses.fields(Samples)]
    return Samples(*(torch.cat([getattr(p, name) for p in found])[:count] for name in names))


def read(
    settings: DataSettings, folder: Path, grid: WaveGrid, spectype: str, split: str
) -> Iterator[Samples]:
    """Labelled spectra of files below a folder that belong to one set. Raises InputError."""
    for pattern in settings.files:
        files = sorted(folder.glob(pattern))
        if not files:
            raise InputError(f"{folder / pattern}: no such file")
        for file in files:
            for spectra in sources.read(sources.Source(file, settings.survey))[1]:
                inside = np.array([part_of(name) == split for name in names(spectra)], bool)
                if inside.any():
                    yield sample(spectra, grid, None, spectype, inside)


def names(spectra: Spectra) -> list[str]:
    """Which source each spectrum is of: column SED where there is one, else TARGETID."""
    return [str(name) for name in spectra.table.get("SED", spectra.ids)]


def load(
    settings: DataSettings, folder: Path, grid: WaveGrid, seed: int, spectype: str
) -> tuple[Samples, Samples]:
    """The training and the validation set that a recipe asks for, of one true spectype.

    Sets are 8:1:1 by source (P2, section 3.2); none is drawn from the test part. Raises ConfigError
    for a survey that cannot simulate, and InputError where there is no spectrum.
    """
    wanted = (("train", settings.train), ("valid", settings.valid))
    made = []
    for number, (split, count) in enumerate(wanted):
        if settings.files:
            parts = read(settings, folder, grid, spectype, split)
        else:
            parts = simulate(settings, grid, 2 * seed + number, spectype, split)
        made.append(join(parts, count))
    return made[0], made[1]


def simulate(
    settings: DataSettings, grid: WaveGrid, seed: int, spectype: str, split: str
) -> Iterator[Samples]:
    """Mock spectra of a survey without end; contaminated ones are left out.

    Training is flat in redshift and magnitude where the settings say so; validation never is, as
    calibration needs what the survey will see.
    """
    source = simulator(
        plugins.survey(settings.survey),
        seed,
        flat=settings.flat and split == "train",
        split=split,
    )
    for number in itertools.count():
        observed = source.block(number)
        clean = observed.clean if settings.noise == "clean" else None
        if settings.noise == "clean" and not clean:
            raise ConfigError(
                f'survey {settings.survey} simulates no noise-free spectra; set noise = "noisy"'
            )
        untouched = observed.truth["ARTEFACT"] == 0
        yield sample(observed.spectra, grid, clean, spectype, untouched)
